"""`tl-ext similarity`: how alike latents are."""

from __future__ import annotations

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
    background: options.Background = None,
    csv: options.Csv = None,
    figure: options.Figure = None,
    device: options.Device = None,
    trust_remote_code: options.Trust = False,
) -> None:
    """Compare latents by direction, and over background text by activation and contribution.

    Directions at hook_z are compared in the residual stream, through W_O.
    """
    from tl_ext.cli import chosen
    from tl_ext.errors import InputError
    from tl_ext.study.calls import feature_similarity

    compared: dict[str, list[int]] = {}
    for given in latents:
        id, _, listed = given.rpartition(":")
        try:
            compared.setdefault(id, []).extend(int(one) for one in listed.split(","))
        except ValueError:
            id = ""
        if not id:
            raise InputError(
                f"{given!r} names no latents; DICTIONARY:LATENT[,LATENT...] is expected."
            )
    hooked, loaded = chosen.open_both(
        model, dictionaries, device=device, trust_remote_code=trust_remote_code
    )
    texts = []
    if background is not None:
        if not background.is_file():
            raise InputError(f"There is no background file {background}.")
        texts = [
            line for line in background.read_text(encoding="utf-8").splitlines() if line.strip()
        ]
    found = feature_similarity(hooked, loaded, compared, texts)
    table = found.table
    chosen.show(table[["dictionary_a", "latent_a", "dictionary_b", "latent_b", *found.matrices]])
    chosen.write(table, csv, found.figure(), figure)
