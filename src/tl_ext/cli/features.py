"""`tl-ext features`: which latents fire on a concept."""

from __future__ import annotations

from typing import Annotated

import typer

from tl_ext.cli import options


def features(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[CONCEPT]...", help="happy, sad, excited, or names of the file."),
    ] = None,
    model: options.Model = "testbed",
    dictionaries: options.Sources = None,
    concepts: options.ConceptFile = None,
    languages: options.Languages = None,
    text: Annotated[
        str | None, typer.Option(help="Look at a word in this text instead of at concepts.")
    ] = None,
    word: Annotated[str | None, typer.Option(help="The word in --text.")] = None,
    layer: options.Layer = None,
    top: options.Top = 3,
    over_tokens: Annotated[
        options.OverTokens, typer.Option(help="How the tokens of a word are joined.")
    ] = options.OverTokens.sum,
    csv: options.Csv = None,
    figure: options.Figure = None,
    device: options.Device = None,
    trust_remote_code: options.Trust = False,
) -> None:
    """Print the strongest latents at a concept's words, per dictionary.

    Example: tl-ext features happy --languages en,fr --layer 3
    """
    from tl_ext.cli import chosen
    from tl_ext.concepts.concept import Concept, Example
    from tl_ext.errors import InputError
    from tl_ext.study.calls.features import concept_activations

    if (text is None) != (word is None):
        raise InputError("--text and --word belong together: give both, or neither.")
    if text is not None and word is not None:
        chosen.refuse_sources(names or (), dictionaries)
        if names:
            raise InputError(
                f"Concepts ({', '.join(names)}) and --text were given: look at concepts or at a text."
            )
        said = [Concept(word, "-", (Example(text, word),))]
    else:
        try:
            said = chosen.concepts_named(names, concepts, options.split(languages))
        except InputError:
            # Only now: a concept may be called as a folder is.
            chosen.refuse_sources(names or (), dictionaries)
            raise
    hooked, loaded = chosen.open_both(
        model, dictionaries, layer=layer, device=device, trust_remote_code=trust_remote_code
    )
    found = concept_activations(hooked, loaded, said, over_tokens=over_tokens.value, progress=True)
    columns = ["dictionary", "concept", "language", "latent", "activation", "share"]
    best = found.top(top)
    chosen.show(best[[*columns, *(["page"] if "page" in best else [])]], formats={"share": ".0%"})
    chosen.write(found.table, csv, found.figure() if figure else None, figure)
