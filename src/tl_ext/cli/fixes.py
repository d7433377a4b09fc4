"""`tl-ext fixes`: the upstream bugs that are known, whether they are here, and whether a fix works."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

app = typer.Typer(
    help="Upstream bugs: list them, probe for them, check their fixes.", no_args_is_help=True
)

Slugs = Annotated[
    list[str] | None, typer.Argument(metavar="[SLUG]...", help="Which fixes; none means all.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON, for programs.")]


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List the upstream bugs that are known, by slug."""
    from tl_ext import fixes

    specs = fixes.specs()
    if as_json:
        _write_json(
            [
                {
                    "slug": slug,
                    "symptom": spec.symptom,
                    "upstream": spec.upstream,
                    "kind": spec.kind,
                    "takes_effect": spec.takes_effect,
                    "bug": spec.bug,
                    "needed_by": spec.needed_by,
                }
                for slug, spec in specs.items()
            ]
        )
        return
    table = _table("slug", "upstream", "kind", "takes effect", "symptom")
    for slug, spec in specs.items():
        table.add_row(slug, spec.upstream, spec.kind, spec.takes_effect, spec.symptom)
    _show(table)


@app.command()
def probe(slugs: Slugs = None, as_json: AsJson = False) -> None:
    """Say for each bug whether it is PRESENT, ABSENT or UNKNOWN here, by reproducing it."""
    from tl_ext import fixes

    specs = fixes.specs()
    findings = {slug: fixes.probe(slug) for slug in _chosen(slugs, list(specs))}
    if as_json:
        _write_json(
            [
                {"slug": slug, "state": str(one.state), "evidence": one.evidence}
                for slug, one in findings.items()
            ]
        )
        return
    table = _table("slug", "state", "evidence", "seconds")
    for slug, one in findings.items():
        table.add_row(slug, str(one.state), one.evidence, f"{one.seconds:.2f}")
    _show(table)


@app.command()
def check(slugs: Slugs = None) -> None:
    """Prove runtime fixes: the bug before, none with the fix, the bug again after taking it back.

    A bug that is absent here needs no fix, and is said to be absent. Ends with status 1 where a fix
    does not do what it should.
    """
    from tl_ext import fixes
    from tl_ext.errors import FixError

    specs = fixes.specs()
    table = _table("slug", "before", "with the fix", "after", "")
    failed = False
    for slug in _chosen(slugs, list(specs)):
        before = fixes.probe(slug).state
        if specs[slug].kind != "runtime":
            table.add_row(slug, str(before), "", "", f"{specs[slug].kind}: see its patch")
            continue
        if before is not fixes.State.PRESENT:
            failed |= before is fixes.State.UNKNOWN
            table.add_row(slug, str(before), "", "", "nothing to fix here" if not failed else "")
            continue
        try:
            with fixes.applied(slug):
                during = fixes.probe(slug).state
            after = fixes.probe(slug).state
        except FixError as error:
            failed = True
            table.add_row(slug, str(before), "", "", str(error))
            continue
        right = during is fixes.State.ABSENT and after is fixes.State.PRESENT
        failed |= not right
        table.add_row(slug, str(before), str(during), str(after), "right" if right else "WRONG")
    _show(table)
    if failed:
        raise typer.Exit(1)


def _chosen(slugs: list[str] | None, known: list[str]) -> list[str]:
    """The slugs asked for, or all; one that is not known ends the command before anything runs."""
    from tl_ext.errors import nearest

    for slug in slugs or ():
        if slug not in known:
            raise typer.BadParameter(f"No fix is called {slug!r}.{nearest(slug, known)}")
    return slugs or known


def _table(*columns: str) -> Table:
    from rich.table import Table

    table = Table(expand=False)
    for index, column in enumerate(columns):
        # Slugs are copied from here, so they stay whole.
        table.add_column(column, no_wrap=index == 0, overflow="fold")
    return table


def _show(table: Table) -> None:
    from rich.console import Console

    Console(markup=False).print(table)


def _write_json(records: list[dict[str, object]]) -> None:
    import json

    typer.echo(json.dumps(records, indent=2, ensure_ascii=False))
