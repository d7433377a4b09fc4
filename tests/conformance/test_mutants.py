"""The checks are tested: models with one fault each are caught, and rightly named; without it they pass."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.conformance.mutants.contents import CONTENTS
from tests.conformance.mutants.planting import Mutant
from tests.conformance.mutants.reference import MODELS, model
from tests.conformance.mutants.table import MUTANTS

from tl_ext import fixes
from tl_ext.conformance.checks import MODEL_CHECKS
from tl_ext.conformance.report import Verdict
from tl_ext.conformance.running import run_subject

# The checks of these clauses each have a mutant of their own.
TESTED = [check for check in MODEL_CHECKS if check.clause in {f"M{n}" for n in range(1, 15)}]


@pytest.fixture(scope="module", autouse=True)
def _under_the_recommended_fixes(fixes_come_back: None) -> Iterator[None]:
    """The fixes of TransformerLens that are recommended."""
    specs = fixes.specs()
    slugs = [slug for slug in fixes.recommended() if specs[slug].upstream == "transformer_lens"]
    with fixes.applied(*slugs):
        yield


@pytest.mark.parametrize("name", MODELS)
def test_the_reference_passes_every_check(name: str) -> None:
    report = run_subject(name, model(name, 2), TESTED)
    assert report.right, str(report)
    assert {one.verdict for one in report} <= {Verdict.PASSED, Verdict.NOT_CLAIMED}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_each_mutant_is_caught_and_rightly_named(mutant: Mutant) -> None:
    subject = model(mutant.of, mutant.layers)
    mutant.plant(subject)
    # Hook points of another content, or shape, or none, could make any check stumble: there all are asked.
    asked = [check for check in TESTED if mutant in CONTENTS or check.name in mutant.caught_by]
    failed = {one.check: one.violations for one in run_subject(mutant.name, subject, asked).failed}
    assert mutant.caught_by <= failed.keys()
    places = {one.what for check in mutant.caught_by for one in failed[check]}
    assert any(mutant.place in place for place in places), places
    broken = {
        check: one.told
        for check, found in failed.items()
        for one in found
        if one.what == "the check"
    }
    assert not broken


def test_every_check_catches_a_mutant() -> None:
    caught = set().union(*(mutant.caught_by for mutant in MUTANTS))
    assert caught == {check.name for check in TESTED}


def test_there_are_many_mutants_each_with_a_name_and_a_story() -> None:
    assert len(MUTANTS) >= 40
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
    assert all(mutant.story.endswith(".") for mutant in MUTANTS)
