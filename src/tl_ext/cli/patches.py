"""`tl-ext patches`: the commits to send upstream, whether they do what they say, and laying them out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tl_ext.cli.tables import entry, write_json

if TYPE_CHECKING:
    from tl_ext.fixes import Patch

app = typer.Typer(
    help="Patches for upstream: list them, verify them, lay them on a checkout.",
    no_args_is_help=True,
)

AsJson = Annotated[bool, typer.Option("--json", help="Write JSON, for programs.")]


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List the patches, series after series, in the order they apply in."""
    from tl_ext import fixes

    every = fixes.every_patch()
    if as_json:
        write_json(
            [
                {
                    "slug": patch.slug,
                    "subject": patch.subject,
                    "file": str(patch.path),
                    "upstream": patch.upstream,
                    "base": patch.fields["X-TlExt-Base"],
                    "tree": patch.fields["X-TlExt-Tree"],
                    "requires": list(patch.requires),
                    "bug": patch.fields["Bug"],
                    "forwarded": patch.fields["Forwarded"],
                    "applied_upstream": patch.fields["Applied-Upstream"],
                    "files": list(patch.files),
                    "tests": list(patch.tests),
                }
                for patch in every
            ]
        )
        return
    for patch in every:
        forwarded = patch.fields["Forwarded"]
        entry(
            f"{patch.name} {patch.slug}",
            patch.subject,
            f"after {', '.join(patch.requires)}" if patch.requires else "",
            "" if forwarded == "no" else f"forwarded: {forwarded}",
        )


@app.command()
def status(
    slugs: Annotated[
        list[str] | None, typer.Argument(metavar="[SLUG]...", help="Which; none means all.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say of each patch whether upstream has it, and whether what is installed has the bug."""
    from tl_ext import fixes

    records: list[dict[str, object]] = []
    for patch in _chosen(slugs, fixes.every_patch()):
        finding = fixes.probe(patch.slug)
        forwarded, accepted = patch.fields["Forwarded"], patch.fields["Applied-Upstream"]
        base, installed = patch.fields["X-TlExt-Base"], fixes.installed_release(patch.upstream)
        if as_json:
            records.append(
                {
                    "slug": patch.slug,
                    "forwarded": forwarded,
                    "applied_upstream": accepted,
                    "base": base,
                    "installed": installed,
                    "state": str(finding.state),
                    "evidence": finding.evidence,
                }
            )
            continue
        # One after the other: all probes take a while.
        entry(
            patch.slug,
            f"{finding.state} here ({patch.upstream} {installed or 'is not installed'}): "
            f"{finding.evidence}",
            f"made against {base}; forwarded: {forwarded}; upstream has it: {accepted or 'no'}",
        )
    if as_json:
        write_json(records)


@app.command()
def verify(
    slugs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SLUG]...",
            help="Which, each alone with what it requires; none means every series in its order.",
        ),
    ] = None,
    tree: Annotated[
        Path | None,
        typer.Option(help="A source tree to verify them on, instead of the installed release."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Apply patches to a copy of the release and prove them there.

    The bug is there before; exactly the files a patch names change; with it the probe says ABSENT
    and its own regression test passes. Ends with status 1 where that is not so. Needs git and pytest.
    """
    from tl_ext import fixes

    failed, records = False, []
    for report in fixes.verify(*(slugs or ()), tree=tree):
        # A patch that was asked for by name and could not be verified was not verified.
        failed |= bool(report.problem) or bool(slugs and report.skipped)
        said = "right" if report.right else report.problem or f"skipped: {report.skipped}"
        if as_json:
            records.append(
                {
                    "slug": report.patch.slug,
                    "file": str(report.patch.path),
                    "beneath": list(report.beneath),
                    "right": report.right,
                    "skipped": report.skipped,
                    "problem": report.problem,
                    "seconds": report.seconds,
                }
            )
            continue
        # Line by line: each takes seconds.
        colour = typer.colors.RED if report.problem else None
        name = f"{report.patch.name} {report.patch.slug}"
        typer.secho(f"{name}: {said} ({report.seconds:.1f} s)", fg=colour)
    if as_json:
        write_json(records)
    if failed:
        raise typer.Exit(1)


@app.command()
def export(
    slugs: Annotated[
        list[str], typer.Argument(metavar="SLUG...", help="Which; what they require comes along.")
    ],
    to: Annotated[Path, typer.Option(help="A git checkout of upstream: its root.")],
    branch: Annotated[
        str | None, typer.Option(help="The branch to make; tl-ext/SLUG where it is not named.")
    ] = None,
    descriptions: Annotated[
        Path | None,
        typer.Option(help="Write a description per patch into this folder instead of printing it."),
    ] = None,
) -> None:
    """Lay patches as commits on a new branch of a checkout, each with a description for its pull request.

    Example: tl-ext patches export rotary-base-not-read --to ../TransformerLens
    """
    from tl_ext import fixes
    from tl_ext.errors import InputError
    from tl_ext.files import write_whole
    from tl_ext.fixes.describing import pull_request
    from tl_ext.fixes.patching.exporting import export
    from tl_ext.fixes.patching.patches import with_requirements

    named = _chosen(slugs, fixes.every_patch())
    places = {(patch.upstream, patch.base) for patch in named}
    if len(places) > 1:
        listed = " and ".join(" ".join(place) for place in sorted(places))
        raise InputError(f"These patches are made against {listed}: export each apart.")
    wanted = with_requirements([patch.slug for patch in named], fixes.series(*places.pop()))
    if descriptions is not None and descriptions.exists() and not descriptions.is_dir():
        raise InputError(f"--descriptions {descriptions}: a folder is expected.")
    done = export(wanted, to, branch=branch or f"tl-ext/{named[-1].slug}")
    for slug, commit in done.commits.items():
        typer.echo(f"{commit[:10]} {slug}", err=True)
    typer.echo(f"on branch {done.branch} of {to}, which is checked out", err=True)
    for patch in wanted:
        text = pull_request(patch)
        if descriptions is None:
            typer.echo(text)
        else:
            write_whole(descriptions / f"{patch.path.stem}.md", text.encode())
    if descriptions is not None:
        typer.echo(f"{len(wanted)} descriptions in {descriptions}", err=True)


def _chosen(slugs: list[str] | None, every: list[Patch]) -> list[Patch]:
    """The patches asked for, or all; one that is not there ends the command before anything runs."""
    from tl_ext.errors import nearest

    known = [patch.slug for patch in every]
    for slug in slugs or ():
        if slug not in known:
            raise typer.BadParameter(f"No patch is called {slug!r}.{nearest(slug, known)}")
    return [patch for patch in every if not slugs or patch.slug in slugs]
