"""`tl-ext plugins`: what is loaded, from which distribution, what failed and why."""

from __future__ import annotations

from typing import Annotated

import typer

from tl_ext.cli.tables import write_json

app = typer.Typer(
    help="List plugins: what is loaded, from which distribution, what failed and why.",
    invoke_without_command=True,
)


@app.callback()
def plugins(
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON, for programs.")] = False,
) -> None:
    """List plugins: what is loaded, from which distribution, what failed and why.

    TL_EXT_PLUGINS (comma-separated names) narrows what is loaded.
    """
    from tl_ext.plugins import build_manager

    report = build_manager().report()
    if as_json:
        from dataclasses import fields

        records = [
            {field.name: getattr(one, field.name) for field in fields(one)}
            | {"provides": {hook: list(names) for hook, names in one.provides.items()}}
            for one in report
        ]
        write_json(records)
        return

    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    colours = {"loaded": "green", "partial": "yellow", "failed": "red", "skipped": "dim"}
    table = Table("plugin", "distribution", "status", "provides", expand=False)
    for one in report:
        distribution = f"{one.distribution or ''} {one.version or ''}".strip()
        provides = "\n".join(
            f"{hook.replace('_', ' ')}: {', '.join(names)}" for hook, names in one.provides.items()
        )
        status = f"[{colours[one.status]}]{one.status}[/]"
        table.add_row(escape(one.name), escape(distribution), status, escape(provides))
    console = Console()
    console.print(table)
    for one in report:
        if one.reason:
            console.print(f"[bold]{escape(one.name)}[/]: {escape(one.reason)}", highlight=False)
