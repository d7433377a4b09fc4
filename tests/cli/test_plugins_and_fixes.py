"""`tl-ext plugins` and `tl-ext fixes`."""

from __future__ import annotations

import json
import sys
import types

import pytest
from typer.testing import CliRunner

from tl_ext.cli import fixes as fixes_command
from tl_ext.cli import plugins as plugins_command

SLUG = "registered-adapters-ignored-by-boot"
runner = CliRunner(env={"COLUMNS": "200", "TL_EXT_PLUGINS": None})


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed plugin that cannot be imported."""
    from importlib.metadata import EntryPoint

    from tl_ext.plugins import manager

    point = EntryPoint("broken", "no_such_module_at_all", "tl_ext")
    monkeypatch.setattr(manager, "_entry_points", lambda: [point])


def test_plugins_lists_what_is_loaded_and_why_something_failed(broken: None) -> None:
    done = runner.invoke(plugins_command.app, [])
    assert done.exit_code == 0, done.output
    assert (
        "builtin" in done.output and "dictionary sources: saelens, folder, testbed" in done.output
    )
    assert "broken: It cannot be loaded: ModuleNotFoundError" in done.output


def test_plugins_as_json(broken: None) -> None:
    ours, other = json.loads(runner.invoke(plugins_command.app, ["--json"]).output)
    assert (ours["name"], ours["status"]) == ("builtin", "loaded")
    assert "saelens" in ours["provides"]["dictionary_sources"]
    assert (other["name"], other["status"]) == ("broken", "failed")


def test_fixes_list() -> None:
    done = runner.invoke(fixes_command.app, ["list"])
    assert done.exit_code == 0 and SLUG in done.output
    (one,) = [
        one
        for one in json.loads(runner.invoke(fixes_command.app, ["list", "--json"]).output)
        if one["slug"] == SLUG
    ]
    assert (one["upstream"], one["kind"]) == ("transformer_lens", "runtime")


def test_fixes_probe_and_check() -> None:
    done = runner.invoke(fixes_command.app, ["probe", SLUG])
    assert done.exit_code == 0 and "PRESENT" in done.output
    (one,) = json.loads(runner.invoke(fixes_command.app, ["probe", SLUG, "--json"]).output)
    assert one["state"] == "PRESENT"
    done = runner.invoke(fixes_command.app, ["check", SLUG])
    assert done.exit_code == 0
    states = [word for word in done.output.split() if word in ("PRESENT", "ABSENT", "right")]
    assert states == ["PRESENT", "ABSENT", "PRESENT", "right"]


def test_an_unknown_slug_names_the_nearest() -> None:
    done = runner.invoke(fixes_command.app, ["probe", "registered-adapters"])
    assert done.exit_code == 2
    assert "Nearest" in done.output


def test_a_fix_that_does_not_work_ends_with_status_1(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("made_for_the_command")
    module.wrap = lambda table: table  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "made_for_the_command", module)
    from dataclasses import replace

    from tl_ext.plugins import builtin

    useless = replace(builtin.FIXES[0], wrap="made_for_the_command:wrap")
    monkeypatch.setattr(builtin, "FIXES", (useless,))
    done = runner.invoke(fixes_command.app, ["check"])
    assert done.exit_code == 1
    assert "WRONG" in done.output
