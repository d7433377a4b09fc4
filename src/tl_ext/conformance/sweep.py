"""Many architectures one after the other, what was found kept in a file, so that a run can go on."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tl_ext.conformance.checks import MODEL_CHECKS
from tl_ext.conformance.clauses import CLAUSES
from tl_ext.conformance.report import Report, Verdict
from tl_ext.conformance.running import EXAMPLES, run_spec
from tl_ext.conformance.spec import ConformanceSpec
from tl_ext.errors import InputError
from tl_ext.files import write_whole
from tl_ext.upstream import versions

_MARKS: Mapping[str, str] = {
    Verdict.PASSED: "yes",
    Verdict.FAILED: "**no**",
    Verdict.KNOWN: "no",
    Verdict.NOT_KNOWN: "yes (!)",
    Verdict.NOT_CLAIMED: "",
    Verdict.NOTHING: "",
}
# Of a clause with several checks the worst is shown.
_ORDER = tuple(map(str, (Verdict.FAILED, Verdict.NOT_KNOWN, Verdict.KNOWN, Verdict.PASSED)))


def sweep(
    specs: Iterable[ConformanceSpec],
    *,
    examples_asked: int = EXAMPLES,
    file: Path | None = None,
) -> Iterator[Report]:
    """Ask all checks of architectures, one after the other.

    Args:
        specs: The architectures.
        examples_asked: How many examples to draw of each.
        file: Where the reports are kept as JSON. What it holds already, of the same releases and checks and
            of as many examples, is not asked again; None keeps nothing.

    Yields:
        A report per architecture.

    Raises:
        InputError: The file is there and holds something else.
    """
    kept = {} if file is None else _kept(file, examples_asked)
    for spec in specs:
        if spec.name not in kept:
            report = run_spec(spec, MODEL_CHECKS, examples_asked=examples_asked)
            kept[spec.name] = report.record() | {"examples": examples_asked}
            if file is not None:
                # After each: a sweep takes minutes and may be stopped.
                text = json.dumps(list(kept.values()), indent=1, ensure_ascii=False)
                write_whole(file, f"{text}\n".encode())
        yield Report.of_record(kept[spec.name])


def _kept(file: Path, examples_asked: int) -> dict[str, dict[str, Any]]:
    if not file.is_file():
        return {}
    try:
        records = json.loads(file.read_text(encoding="utf-8"))
        return {
            one["name"]: one
            for one in records
            if one["versions"] == versions()
            and one["examples"] >= examples_asked
            and {result["check"] for result in one["results"]} == {one.name for one in MODEL_CHECKS}
        }
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"{file} is no record of a sweep ({error!r}). Name another file."
        ) from error


def status_page(folder: Path) -> str:
    """docs/status.md: which clause holds in which architecture, under which release.

    Args:
        folder: Where the records lie, a JSON file per release.

    Returns:
        Markdown.
    """
    parts = [
        "# Which clause holds where",
        "Written by `make status`. Tiny random models of each architecture, on the CPU, as upstream releases "
        "it, without our fixes: *yes*; *no* where it is known not to, for the reason below; **no** where it "
        "is new; empty where it is not claimed, or there is nothing to compare. The clauses are those of "
        "[what models must do](behaviour.md).",
    ]
    for file in sorted(folder.glob("*.json")):
        records = json.loads(file.read_text(encoding="utf-8"))
        if not records:
            continue
        said = records[0]["versions"]
        shown = ("transformer-lens", "transformers", "torch")
        parts.append(f"## {', '.join(f'{name} {said[name]}' for name in shown)}")
        parts.append(
            f"{len(records)} architectures, {records[0]['examples']} models each, "
            f"{sum(result['seconds'] for one in records for result in one['results']):.0f} s of checks."
        )
        clauses = [clause for clause in CLAUSES if clause.startswith("M")]
        rows = [["architecture", *clauses], ["---"] * (len(clauses) + 1)]
        rows += [[one["name"], *(_mark(one, clause) for clause in clauses)] for one in records]
        parts.append("\n".join(f"| {' | '.join(row)} |" for row in rows))
        reasons = _reasons(records)
        if reasons:
            parts.append(
                "\n".join(f"- {reason}: {', '.join(who)}" for reason, who in reasons.items())
            )
    return "\n\n".join(parts) + "\n"


def _mark(record: Mapping[str, Any], clause: str) -> str:
    found = [one["verdict"] for one in record["results"] if one["clause"] == clause]
    return next((_MARKS[Verdict(one)] for one in _ORDER if one in found), "")


def _reasons(records: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Why what is known to fail does, and in which architectures."""
    found: dict[str, list[str]] = {}
    for record in records:
        for one in record["results"]:
            if one["verdict"] == Verdict.KNOWN:
                who = found.setdefault(f"{one['check']} ({one['clause']}), {one['reason']}", [])
                who.append(record["name"])
    return found
