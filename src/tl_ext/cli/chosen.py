"""What the smaller commands open: a model, its dictionaries, concepts by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tl_ext.errors import InputError

if TYPE_CHECKING:
    import pandas as pd
    from transformer_lens.model_bridge import TransformerBridge

    from tl_ext.concepts.concept import Concept
    from tl_ext.dictionaries.dictionary import Dictionaries
    from tl_ext.report.marks import Mark


def open_both(
    model: str,
    sources: Sequence[str] | None,
    *,
    layer: int | None = None,
    device: str | None = None,
    trust_remote_code: bool = False,
) -> tuple[TransformerBridge, Dictionaries]:
    """A model and its dictionaries, processed alike; of one layer where one is asked for.

    Raises:
        InputError: No dictionaries for a model that ships none, or none at the layer.
    """
    from tl_ext.models.hook_points import layer_of
    from tl_ext.study.session import open_model

    hooked, loaded = open_model(
        model, sources or (), device=device, trust_remote_code=trust_remote_code
    )
    if layer is None:
        return hooked, loaded
    ids = [id for id, one in loaded.items() if layer_of(one.hook_in) == layer]
    if not ids:
        layers = sorted({layer_of(one.hook_in) or 0 for one in loaded.values()})
        raise InputError(f"No dictionary reads layer {layer}; there are some at layers {layers}.")
    return hooked, loaded.choose(ids=ids)


def concepts_named(
    names: Sequence[str] | None, file: Path | None, languages: tuple[str, ...] | None
) -> list[Concept]:
    """Built-in concepts, or those of a file, by name.

    Raises:
        InputError: A name that is not there.
    """
    from tl_ext.concepts import emotions
    from tl_ext.concepts.loading import load_concepts
    from tl_ext.errors import nearest

    if file is None:
        return emotions.concepts(
            names=tuple(names or emotions.NAMES), languages=languages or ("en", "fr")
        )
    known = load_concepts(file)
    for name in names or ():
        if name not in {one.name for one in known}:
            raise InputError(
                f"{file} has no concept {name!r}.{nearest(name, {one.name for one in known})}"
            )
    return [
        one
        for one in known
        if (not names or one.name in names) and (not languages or one.language in languages)
    ]


def show(table: pd.DataFrame, *, formats: dict[str, str] | None = None) -> None:
    """Print a table."""
    from rich.console import Console
    from rich.table import Table

    shown = Table()
    for column in table.columns:
        numeric = table[column].dtype.kind in "if"
        shown.add_column(str(column), justify="right" if numeric else "left", overflow="fold")
    for row in table.itertuples(index=False):
        shown.add_row(
            *(
                format(value, (formats or {}).get(column, ".3f"))
                if isinstance(value, float)
                else str(value)
                for column, value in zip(table.columns, row, strict=True)
            )
        )
    Console(markup=False).print(shown)


def write(table: pd.DataFrame, csv: Path | None, mark: Mark | None, figure: Path | None) -> None:
    """Write what was asked for, whole or not at all."""
    from tl_ext.activations.store import save_table

    if csv is not None:
        save_table(csv, table)
    if figure is not None and mark is not None:
        mark.save(figure)
