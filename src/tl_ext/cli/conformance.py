"""`tl-ext conformance`: whether the hook points of an architecture do what their names say."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tl_ext.cli.tables import entry, write_json

if TYPE_CHECKING:
    from tl_ext.conformance.spec import ConformanceSpec

THOROUGH = 25


def conformance(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ARCHITECTURE]...", help="Which, such as Qwen2ForCausalLM."),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every architecture that is known.")] = False,
    list_: Annotated[
        bool, typer.Option("--list", help="List what can be checked, and stop.")
    ] = False,
    examples: Annotated[
        int | None, typer.Option(min=1, help="How many tiny models to draw of each (2).")
    ] = None,
    thorough: Annotated[
        bool, typer.Option("--thorough", help=f"Draw {THOROUGH} of each, or as --examples says.")
    ] = False,
    fixes: Annotated[
        bool, typer.Option("--fixes", help="With the recommended fixes of upstream bugs in effect.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            help="A folder for what was found: status/RELEASE.json, which a later run goes on from, and "
            "status.md."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON, for programs.")] = False,
) -> None:
    """Check that hook points hold and do what their names say, on tiny random models.

    Says what fails where, by how much, and prints a script that shows it without tl_ext. Ends with
    status 1 where something fails that is not known to.

    Example: tl-ext conformance Qwen2ForCausalLM
    """
    from contextlib import nullcontext

    from tl_ext import fixes as upstream_fixes
    from tl_ext.conformance.catalogue import spec_of, specs
    from tl_ext.errors import InputError

    if list_:
        for name, spec in specs().items():
            entry(name, f"claims {', '.join(sorted(spec.capabilities))}")
        return
    if every == bool(names):
        raise InputError("Name architectures, or give --all; --list lists them.")
    chosen = list(specs().values()) if every else [spec_of(name) for name in names or ()]
    asked = examples or (THOROUGH if thorough else None)
    slugs = upstream_fixes.recommended() if fixes else ()
    with upstream_fixes.applied(*slugs) if slugs else nullcontext():
        failed = _run(chosen, asked, out, as_json=as_json)
    if failed:
        raise typer.Exit(1)


def _run(
    chosen: list[ConformanceSpec], asked: int | None, out: Path | None, *, as_json: bool
) -> bool:
    """Ask, showing how far it is, and say what was found; whether something failed that was not known to."""
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from tl_ext.conformance.running import EXAMPLES
    from tl_ext.conformance.sweep import status_page, sweep
    from tl_ext.files import write_whole
    from tl_ext.upstream import versions

    file = None if out is None else out / "status" / f"{versions()['transformer-lens']}.json"
    columns = (TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn())
    reports = []
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=len(chosen))
        found = sweep(chosen, examples_asked=asked or EXAMPLES, file=file)
        for spec in chosen:
            progress.update(task, description=spec.name)
            reports.append(next(found))
            progress.advance(task)
            if not as_json:
                # One after the other: all of them take minutes.
                typer.echo(str(reports[-1]))
    if as_json:
        write_json([report.record() for report in reports])
    if out is not None:
        write_whole(out / "status.md", status_page(out / "status").encode())
        typer.echo(f"{file} and {out / 'status.md'} are written.", err=True)
    return not all(report.right for report in reports)
