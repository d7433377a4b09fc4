"""`pytest --pyargs tl_ext.conformance.suite`, as an author of an adapter runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PLUGIN = """\
from tests.conformance.specs import GPT2
from tl_ext.conformance import catalogue

catalogue.FAMILIES = {"GPT2LMHeadModel": GPT2}
"""


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run pytest with one architecture that is known, whatever is installed."""
    (folder / "known_here.py").write_text(PLUGIN)
    root = Path(__file__).resolve().parents[2]
    path = os.pathsep.join(map(str, (folder, root / "src", root)))
    command = ["-m", "pytest", "-p", "tl_ext_pytest", "-p", "known_here", "-p", "no:cacheprovider"]
    return subprocess.run(
        [sys.executable, *command, "--pyargs", "tl_ext.conformance.suite", *words],
        cwd=folder,
        env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_each_check_is_a_test_and_a_failure_is_told_with_its_script(tmp_path: Path) -> None:
    done = run(tmp_path, "--tl-ext-adapter", "GPT2LMHeadModel", "--tl-ext-examples", "1")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "test_conformance[GPT2LMHeadModel-the-residual-stream-in-the-middle" in done.stdout
    assert "bridge = TransformerBridge.boot_transformers(" in done.stdout
    assert " passed" in done.stdout


@pytest.mark.slow
def test_an_architecture_that_is_not_known_is_told(tmp_path: Path) -> None:
    done = run(tmp_path, "--tl-ext-adapter", "GPT2LMHead")
    assert done.returncode != 0
    assert "Nearest: GPT2LMHeadModel" in done.stdout + done.stderr
