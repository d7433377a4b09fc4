"""The options that several commands share, said once."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from tl_ext.errors import InputError


class OverTokens(StrEnum):
    """How the tokens of a word are joined."""

    sum = "sum"
    mean = "mean"
    max = "max"


class Positions(StrEnum):
    """Which tokens are steered."""

    all = "all"
    prompt = "prompt"
    generated = "generated"
    everything = "everything"


class Unit(StrEnum):
    """What strength 1 is."""

    largest = "largest"
    usual_norm = "usual norm"


def _figure(path: Path | None) -> Path | None:
    """A figure's name, told to be wrong before anything is computed."""
    if path is not None and path.suffix.lower() not in (".png", ".html"):
        raise InputError(f"--figure {path}: a name ending in .png or .html is expected.")
    return path


Model = Annotated[
    str, typer.Option(help="A hub name, a folder, or 'testbed' for the shipped model.")
]
Sources = Annotated[
    list[str] | None,
    typer.Option(
        "--dictionaries",
        "-d",
        help="saelens://RELEASE, a folder SAELens saved, testbed://, or a plugin's scheme; repeat -d "
        "for each source. The shipped model brings its own.",
    ),
]
ConceptFile = Annotated[
    Path | None, typer.Option("--concepts", help="A YAML file of concepts instead of the built-in.")
]
Background = Annotated[
    Path | None,
    typer.Option(help="Background text, one text a line; otherwise the model's own is sampled."),
]
Languages = Annotated[
    str | None, typer.Option(help="Languages of the concepts, comma-separated: en,fr,zh.")
]
Layer = Annotated[int | None, typer.Option(help="The layer to look at.")]
Seed = Annotated[int, typer.Option(help="Of everything random.")]
BatchSize = Annotated[int, typer.Option(help="Texts in a forward pass.", min=1)]
Device = Annotated[str | None, typer.Option(help="Where the model runs: cpu, cuda, mps.")]
Top = Annotated[int, typer.Option(help="How many of the strongest latents.", min=1)]
Trust = Annotated[
    bool,
    typer.Option("--trust-remote-code", help="Run code that comes with the checkpoint."),
]
Csv = Annotated[Path | None, typer.Option(help="Write the table to this file.")]
Figure = Annotated[
    Path | None,
    typer.Option(help="Write the figure to this .png or .html file.", callback=_figure),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bars.")]


def split(listed: str | None) -> tuple[str, ...] | None:
    """Comma-separated names; None stays None."""
    if listed is None:
        return None
    return tuple(name.strip() for name in listed.split(",") if name.strip())
