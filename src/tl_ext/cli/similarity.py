"""`tl-ext similarity`: how alike latents are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tl_ext.cli import options


def similarity(
    latents: Annotated[
        list[str],
        typer.Argument(
            metavar="DICTIONARY:LATENT...",
            help="The latents, such as blocks.3.hook_resid_pre:17,42 blocks.4.hook_resid_pre:9.",
        ),
    ],
    model: options.Model = "testbed",
    dictionaries: options.Sources = None,
    background: Annotated[
        Path | None,
        typer.Option(
            help="Background text, one text a line, to compare activations on; without it only "
            "directions are compared."
        ),
    ] = None,
    csv: options.Csv = None,
    figure: options.Figure = None,
    device: options.Device = None,
    trust_remote_code: options.Trust = False,
) -> None:
    """Compare latents by direction, and over background text by activation and contribution.

    Directions at hook_z are compared in the residual stream, through W_O.
    """
    from tl_ext.cli import chosen
    from tl_ext.study.calls.similarity import feature_similarity
    from tl_ext.study.session import background_texts

    chosen.refuse_sources(latents, dictionaries)
    compared: dict[str, list[int]] = {}
    for given in latents:
        id, which = chosen.latents_named(given)
        compared.setdefault(id, []).extend(which)
    hooked, loaded = chosen.open_both(
        model, dictionaries, device=device, trust_remote_code=trust_remote_code
    )
    texts = () if background is None else background_texts(background, hooked)[0]
    found = feature_similarity(hooked, loaded, compared, texts)
    table = found.table
    shown = table[list(found.matrices)]
    for place, one in enumerate("ab"):
        named = [
            f"{id}:{latent}"
            for id, latent in zip(table[f"dictionary_{one}"], table[f"latent_{one}"], strict=True)
        ]
        shown.insert(place, one, named)
    chosen.show(shown)
    chosen.write(table, csv, found.figure(), figure)
