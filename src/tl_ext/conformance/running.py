"""Asking the checks of an architecture's examples, and of a model that is there."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING

from tl_ext.conformance.checking import Asked, Check, Findings, Violation
from tl_ext.conformance.examples import Example, examples, first, subject_of
from tl_ext.conformance.report import Report, Result, Verdict, worst_first
from tl_ext.conformance.reproducing import script
from tl_ext.upstream import versions

if TYPE_CHECKING:
    from tl_ext.conformance.spec import ConformanceSpec
    from tl_ext.conformance.subject import Subject

EXAMPLES = 2
"""How many examples are asked where nothing else is said: the smallest, and one that is drawn."""
SECONDS = 5.0
"""How long to look for a smaller failing example."""


@dataclass
class _Tally:
    """What one check found so far."""

    asked: int = 0
    compared: int = 0
    seconds: float = 0.0
    violations: Sequence[Violation] = ()
    example: Example | None = None
    tolerance: float = 0.0


class Asking:
    """An architecture's examples, whose models are made once for all checks.

    Args:
        spec: The architecture.
        examples_asked: How many examples to draw.
        minimise: Whether to look for a smaller failing example where only a larger one fails.
    """

    def __init__(
        self, spec: ConformanceSpec, *, examples_asked: int = EXAMPLES, minimise: bool = True
    ) -> None:
        self.spec = spec
        self._examples = first(examples(spec), examples_asked)
        self._minimise = minimise
        self._made = cache(self._make)

    def result(self, check: Check) -> Result:
        """Ask a check of all examples.

        Args:
            check: What to ask.

        Returns:
            What was found, in the smallest example that fails.
        """
        if not check.needs <= self.spec.capabilities:
            return _result(check, None, {})
        tally = _Tally()
        for index, example in enumerate(self._examples):
            subject, problem = self._made(index)
            if subject is None:
                _note(tally, [problem], example, 0.0)
            else:
                _ask(check, subject, tally, example)
        # The first that is drawn is the smallest there is.
        if self._minimise and tally.violations and tally.example != self._examples[0]:
            _minimise(self.spec, check, tally)
        return _result(check, tally, self.spec.known_here)

    def _make(self, index: int) -> tuple[Subject | None, Violation]:
        return _made(self.spec, self._examples[index])


def run_spec(
    spec: ConformanceSpec,
    checks: Iterable[Check],
    *,
    examples_asked: int = EXAMPLES,
    minimise: bool = True,
) -> Report:
    """Ask checks of an architecture.

    Args:
        spec: The architecture.
        checks: What to ask.
        examples_asked: How many examples to draw; each model is made once for all checks.
        minimise: Whether to look for a smaller failing example where only a larger one fails.

    Returns:
        What was found.
    """
    asking = Asking(spec, examples_asked=examples_asked, minimise=minimise)
    return Report(spec.name, tuple(asking.result(check) for check in checks), versions())


def run_subject(
    name: str,
    subject: Asked,
    checks: Iterable[Check],
    *,
    known_failures: Mapping[str, str] = MappingProxyType({}),
) -> Report:
    """Ask checks of a model, or of a dictionary in one, that is there.

    Args:
        name: What it is called in the report.
        subject: The model or dictionary.
        checks: What to ask.
        known_failures: By check, why it is known to fail.

    Returns:
        What was found.
    """
    results = []
    for check in checks:
        tally = None
        if check.needs <= subject.capabilities:
            tally = _Tally()
            _ask(check, subject, tally, None)
        results.append(_result(check, tally, known_failures))
    return Report(name, tuple(results), versions())


def _made(spec: ConformanceSpec, example: Example) -> tuple[Subject | None, Violation]:
    """The model of an example; or, where it cannot be made, why."""
    try:
        return subject_of(spec, example), Violation("", "")
    except Exception as error:
        return None, Violation("booting", f"raises {_in_short(error)}")


def _ask(check: Check, subject: Asked, tally: _Tally, example: Example | None) -> None:
    found = Findings(subject.tolerance)
    begin = time.perf_counter()
    try:
        check.ask(subject, found)
    except Exception as error:
        found.compared += 1
        found.violations.append(Violation("the check", f"ends with {_in_short(error)}"))
    tally.compared += found.compared
    _note(tally, found.violations, example, subject.tolerance)
    tally.seconds += time.perf_counter() - begin


def _note(
    tally: _Tally, violations: Sequence[Violation], example: Example | None, tolerance: float
) -> None:
    tally.asked += 1
    if violations and not tally.violations:
        tally.violations, tally.example = worst_first(violations), example
        tally.tolerance = tolerance


def _minimise(spec: ConformanceSpec, check: Check, tally: _Tally) -> None:
    """Look for a smaller example that fails, for some seconds."""
    from hypothesis import HealthCheck, find, settings
    from hypothesis.errors import NoSuchExample

    end = time.monotonic() + SECONDS
    failed: set[str] = set()

    def fails(example: Example) -> bool:
        # What failed once fails again, whenever it is asked.
        if str(example) in failed or time.monotonic() > end:
            return str(example) in failed
        subject, _ = _made(spec, example)
        again = _Tally()
        if subject is None:
            return False
        _ask(check, subject, again, example)
        failed.update([str(example)] if again.violations else ())
        return str(example) in failed

    try:
        smallest = find(
            examples(spec),
            fails,
            settings=settings(
                max_examples=EXAMPLES * 10,
                derandomize=True,
                report_multiple_bugs=False,
                database=None,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
    except NoSuchExample:
        return
    subject, _ = _made(spec, smallest)
    if subject is not None:
        again = _Tally()
        _ask(check, subject, again, smallest)
        if again.violations:
            tally.violations, tally.example = again.violations, smallest


def _result(check: Check, tally: _Tally | None, known: Mapping[str, str]) -> Result:
    reason = known.get(check.name, "")
    if tally is None:
        lacking = ", ".join(sorted(check.needs))
        verdict, reason = Verdict.NOT_CLAIMED, f"it needs {lacking}"
        return Result(check.name, check.clause, check.told, verdict, reason=reason)
    if tally.violations:
        verdict = Verdict.KNOWN if reason else Verdict.FAILED
    elif reason:
        verdict = Verdict.NOT_KNOWN
    else:
        verdict = Verdict.PASSED if tally.compared else Verdict.NOTHING
    shown = ""
    if tally.violations and tally.example is not None:
        lines = next((one.script for one in tally.violations if one.script), "")
        shown = script(tally.example, lines, tolerance=tally.tolerance)
    return Result(
        check.name,
        check.clause,
        check.told,
        verdict,
        tuple(tally.violations),
        "" if tally.example is None else str(tally.example),
        shown,
        reason,
        tally.asked,
        tally.seconds,
    )


def _in_short(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text if len(text) <= 200 else text[:197] + '...'}"
