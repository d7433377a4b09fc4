"""`tl-ext conformance`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.conformance.specs import GPT2, LLAMA
from typer.testing import CliRunner

from tl_ext.cli import app
from tl_ext.conformance import catalogue, sweep
from tl_ext.conformance.checks import MODEL_CHECKS

runner = CliRunner(env={"COLUMNS": "120", "TL_EXT_PLUGINS": "builtin"})
pytestmark = pytest.mark.usefixtures("upstream_as_installed")


@pytest.fixture(autouse=True)
def two_architectures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two architectures, and two clauses to check."""
    monkeypatch.setattr(catalogue, "FAMILIES", {one.name: one for one in (GPT2, LLAMA)})
    few = tuple(check for check in MODEL_CHECKS if check.clause in ("M1", "M9"))
    monkeypatch.setattr(sweep, "MODEL_CHECKS", few)


def test_what_fails_is_told_with_a_script_and_ends_with_status_1() -> None:
    done = runner.invoke(app, ["conformance", GPT2.name, "--examples", "1"])
    assert done.exit_code == 1
    assert "GPT2LMHeadModel: 2 passed, 1 failed" in done.output
    assert "FAILED: the-residual-stream-in-the-middle-is-one-stream (M9: " in done.output
    assert "boot_transformers" in done.output


def test_under_the_fixes_nothing_fails() -> None:
    done = runner.invoke(app, ["conformance", GPT2.name, "--examples", "1", "--fixes"])
    assert done.exit_code == 0, done.output
    assert "GPT2LMHeadModel: 3 passed" in done.output


def test_all_of_them_into_a_folder(tmp_path: Path) -> None:
    words = ["conformance", "--all", "--examples", "1", "--fixes", "--out", str(tmp_path), "--json"]
    done = runner.invoke(app, words)
    assert done.exit_code == 0, done.output
    (file,) = (tmp_path / "status").iterdir()
    kept = json.loads(file.read_text())
    assert [one["name"] for one in kept] == [GPT2.name, LLAMA.name]
    assert [one["name"] for one in json.loads(done.stdout)] == [GPT2.name, LLAMA.name]
    assert "| LlamaForCausalLM | yes |" in (tmp_path / "status.md").read_text()


def test_what_can_be_checked_is_listed_and_what_cannot_is_told() -> None:
    done = runner.invoke(app, ["conformance", "--list"])
    assert done.exit_code == 0 and "LlamaForCausalLM\n    claims attention-weights" in done.output
    done = runner.invoke(app, ["conformance", "LlamaForCasualLM"])
    assert done.exit_code == 2 and "Nearest: LlamaForCausalLM" in done.output
    for words in ([], [GPT2.name, "--all"]):
        done = runner.invoke(app, ["conformance", *words])
        assert done.exit_code == 2 and "Name architectures, or give --all" in done.output
