"""`tl-ext adapters`: architectures, who brings each, what was verified, and on which versions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tl_ext.cli.tables import show, table, write_json

if TYPE_CHECKING:
    from tl_ext.plugins.architectures import Architecture, Verified


def adapters(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[ARCHITECTURE]", help="Everything about one of them."),
    ] = None,
    upstream: Annotated[
        bool,
        typer.Option("--upstream", help="List TransformerLens' own too (imports it: seconds)."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON, for programs.")] = False,
) -> None:
    """List architectures that plugins bring: who provides each, and what was verified against what.

    Example: tl-ext adapters ChatGLMModel
    """
    from tl_ext.plugins.architectures import architectures
    from tl_ext.upstream import versions

    found = architectures(versions())
    own = _upstreams() if upstream or (name is not None and name not in found) else ()
    if name is not None:
        found, own = _chosen(name, found, own)
    if as_json:
        _write(list(found.values()), own)
    elif name is None:
        _show_all(list(found.values()), own)
    elif own:
        show(f"{name} is TransformerLens' own ({_installed()}); nothing is needed from here.")
    else:
        _show_one(found[name])


def _upstreams() -> tuple[str, ...]:
    from tl_ext.upstream import own_architectures

    return own_architectures()


def _chosen(
    name: str, found: dict[str, Architecture], own: tuple[str, ...]
) -> tuple[dict[str, Architecture], tuple[str, ...]]:
    """One architecture alone, a plugin's or TransformerLens' own."""
    from tl_ext.errors import InputError, nearest

    if name in found:
        return {name: found[name]}, ()
    if name in own:
        return {}, (name,)
    raise InputError(
        f"Nothing installed knows the architecture {name!r}.{nearest(name, [*found, *own])} "
        "`tl-ext adapters --upstream` lists all of them."
    )


def _show_all(found: list[Architecture], own: tuple[str, ...]) -> None:
    made = table("architecture", "provided by", "family", "verified against")
    for one in found:
        family = "" if one.family is None else one.family.name
        made.add_row(one.name, one.provider, family, "\n".join(_briefly(one.verified)))
    show(made)
    versions = {_versions(on) for one in found for held in one.verified for on in held.on}
    show(f"Recorded on: {'; '.join(sorted(versions)) or 'nothing'}. Installed: {_installed()}.")
    fixes = dict.fromkeys(slug for one in found for slug in one.fixes)
    if fixes:
        show(f"Fixes they bring, for the whole process: {', '.join(fixes)}.")
    if own:
        show(f"TransformerLens' own, {len(own)} of them: {', '.join(sorted(own))}.")
    else:
        show("TransformerLens' own architectures are not in the table: --upstream lists them.")


def _briefly(verified: tuple[Verified, ...]) -> list[str]:
    """What was compared with, once each: on what is installed, and not on it."""
    kinds: dict[str, bool] = {}
    for one in verified:
        kinds[one.against] = kinds.get(one.against, True) and one.here
    here = ", ".join(against for against, held in kinds.items() if held)
    elsewhere = ", ".join(against for against, held in kinds.items() if not held)
    lines = [here, elsewhere and f"NOT on these versions: {elsewhere}"]
    return [line for line in lines if line] or ["nothing"]


def _show_one(one: Architecture) -> None:
    from tl_ext.fixes import specs

    symptoms = {slug: spec.symptom for slug, spec in specs().items()}
    made = table(one.name, "")
    made.add_row("provided by", f"{one.provider}, {one.adapter}")
    if one.family is not None:
        made.add_row("family", one.family.name)
        made.add_row("loads", "\n".join(one.family.checkpoints))
        made.add_row("refuses", "\n".join(one.family.refused))
        made.add_row("tokenizer", one.family.tokenizer)
    for slug in one.fixes:
        told = symptoms.get(slug, "a fix that nothing installed brings")
        made.add_row("fix", f"{slug}: {told}\napplied by activate, for the whole process")
    for held in one.verified:
        made.add_row("verified", f"{held}\n{held.test}")
    if not one.verified:
        made.add_row("verified", "nothing")
    show(made)
    show(f"Installed: {_installed()}.")


def _installed() -> str:
    from tl_ext.upstream import versions

    return _versions(versions())


def _versions(known: Mapping[str, Any]) -> str:
    from tl_ext.plugins.architectures import COMPARED

    return ", ".join(f"{name} {known.get(name) or '(absent)'}" for name in COMPARED)


def _write(found: list[Architecture], own: tuple[str, ...]) -> None:
    from dataclasses import asdict

    from tl_ext.upstream import versions

    record: dict[str, Any] = {
        "installed": versions(),
        "architectures": [asdict(one) for one in found],
    }
    if own:
        record["upstream"] = sorted(own)
    write_json(record)
