"""`tl-ext study`: the exploration, from one command to one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tl_ext.cli import options


def study(
    model: options.Model = "testbed",
    dictionaries: options.Sources = None,
    more: Annotated[
        list[str] | None,
        typer.Argument(metavar="[SOURCE]...", help="Further sources, after --dictionaries."),
    ] = None,
    concepts: options.ConceptFile = None,
    background: options.Background = None,
    languages: options.Languages = None,
    layer: options.Layer = None,
    out: Annotated[Path, typer.Option(help="The folder to write into.")] = Path("out/study"),
    seed: options.Seed = 0,
    batch_size: options.BatchSize = 32,
    device: options.Device = None,
    trust_remote_code: options.Trust = False,
    quiet: options.Quiet = False,
) -> None:
    """Do the exploration: tables, figures, a summary and one page in the output folder.

    Interrupted, the same command continues where it stopped.
    """
    from tl_ext.study.run import run_study
    from tl_ext.study.session import open_session

    session = open_session(
        model=model,
        dictionaries=[*(dictionaries or ()), *(more or ())],
        concepts=concepts,
        background=background,
        languages=options.split(languages),
        layer=layer,
        seed=seed,
        batch_size=batch_size,
        device=device,
        trust_remote_code=trust_remote_code,
        progress=not quiet,
    )
    result = run_study(session, out)
    typer.echo(f"The page:   {result.page}")
    typer.echo(f"Tables:     {result.folder / 'tables'} ({len(result.tables)} CSV files)")
    typer.echo(f"Figures:    {result.folder / 'figures'}")
    typer.echo(f"Everything: {result.folder / 'summary.json'}")
    for part, why in result.failed.items():
        typer.secho(f"tl-ext: {part} did not run. {why}", err=True, fg=typer.colors.RED)
    if result.failed:
        raise typer.Exit(1)
