"""Every check cites a clause, every clause has a check, and the page says what the package says."""

from __future__ import annotations

import re
from pathlib import Path

from tl_ext.conformance.checks import MODEL_CHECKS
from tl_ext.conformance.clauses import CLAUSES
from tl_ext.conformance.dictionaries.checks import DICTIONARY_CHECKS

CHECKS = MODEL_CHECKS + DICTIONARY_CHECKS
PAGE = Path(__file__).parents[2] / "docs" / "behaviour.md"


def test_clauses_and_checks_belong_to_each_other() -> None:
    assert {check.clause for check in CHECKS} == set(CLAUSES)


def test_the_page_has_each_clause_in_its_words() -> None:
    told = re.findall(r"^### ([MD]\d+)\n(.*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert told == list(CLAUSES.items())


def test_checks_have_names_of_their_own_and_say_what_they_ask() -> None:
    names = [check.name for check in CHECKS]
    assert len(set(names)) == len(names)
    assert all(check.told.endswith(".") for check in CHECKS)
