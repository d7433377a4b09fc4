"""How commands show tables and write JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.table import Table


def table(*columns: str) -> Table:
    """A table whose first column stays whole, since what stands there is copied.

    Args:
        columns: Their headings.
    """
    from rich.table import Table

    made = Table(expand=False)
    for index, column in enumerate(columns):
        made.add_column(column, no_wrap=index == 0, overflow="fold", min_width=len(column))
    return made


def show(what: Table | str) -> None:
    """Print a table or a line, brackets and numbers in it as they are.

    Args:
        what: The table or line.
    """
    from rich.console import Console

    Console(markup=False, highlight=False).print(what)


def entry(heading: str, *details: str) -> None:
    """Print a record whose texts are too long for columns, at once and whole at any width.

    Args:
        heading: What it is called; it stands on a line of its own and stays whole, to be copied.
        details: What is said of it, each in lines of its own; empty ones are left out.
    """
    import shutil
    import textwrap

    width = min(max(shutil.get_terminal_size().columns, 40), 110)
    typer.echo(heading)
    for detail in filter(None, details):
        lines = textwrap.wrap(detail, width - 4, break_long_words=False, break_on_hyphens=False)
        typer.echo(textwrap.indent("\n".join(lines), "    "))


def write_json(what: Sequence[dict[str, Any]] | dict[str, Any]) -> None:
    """Write one record or several for programs.

    Args:
        what: What JSON has a form for.
    """
    import json

    typer.echo(json.dumps(what, indent=2, ensure_ascii=False))
