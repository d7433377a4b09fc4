"""`tl-ext adapters`."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from rich.console import Console, ConsoleDimensions
from typer.testing import CliRunner

from tl_ext import upstream
from tl_ext.cli import app
from tl_ext.plugins import AdapterSpec, Family, Verification, architectures, builtin

SLUG = "registered-adapters-ignored-by-boot"
NAME = "MadeForTheCommandForCausalLM"
runner = CliRunner(env={"TL_EXT_PLUGINS": ""})


@pytest.fixture(autouse=True)
def one(monkeypatch: pytest.MonkeyPatch) -> None:
    """One architecture of ours: compared twice, once of these recorded on what is installed."""
    # What rich takes for the width depends on the terminal, on the environment, and on what it was
    # when rich was imported; names are looked for whole here.
    monkeypatch.setattr(Console, "size", ConsoleDimensions(200, 50))
    spec = AdapterSpec(
        NAME,
        "tl_ext.made:Adapter",
        fixes=(SLUG,),
        verified=(
            Verification("golden file", "logits, 1e-4", "tests/test_golden.py"),
            Verification("transformers", "logits, 1e-5", "tests/test_direct.py"),
        ),
        family=Family("Made", ("me/made-1b", "me/made-7b"), ("quantised ones",), "no BOS"),
    )
    known = upstream.versions()
    here = {name: known[name] for name in architectures.COMPARED}
    recorded = {
        "tests/test_golden.py": [here | {"tests": 3}],
        "tests/test_direct.py": [here | {"transformers": "4.1", "tests": 2}],
    }
    monkeypatch.setattr(builtin, "ADAPTERS", (spec,))
    monkeypatch.setattr(architectures, "_records", lambda module: recorded)


def said(*words: str) -> str:
    done = runner.invoke(app, ["adapters", *words])
    assert done.exit_code == 0, done.output
    return done.output


def test_the_list_says_who_and_what_was_verified() -> None:
    output = said()
    assert NAME in output and "builtin (tl-ext)" in output and "Made" in output
    assert "│ golden file " in output
    assert "NOT on these versions: transformers" in output
    assert "transformers 4.1" in output and "Installed: transformer-lens" in output
    assert f"Fixes they bring, for the whole process: {SLUG}." in output
    assert "LlamaForCausalLM" not in output


def test_one_architecture_in_full() -> None:
    output = said(NAME)
    for part in ("me/made-1b", "me/made-7b", "quantised ones", "no BOS", "tests/test_golden.py"):
        assert part in output
    assert f"{SLUG}: boot_transformers refuses" in output and "whole process" in output
    assert "NOT on these versions, recorded on transformer-lens" in output


def test_upstreams_own_are_listed_when_asked_for() -> None:
    output = said("--upstream")
    assert "LlamaForCausalLM" in output and NAME in output
    assert "LlamaForCausalLM is TransformerLens' own" in said("LlamaForCausalLM")


def test_an_architecture_nobody_knows_names_the_nearest() -> None:
    done = runner.invoke(app, ["adapters", "MadeForTheCommand"])
    assert done.exit_code == 2
    assert f"Nearest: {NAME}" in done.output.replace("\n", " ")


def test_as_json() -> None:
    record: Any = json.loads(said("--json"))
    # Besides it, what the installed distribution publishes to upstream's own discovery.
    (found,) = (one for one in record["architectures"] if one["name"] == NAME)
    assert record["installed"]["transformers"] and "upstream" not in record
    assert (found["name"], found["fixes"]) == (NAME, [SLUG])
    assert [held["here"] for held in found["verified"]] == [True, False]
    assert json.loads(said("LlamaForCausalLM", "--json"))["upstream"] == ["LlamaForCausalLM"]


def test_it_loads_no_torch() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from tl_ext.cli import app\n"
        "assert CliRunner().invoke(app, ['adapters']).exit_code == 0\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
