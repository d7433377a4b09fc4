"""How commands show tables and write JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

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


def show(shown: Table) -> None:
    """Print a table, brackets in it as they are."""
    from rich.console import Console

    Console(markup=False).print(shown)


def write_json(records: Sequence[dict[str, object]]) -> None:
    """Write records for programs."""
    import json

    typer.echo(json.dumps(records, indent=2, ensure_ascii=False))
