"""What is recorded as verified was run, on versions this project is built against."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from tests.verified import modules, updated

from tl_ext.plugins.architectures import COMPARED, records_file

ROOT = Path(__file__).resolve().parents[2]
VERSIONS = {"transformer-lens": "4.3.0", "transformers": "5.23.0", "torch": "2.13.0+cpu"}
ELSEWHERE = {"transformer-lens": "3.9.0", "transformers": "5.23.0", "torch": "2.13.0", "tests": 3}


def pinned() -> set[tuple[str, ...]]:
    """The versions of both environments."""
    found = set()
    for name in ("tl3", "tl4"):
        text = (ROOT / "constraints" / f"{name}.txt").read_text(encoding="utf-8")
        pins = dict(re.findall(r"^([a-z0-9-]+)==(\S+)$", text, re.MULTILINE))
        found.add(tuple(pins[one] for one in COMPARED))
    return found


def test_every_verification_names_a_test_module_that_is_there() -> None:
    assert not [module for module in modules() if not (ROOT / module).is_file()]


def test_no_record_is_of_other_versions_than_those_pinned_or_of_a_module_nobody_names() -> None:
    file = records_file("tl_ext")
    assert file is not None
    recorded = json.loads(file.read_text(encoding="utf-8"))
    assert set(recorded) <= set(modules()), "stale: run `make verified`"
    stale = {
        tuple(one[name] for name in COMPARED) for several in recorded.values() for one in several
    } - pinned()
    assert not stale, f"recorded on {stale}, which nothing is pinned to: run `make verified`"


def test_every_verification_is_recorded_on_both_pinned_lines() -> None:
    file = records_file("tl_ext")
    assert file is not None
    recorded = json.loads(file.read_text(encoding="utf-8"))
    wanting = {
        module: sorted(missing)
        for module in modules()
        for missing in [
            pinned() - {tuple(one[name] for name in COMPARED) for one in recorded.get(module, ())}
        ]
        if missing
    }
    assert not wanting, "run `make verified`"


def test_a_run_takes_the_place_of_an_earlier_one_on_the_same_versions() -> None:
    mine = {"transformer-lens": "4.3.0", "transformers": "5.23.0", "torch": "2.12.0", "tests": 1}
    records = {"a.py": [ELSEWHERE, mine]}
    (first, second) = updated(records, {"a.py": {"passed": 7}}, VERSIONS, ["a.py"])["a.py"]
    assert first == ELSEWHERE
    assert second == {**VERSIONS, "torch": "2.13.0", "tests": 7}


@pytest.mark.parametrize(
    "outcome", [{}, {"failed": 1}, {"passed": 4, "failed": 1}, {"passed": 4, "skipped": 1}]
)
def test_what_was_not_shown_is_not_recorded(outcome: dict[str, int]) -> None:
    mine = {**VERSIONS, "tests": 5}
    records = {"a.py": [ELSEWHERE, mine], "gone.py": [mine]}
    assert updated(records, {"a.py": outcome}, VERSIONS, ["a.py"]) == {"a.py": [ELSEWHERE]}
    assert updated({"a.py": [mine]}, {"a.py": outcome}, VERSIONS, ["a.py"]) == {}
