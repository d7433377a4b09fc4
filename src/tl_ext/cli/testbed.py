"""`tl-ext testbed`: the shipped bilingual model, its card and its making."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tl_ext.cli import options

app = typer.Typer(
    help="The shipped bilingual model: its card and its making.", no_args_is_help=True
)


@app.command()
def card() -> None:
    """Print the model's card."""
    from tl_ext.errors import InputError
    from tl_ext.testbed import folder

    path = folder() / "CARD.md"
    if not path.is_file():
        raise InputError(
            f"The shipped model is missing from this installation: there is no {path}. Install tl-ext "
            "anew, or build the model: tl-ext testbed build --help."
        )
    typer.echo(path.read_text(encoding="utf-8"))


@app.command()
def build(
    pairs: Annotated[
        Path, typer.Option(help="English, a tab and French on each line.", exists=True)
    ],
    out: Annotated[Path, typer.Option(help="The folder to write into.")] = Path("out/testbed"),
    seed: options.Seed = 0,
    threads: Annotated[int, typer.Option(help="Of torch.", min=1)] = 2,
) -> None:
    """Build the model, its dictionaries and its card from sentence pairs; about an hour on two cores.

    Needs SAELens. Interrupted, the same command continues where it stopped.
    """
    from tl_ext.testbed.build import build as make

    typer.echo(f"Built: {make(pairs, out, seed=seed, threads=threads)}")
