"""`tl-ext match`: which latents of two whole dictionaries belong together."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from tl_ext.cli import options


class Null(StrEnum):
    """What chance is."""

    reflected = "reflected"
    rotated = "rotated"


def match(
    first: Annotated[str, typer.Argument(help="The dictionary whose latents are looked at.")],
    second: Annotated[str, typer.Argument(help="The dictionary they are looked for in.")],
    model: options.Model = "testbed",
    dictionaries: options.Sources = None,
    null: Annotated[
        Null,
        typer.Option(
            help="What chance is: the second dictionary reflected in its principal axes, which keeps "
            "mean and covariance, or rotated at random."
        ),
    ] = Null.reflected,
    draws: Annotated[
        int,
        typer.Option(
            help="Draws of chance; each costs as much as the comparison. Below 19 nothing can be "
            "decided.",
            min=1,
        ),
    ] = 99,
    top: Annotated[int, typer.Option(help="How many of the nearest pairs are shown.", min=1)] = 10,
    memory: Annotated[
        float, typer.Option(help="GiB that the exact assignment may take.", min=0)
    ] = 2.0,
    seed: options.Seed = 0,
    csv: options.Csv = None,
    figure: options.Figure = None,
    device: options.Device = None,
    trust_remote_code: options.Trust = False,
    quiet: options.Quiet = False,
) -> None:
    """Match the latents of two dictionaries by their decoder directions, beside chance.

    Directions at hook_z are compared in the residual stream, through W_O.

    Example: tl-ext match blocks.2.hook_resid_pre blocks.3.hook_resid_pre
    """
    from tl_ext.cli import chosen
    from tl_ext.study.calls.matching import match_dictionaries

    chosen.refuse_sources([first, second], dictionaries)
    hooked, loaded = chosen.open_both(
        model, dictionaries, device=device, trust_remote_code=trust_remote_code
    )
    found = match_dictionaries(
        hooked,
        loaded[first],
        loaded[second],
        null=null.value,
        draws=draws,
        seed=seed,
        memory=int(memory * 2**30),
        progress=not quiet,
    )
    table = found.table
    chosen.show(table.sort_values("cosine", ascending=False, kind="stable").head(top))
    typer.echo(found.verdict)
    chosen.write(table, csv, found.figure() if figure else None, figure)
