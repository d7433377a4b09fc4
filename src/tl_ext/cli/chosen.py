"""What the smaller commands open: a model, its dictionaries, concepts by name."""

from __future__ import annotations

import re
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


def refuse_sources(words: Sequence[str], dictionaries: Sequence[str] | None) -> None:
    """Tell of a second source after one `-d`, which would otherwise be read as something else.

    Raises:
        InputError: A word is written like a source, or after `-d` is a folder.
    """
    for word in words:
        scheme = re.fullmatch(r"([a-z][a-z0-9+.-]*)://\S*", word)
        source = scheme is not None and scheme[1] not in ("http", "https")
        if source or (dictionaries and Path(word).expanduser().is_dir()):
            raise InputError(
                f"{word!r} looks like a source of dictionaries: repeat -d for each source, "
                f"-d {dictionaries[-1] if dictionaries else 'SOURCE'} -d {word}."
            )


def latents_named(given: str) -> tuple[str, list[int]]:
    """A dictionary's id and latents, from `DICTIONARY:LATENT[,LATENT...]`.

    Raises:
        InputError: It is written otherwise.
    """
    match = re.fullmatch(r"(\S+):(\d+(?:,\d+)*)", given.strip())
    if match is None:
        raise InputError(
            f"{given!r} names no latents; DICTIONARY:LATENT[,LATENT...] is expected, such as "
            "blocks.3.hook_resid_pre:17; latents are numbers."
        )
    return match[1], [int(one) for one in match[2].split(",")]


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
    """Print a table: what is undefined is left empty, and ids are copied from here, so they stay whole
    even where the terminal is narrower; only text with spaces is wrapped.
    """
    from rich.console import Console
    from rich.measure import Measurement
    from rich.table import Table

    cells = {
        str(column): [_cell(value, (formats or {}).get(column, ".3f")) for value in table[column]]
        for column in table.columns
    }
    shown = Table()
    for column, texts in cells.items():
        numeric = table[column].dtype.kind in "if"
        prose = not numeric and any(" " in text for text in texts)
        shown.add_column(
            column, justify="right" if numeric else "left", no_wrap=not prose, overflow="fold"
        )
    for row in zip(*cells.values(), strict=True):
        shown.add_row(*row)
    console = Console(markup=False)
    wide = console.options.update(width=100_000)
    least = Measurement.get(console, wide, shown).minimum
    console.width = max(console.width, least)
    console.print(shown)


def _cell(value: object, spec: str) -> str:
    if value is None or value != value:
        return ""
    return format(value, spec) if isinstance(value, float) else str(value)


def write(table: pd.DataFrame, csv: Path | None, mark: Mark | None, figure: Path | None) -> None:
    """Write what was asked for, whole or not at all."""
    from tl_ext.activations.store import save_table

    if csv is not None:
        save_table(csv, table)
    if figure is not None and mark is not None:
        mark.save(figure)
