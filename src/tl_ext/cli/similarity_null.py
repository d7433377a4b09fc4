"""`tl-ext similarity-null`: are a concept's latents more alike than those of other words?"""

from __future__ import annotations

from typing import Annotated

import typer

from tl_ext.cli import options


def similarity_null(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[CONCEPT...]", help="Concepts by name; none: all there are."),
    ] = None,
    model: options.Model = "testbed",
    dictionaries: options.Sources = None,
    concepts: options.ConceptFile = None,
    languages: options.Languages = None,
    layer: options.Layer = None,
    top: options.Top = 3,
    background: options.Background = None,
    seed: options.Seed = 0,
    csv: options.Csv = None,
    figure: options.Figure = None,
    batch_size: options.BatchSize = 32,
    device: options.Device = None,
    trust_remote_code: options.Trust = False,
    quiet: options.Quiet = False,
) -> None:
    """Compare the strongest latents of concepts with those of other words in the same sentences.

    Words of a concept file are compared with those it lists under `matched`.

    Example: tl-ext similarity-null happy --languages en --layer 4
    """
    from tl_ext.cli import chosen
    from tl_ext.concepts.loading import load_matched
    from tl_ext.study.calls.similarity_null import similarity_null as compare
    from tl_ext.study.session import background_texts

    chosen.refuse_sources(names or [], dictionaries)
    said = chosen.concepts_named(names, concepts, options.split(languages))
    hooked, loaded = chosen.open_both(
        model, dictionaries, layer=layer, device=device, trust_remote_code=trust_remote_code
    )
    texts, _ = background_texts(background, hooked, seed=seed, progress=not quiet)
    found = compare(
        hooked,
        loaded,
        said,
        texts,
        (load_matched(concepts) or None) if concepts else None,
        top=top,
        seed=seed,
        batch_size=batch_size,
        progress=not quiet,
    )
    columns = ["concept", "language", "kind", "measure", "observed", "low", "high", "null_median"]
    chosen.show(found.pooled[[*columns, "below", "words", "p", "adjusted", "decision"]])
    for sentence in found.verdicts:
        typer.echo(sentence)
    mark = found.figure() if figure is not None else None
    chosen.write(found.table, csv, mark, figure)
