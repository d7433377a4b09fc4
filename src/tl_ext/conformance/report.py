"""What a run of checks says: verdicts, what failed where, and how to see it again."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tl_ext.conformance.checking import Violation
from tl_ext.conformance.clauses import CLAUSES


class Verdict(StrEnum):
    """How a check came out."""

    PASSED = "passed"
    FAILED = "FAILED"
    KNOWN = "known failure"
    NOT_KNOWN = "FAILS NOWHERE, though known_failures says so"
    NOT_CLAIMED = "not claimed"
    NOTHING = "nothing to compare"


@dataclass(frozen=True)
class Result:
    """What one check found in all examples.

    Attributes:
        check: Its name.
        clause: The clause that it asks about.
        asked: What it asks, in words.
        verdict: How it came out.
        violations: What was wrong in the smallest failing example, the worst first.
        example: That example, in words.
        script: A script that shows the worst of them without this package; empty where there is none.
        reason: Why it was not asked, or why it is known to fail.
        examples: In how many examples it was asked.
        seconds: How long that took.
    """

    check: str
    clause: str
    asked: str
    verdict: Verdict
    violations: tuple[Violation, ...] = ()
    example: str = ""
    script: str = ""
    reason: str = ""
    examples: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        lines = [f"{self.verdict}: {self.check} ({self.clause}: {CLAUSES[self.clause]})"]
        if self.reason:
            lines.append(f"  {self.reason}")
        for one in self.violations[:3]:
            lines.append(f"  {one.what} {one.told}")
        if len(self.violations) > 3:
            lines.append(f"  and {len(self.violations) - 3} more places")
        if self.violations and self.example:
            lines.append(f"  with {self.example}")
        if self.violations and self.script:
            lines.append("  Shown without tl_ext by this script, which ends with status 1:")
            lines += [f"    {line}" for line in self.script.splitlines()]
        return "\n".join(lines)

    def record(self) -> dict[str, Any]:
        """The result for programs."""
        return {
            "check": self.check,
            "clause": self.clause,
            "asked": self.asked,
            "verdict": str(self.verdict),
            "violations": [
                {
                    "what": one.what,
                    "told": one.told,
                    # JSON has no infinity.
                    "size": one.size if math.isfinite(one.size) else None,
                }
                for one in self.violations
            ],
            "example": self.example,
            "script": self.script,
            "reason": self.reason,
            "examples": self.examples,
            "seconds": round(self.seconds, 3),
        }

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> Result:
        """The result of which this is the record; without the lines that its script was made of."""
        violations = tuple(
            Violation(one["what"], one["told"], math.inf if one["size"] is None else one["size"])
            for one in record["violations"]
        )
        return cls(
            **{
                **record,
                "verdict": Verdict(record["verdict"]),
                "violations": violations,
            }
        )


@dataclass(frozen=True)
class Report:
    """What was asked of a model or an architecture, and how it came out.

    Attributes:
        name: What was checked.
        results: One for each check, in the order they were asked in.
        versions: The releases that it was checked with.
    """

    name: str
    results: tuple[Result, ...]
    versions: dict[str, str | None]

    @property
    def right(self) -> bool:
        """Whether nothing failed but what is known to."""
        return not self.failed

    @property
    def failed(self) -> tuple[Result, ...]:
        """What failed and is not known to, and what is known to and fails nowhere."""
        return tuple(self._of(Verdict.FAILED, Verdict.NOT_KNOWN))

    def __iter__(self) -> Iterator[Result]:
        return iter(self.results)

    def __getitem__(self, check: str) -> Result:
        """The result of a check, by its name."""
        return next(one for one in self.results if one.check == check)

    def __str__(self) -> str:
        counts = ", ".join(
            f"{n} {verdict.lower()}" for verdict in Verdict if (n := len(list(self._of(verdict))))
        )
        lines = [f"{self.name}: {counts}"]
        lines += [str(one) for one in self.failed]
        for verdict in (Verdict.KNOWN, Verdict.NOT_CLAIMED, Verdict.NOTHING):
            names = [one.check for one in self._of(verdict)]
            if names:
                lines.append(f"{verdict}: {', '.join(names)}")
        return "\n".join(lines)

    def record(self) -> dict[str, Any]:
        """The report for programs."""
        return {
            "name": self.name,
            "versions": self.versions,
            "results": [one.record() for one in self.results],
        }

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> Report:
        """The report of which this is the record."""
        results = tuple(map(Result.of_record, record["results"]))
        return cls(record["name"], results, dict(record["versions"]))

    def _of(self, *verdicts: Verdict) -> Iterator[Result]:
        return (one for one in self.results if one.verdict in verdicts)


def worst_first(violations: Sequence[Violation]) -> tuple[Violation, ...]:
    """Violations, those without a number first, then by size."""
    return tuple(sorted(violations, key=lambda one: -one.size))
