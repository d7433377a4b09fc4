"""The command `tl-ext`: one file per command, each importing what it needs when it runs."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from tl_ext.cli import (
    ablate,
    adapters,
    conformance,
    counterparts,
    crosslingual,
    examples,
    features,
    fixes,
    match,
    patches,
    plugins,
    similarity,
    similarity_null,
    steer,
    study,
    sweep,
    testbed,
    tokens,
)
from tl_ext.errors import TlExtError


class Commands(TyperGroup):
    """Says what is wrong in a sentence; a traceback is for bugs of ours."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command; our own errors end it with status 2, an interrupt with 130."""
        try:
            return super().invoke(ctx)
        except TlExtError as error:
            typer.secho(f"tl-ext: {error}", err=True, fg=typer.colors.RED)
            raise typer.Exit(2) from error
        except KeyboardInterrupt:
            typer.echo(
                "tl-ext: interrupted; the same command continues where it stopped.", err=True
            )
            raise typer.Exit(130) from None


app = typer.Typer(
    cls=Commands,
    help=(
        "Features of dictionaries in language models: find them, compare them, steer with them, and "
        "tell a finding from chance."
    ),
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)


def _version(asked: bool) -> None:
    """Print the version and end."""
    if not asked:
        return
    from importlib.metadata import PackageNotFoundError, version

    try:
        typer.echo(f"tl-ext {version('tl-ext')}")
    except PackageNotFoundError:
        typer.echo("tl-ext, of no version: it runs from a source tree that is not installed")
    raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Hold the options of the command itself."""


app.command("study")(study.study)
app.command("features")(features.features)
app.command("crosslingual")(crosslingual.crosslingual)
app.command("examples")(examples.examples)
app.command("similarity")(similarity.similarity)
app.command("similarity-null")(similarity_null.similarity_null)
app.command("counterparts")(counterparts.counterparts)
app.command("match")(match.match)
app.command("steer")(steer.steer)
app.command("sweep")(sweep.sweep)
app.command("ablate")(ablate.ablate)
app.command("tokens")(tokens.tokens)
app.command("adapters")(adapters.adapters)
app.command("conformance")(conformance.conformance)
app.add_typer(testbed.app, name="testbed")
app.add_typer(plugins.app, name="plugins")
app.add_typer(fixes.app, name="fixes")
app.add_typer(patches.app, name="patches")
