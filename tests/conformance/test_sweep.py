"""Sweeps: what was asked is kept, a later run goes on from there, and a page says what holds where."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.specs import GPT2, LLAMA

from tl_ext.conformance import MODEL_CHECKS, Report
from tl_ext.conformance import sweep as sweeping
from tl_ext.conformance.sweep import status_page, sweep
from tl_ext.errors import InputError

FEW = tuple(check for check in MODEL_CHECKS if check.clause in ("M1", "M13"))


@pytest.fixture(autouse=True)
def few_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two checks are enough to see what is kept."""
    monkeypatch.setattr(sweeping, "MODEL_CHECKS", FEW)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The architectures that were asked, and not read from a file."""
    names: list[str] = []
    run = sweeping.run_spec

    def counted(spec: Any, *args: Any, **options: Any) -> Report:
        names.append(spec.name)
        return run(spec, *args, **options)

    monkeypatch.setattr(sweeping, "run_spec", counted)
    return names


def test_an_interrupted_sweep_goes_on(tmp_path: Path, asked: list[str]) -> None:
    file = tmp_path / "status" / "3.json"
    found = sweep([GPT2, LLAMA], examples_asked=1, file=file)
    first = next(found)
    found.close()
    assert [one["name"] for one in json.loads(file.read_text())] == [GPT2.name]
    again, second = sweep([GPT2, LLAMA], examples_asked=1, file=file)
    assert asked == [GPT2.name, LLAMA.name]
    assert str(again) == str(first) and again.right == first.right
    assert [one["name"] for one in json.loads(file.read_text())] == [GPT2.name, LLAMA.name]
    assert second.name == LLAMA.name


def test_other_releases_checks_and_more_examples_are_asked_anew(
    tmp_path: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "3.json"
    list(sweep([LLAMA], examples_asked=1, file=file))
    list(sweep([LLAMA], examples_asked=2, file=file))
    list(sweep([LLAMA], examples_asked=1, file=file))
    assert len(asked) == 2
    monkeypatch.setattr(sweeping, "versions", lambda: {"transformer-lens": "99"})
    list(sweep([LLAMA], examples_asked=1, file=file))
    assert len(asked) == 3
    monkeypatch.undo()


def test_a_file_of_something_else_is_refused_and_stays(tmp_path: Path) -> None:
    file = tmp_path / "other.json"
    file.write_text('{"a": 1}')
    with pytest.raises(InputError, match="is no record of a sweep"):
        list(sweep([LLAMA], file=file))
    assert file.read_text() == '{"a": 1}'


def test_the_page_says_what_holds_where_and_why_not(tmp_path: Path) -> None:
    known = replace(GPT2, known_failures={"mistyped-names-are-refused": "a reason, with a link"})
    list(sweep([known, LLAMA], examples_asked=1, file=tmp_path / "3.json"))
    page = status_page(tmp_path)
    (gpt2, llama) = (line for line in page.splitlines() if line.startswith(("| GPT2", "| Llama")))
    assert gpt2.startswith("| GPT2LMHeadModel | yes |") and " no |" in gpt2
    assert "**no**" in llama
    assert "- mistyped-names-are-refused (M13), a reason, with a link: GPT2LMHeadModel" in page
    assert "2 architectures, 1 models each" in page


def test_a_report_survives_its_record() -> None:
    (report,) = sweep([GPT2], examples_asked=1)
    text = json.dumps(report.record())
    assert "Infinity" not in text
    assert str(Report.of_record(json.loads(text))) == str(report)
