"""`tl-ext fixes`: the upstream bugs that are known, whether they are here, and whether a fix works."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from tl_ext.cli.tables import entry, write_json

app = typer.Typer(
    help="Upstream bugs: list them, probe for them, check their fixes, run a script with them.",
    no_args_is_help=True,
)

Slugs = Annotated[
    list[str] | None, typer.Argument(metavar="[SLUG]...", help="Which fixes; none means all.")
]
Tree = Annotated[
    Path | None, typer.Option(help="A source tree, for source-only fixes: the checkout's root.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON, for programs.")]


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List the upstream bugs that are known: what is seen of each, and how its fix is applied.

    A runtime fix can be applied at any time and taken back; an import-time fix must come before the
    upstream package is imported. Of a patch-only or source-only bug there is a patch alone.
    """
    from tl_ext import fixes

    specs = fixes.specs()
    if as_json:
        write_json(
            [
                {
                    "slug": slug,
                    "symptom": spec.symptom,
                    "upstream": spec.upstream,
                    "kind": spec.kind,
                    "takes_effect": spec.takes_effect,
                    "present_in": list(spec.present_in),
                    "absent_in": list(spec.absent_in),
                    "touches": list(spec.touches),
                    "recommended": spec.recommended,
                    "bug": spec.bug,
                    "needed_by": spec.needed_by,
                }
                for slug, spec in specs.items()
            ]
        )
        return
    for slug, spec in specs.items():
        acts = spec.kind if spec.takes_effect == "now" else f"{spec.kind}, on models booted later"
        left_out = spec.applicable and not spec.recommended
        said = "; not among fixes.recommended()" * left_out
        entry(slug, spec.symptom, f"[{spec.upstream}: {acts}{said}]")


@app.command()
def probe(slugs: Slugs = None, tree: Tree = None, as_json: AsJson = False) -> None:
    """Say for each bug whether it is PRESENT, ABSENT or UNKNOWN here, by reproducing it.

    Ends with status 1 where that contradicts what is recorded of the installed releases. With --tree,
    for the bugs in source files that no package installs.
    """
    from tl_ext import fixes
    from tl_ext.fixes.probing import run_probe
    from tl_ext.fixes.releases import Agreement, agreement, expected

    specs = fixes.specs()
    chosen = _chosen(slugs, list(specs))
    if tree is not None and not slugs:
        chosen = [slug for slug, spec in specs.items() if spec.kind == "source-only"]
    wrong, records = [], []
    for slug in chosen:
        finding = run_probe(specs[slug], tree=tree)
        stands = agreement(specs[slug], finding)
        if stands is Agreement.CONTRADICTS:
            wrong.append(slug)
        if as_json:
            recorded = expected(specs[slug])
            records.append(
                {
                    "slug": slug,
                    "state": finding.state,
                    "evidence": finding.evidence,
                    "seconds": finding.seconds,
                    "recorded": recorded,
                    "agreement": stands,
                }
            )
        else:
            # One after the other: all of them take a while.
            typer.echo(f"{finding.state:8} {slug} ({stands}, {finding.seconds:.2f} s)")
            typer.echo(f"{'':8} {finding.evidence}")
    if as_json:
        write_json(records)
    if wrong:
        typer.secho(
            f"{', '.join(wrong)}: not what is recorded of the installed releases. Either the release "
            "is not what its number says, or present_in and absent_in of the fix are to be changed.",
            err=True,
            fg=typer.colors.RED,
        )
        raise typer.Exit(1)


@app.command()
def check(slugs: Slugs = None) -> None:
    """Prove fixes: the bug before, none with the fix, the bug again after taking it back.

    An import-time fix is proved in processes of its own. A bug that is absent here needs no fix, and is
    said to be absent; of a package that cannot be imported nothing is asked. Ends with status 1 where a
    fix does not do what it should.
    """
    from tl_ext import fixes
    from tl_ext.errors import FixError

    wrong = []
    for slug in _chosen(slugs, list(fixes.specs())):
        try:
            proof = fixes.prove(slug)
            right, said = proof.right, str(proof)
        except FixError as error:
            right, said = False, str(error)
        # One after the other: all of them take a while.
        entry(slug, said)
        if not right:
            wrong.append(slug)
    if wrong:
        listed = f"Not proved: {', '.join(wrong)}. `tl-ext fixes probe SLUG` says what is seen."
        typer.secho(listed, err=True, fg=typer.colors.RED)
        raise typer.Exit(1)


@app.command()
def status(slugs: Slugs = None, as_json: AsJson = False) -> None:
    """Say which names each runtime fix wraps in the installed releases, and which it does not find.

    To see that, each is applied and taken back. Inside a program, tl_ext.fixes.status() says what is in
    effect there; a process starts with nothing.
    """
    from dataclasses import asdict

    from tl_ext import fixes
    from tl_ext.errors import FixError

    records = []
    for slug in _chosen(slugs, list(fixes.specs())):
        problem, one = "", fixes.FixStatus(slug, 0)
        try:
            one = fixes.reach(slug)
        except FixError as error:
            problem = str(error)
        if as_json:
            records.append(asdict(one) | {"applied": 0, "problem": problem})
            continue
        entry(
            slug,
            problem,
            _listed("wraps", one.targets),
            _listed("does not find what other releases have:", one.absent),
            _listed("has no effect on copies:", one.stray),
        )
    if as_json:
        write_json(records)


def _listed(what: str, names: tuple[str, ...]) -> str:
    return f"{what} {', '.join(names)}" if names else ""


class _BeforeScript(TyperCommand):
    """A command line in two halves: its own before `--`, a script's after it, left as it is."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Keep the script's half in `ctx.obj`."""
        cut = args.index("--") if "--" in args else len(args)
        ctx.obj = args[cut + 1 :]
        return super().parse_args(ctx, args[:cut])

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Show both halves."""
        return ["SLUG...", "--", "SCRIPT", "[ARGS]..."]


@app.command(cls=_BeforeScript)
def run(
    ctx: typer.Context,
    slugs: Annotated[list[str], typer.Argument(metavar="SLUG...", help="Which fixes.")],
) -> None:
    """Run a Python script with fixes in effect, its own arguments after it.

    Example: tl-ext fixes run registered-adapters-ignored-by-boot -- train.py --epochs 3
    """
    import runpy
    import sys
    import traceback

    from tl_ext import fixes
    from tl_ext.errors import InputError

    words: list[str] = ctx.obj
    if not words or not Path(words[0]).is_file():
        given = f"There is no file {words[0]}" if words else "No script stands after --"
        raise InputError(f"{given}; expected is: tl-ext fixes run SLUG... -- SCRIPT [ARGS]")
    argv, path = sys.argv, list(sys.path)
    with fixes.applied(*_chosen(slugs, list(fixes.specs()))) as applied:
        typer.echo(f"tl-ext: applied {', '.join(one.slug for one in applied)}", err=True)
        # As `python SCRIPT` has them.
        sys.argv, sys.path[:] = words, [str(Path(words[0]).resolve().parent), *path]
        try:
            runpy.run_path(words[0], run_name="__main__")
        except Exception as error:
            # As `python SCRIPT` ends: the script's own frames, and status 1.
            own = [
                one for one in traceback.extract_tb(error.__traceback__) if one.filename == words[0]
            ]
            shown = traceback.TracebackException.from_exception(error)
            shown.stack = traceback.StackSummary.from_list(
                shown.stack[shown.stack.index(own[0]) :] if own else shown.stack
            )
            typer.echo("".join(shown.format()), err=True, nl=False)
            raise typer.Exit(1) from error
        finally:
            sys.argv, sys.path[:] = argv, path


def _chosen(slugs: list[str] | None, known: list[str]) -> list[str]:
    """The slugs asked for, or all; one that is not known ends the command before anything runs."""
    from tl_ext.errors import nearest

    for slug in slugs or ():
        if slug not in known:
            raise typer.BadParameter(f"No fix is called {slug!r}.{nearest(slug, known)}")
    return slugs or known
