"""Records on which versions each architecture was verified, by running the tests that show it.

`make verified` runs this in both environments; `tl-ext adapters` reads what it writes. A test module
counts where all of its tests passed: one that fails or is left out takes the record away again.
"""

from __future__ import annotations

import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tl_ext import upstream
from tl_ext.plugins.architectures import COMPARED, records_file
from tl_ext.plugins.builtin import ADAPTERS

ROOT = Path(__file__).resolve().parents[1]
KEPT = (*COMPARED, "torch")

Records = dict[str, list[dict[str, Any]]]


class Outcomes:
    """What pytest says of each test, by module."""

    def __init__(self) -> None:
        self.by_module: dict[str, Counter[str]] = defaultdict(Counter)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        # A test that passed has three reports: only its call is the test.
        if report.when == "call" or not report.passed:
            self.by_module[report.nodeid.partition("::")[0]][report.outcome] += 1

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if not report.passed:
            self.by_module[report.nodeid.partition("::")[0]][report.outcome] += 1


def modules() -> list[str]:
    """The test modules that our architectures name."""
    return sorted({one.test for spec in ADAPTERS for one in spec.verified})


def updated(
    records: Mapping[str, list[dict[str, Any]]],
    outcomes: Mapping[str, Mapping[str, int]],
    versions: Mapping[str, str | None],
    named: Iterable[str],
) -> Records:
    """Records with what a run on `versions` showed in the place of what an earlier run did.

    Args:
        records: What is recorded.
        outcomes: How many tests of each module passed, failed and were skipped.
        versions: What it was run on.
        named: The modules that architectures name; records of others go.
    """
    mine = {name: str(versions[name]).partition("+")[0] for name in KEPT}
    fresh: Records = {}
    for module in sorted(named):
        kept = [
            one
            for one in records.get(module, ())
            if any(one.get(name) != mine[name] for name in COMPARED)
        ]
        counts = outcomes.get(module, {})
        if counts.get("passed") and set(counts) == {"passed"}:
            kept.append({**mine, "tests": counts["passed"]})
        if kept:
            fresh[module] = sorted(kept, key=lambda one: [one[name] for name in COMPARED])
    return fresh


def main() -> int:
    """Run the tests, write the records; 1 where one of the modules does not count."""
    named = modules()
    outcomes = Outcomes()
    if named:
        pytest.main(["-q", "-p", "no:cacheprovider", *named], plugins=[outcomes])
    file = records_file("tl_ext")
    assert file is not None
    before = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    after = updated(before, outcomes.by_module, upstream.versions(), named)
    file.write_text(json.dumps(after, indent=2) + "\n", encoding="utf-8")
    wanting = [
        f"{module}: {dict(outcomes.by_module[module]) or 'no test ran'}"
        for module in named
        if set(outcomes.by_module[module]) != {"passed"}
    ]
    print(
        "\n".join(["Not recorded:", *wanting] if wanting else [f"Recorded: {len(named)} modules"])
    )
    return bool(wanting)


if __name__ == "__main__":
    sys.exit(main())
