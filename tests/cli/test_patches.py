"""`tl-ext patches`."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from tl_ext import fixes
from tl_ext.cli import app

SLUG = "registered-adapters-ignored-by-boot"
runner = CliRunner(env={"COLUMNS": "200", "TL_EXT_PLUGINS": None})
pytestmark = pytest.mark.usefixtures("upstream_as_installed")


def test_list_names_every_patch() -> None:
    done = runner.invoke(app, ["patches", "list"])
    assert done.exit_code == 0, done.output
    records = json.loads(runner.invoke(app, ["patches", "list", "--json"]).output)
    assert [one["slug"] for one in records] == [patch.slug for patch in fixes.every_patch()]
    for one in records:
        assert one["slug"] in done.output
    (one,) = [one for one in records if one["slug"] == SLUG]
    assert one["base"] == "transformer-lens 4.3.0" and one["tree"] == "wheel"
    assert one["tests"] and set(one["tests"]) < set(one["files"])


@pytest.mark.parametrize("columns", ["80", "120"])
def test_lists_are_whole_in_a_terminal(columns: str) -> None:
    done = runner.invoke(app, ["patches", "list"], env={"COLUMNS": columns})
    text = " ".join(done.output.split())
    for patch in fixes.every_patch():
        assert f"{patch.name} {patch.slug} {patch.subject}" in text


def test_status_says_whether_the_bug_is_here() -> None:
    done = runner.invoke(app, ["patches", "status", SLUG])
    assert done.exit_code == 0 and "PRESENT" in done.output and SLUG in done.output
    (one,) = json.loads(runner.invoke(app, ["patches", "status", SLUG, "--json"]).output)
    assert one["installed"] == fixes.installed_release("transformer_lens")
    assert (one["state"], one["forwarded"]) == ("PRESENT", "no")


def test_an_unknown_slug_names_the_nearest() -> None:
    for command in ("status", "verify"):
        done = runner.invoke(app, ["patches", command, "registered-adapters"])
        assert done.exit_code == 2
        assert "Nearest" in done.output
