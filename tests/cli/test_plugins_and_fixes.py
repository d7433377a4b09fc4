"""`tl-ext plugins` and `tl-ext fixes`."""

from __future__ import annotations

import json
import re
import sys
import types
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tl_ext import fixes
from tl_ext.cli import app
from tl_ext.cli import fixes as fixes_command
from tl_ext.cli import plugins as plugins_command

SLUG = "registered-adapters-ignored-by-boot"
runner = CliRunner(env={"COLUMNS": "200", "TL_EXT_PLUGINS": None})
pytestmark = pytest.mark.usefixtures("upstream_as_installed")


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


@pytest.mark.parametrize("columns", ["80", "120"])
def test_slugs_and_symptoms_are_whole_in_a_terminal(columns: str) -> None:
    # Columns of a table cut them into pieces of two letters.
    done = runner.invoke(fixes_command.app, ["list"], env={"COLUMNS": columns})
    assert max(map(len, done.output.splitlines())) <= int(columns)
    text = " ".join(done.output.split())
    for slug, spec in fixes.specs().items():
        assert f"{slug} {spec.symptom}" in text


def test_fixes_probe_and_check() -> None:
    done = runner.invoke(fixes_command.app, ["probe", SLUG])
    assert done.exit_code == 0 and "PRESENT" in done.output
    (one,) = json.loads(runner.invoke(fixes_command.app, ["probe", SLUG, "--json"]).output)
    assert (one["state"], one["recorded"], one["agreement"]) == ("PRESENT",) * 2 + ("as recorded",)
    done = runner.invoke(fixes_command.app, ["check", SLUG])
    assert done.exit_code == 0
    assert re.findall("[A-Z]{5,}|right", done.output) == ["PRESENT", "ABSENT", "PRESENT", "right"]


def test_a_probe_that_contradicts_its_row_ends_with_status_1(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from dataclasses import replace

    from tl_ext.plugins import builtin

    (one,) = [spec for spec in builtin.FIXES if spec.slug == SLUG]
    contradicted = replace(one, present_in=(), absent_in=one.present_in)
    unsaid = replace(one, slug="unsaid", present_in=("0.1",))
    monkeypatch.setattr(builtin, "FIXES", (contradicted, unsaid))
    done = runner.invoke(fixes_command.app, ["probe"])
    assert done.exit_code == 1
    assert f"PRESENT  {SLUG} (not what is recorded" in done.output
    assert "PRESENT  unsaid (release not recorded" in done.output
    assert f"{SLUG}: not what is recorded" in done.output
    assert runner.invoke(fixes_command.app, ["probe", "unsaid"]).exit_code == 0
    told = runner.invoke(fixes_command.app, ["probe", "--json", SLUG])
    assert told.exit_code == 1 and '"not what is recorded"' in told.output


def test_a_bug_of_a_package_that_is_not_installed_is_no_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from dataclasses import replace

    from tl_ext.plugins import builtin

    nowhere = replace(builtin.FIXES[0], upstream="no_such_package_at_all")
    monkeypatch.setattr(builtin, "FIXES", (nowhere,))
    done = runner.invoke(fixes_command.app, ["check"])
    assert done.exit_code == 0
    assert "UNKNOWN" in done.output and "no_such_package_at_all is not installed" in done.output


def test_a_bug_of_a_package_that_cannot_be_imported_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As SAELens beside TransformerLens 4, where `fixes probe` ends with status 0 too."""
    from dataclasses import replace

    from tl_ext.plugins import builtin

    (tmp_path / "broken_at_import.py").write_text("raise ImportError('gone')\n")
    monkeypatch.syspath_prepend(tmp_path)
    (runtime, *_) = (spec for spec in builtin.FIXES if spec.slug == SLUG)
    monkeypatch.setattr(builtin, "FIXES", (replace(runtime, upstream="broken_at_import"),))
    done = runner.invoke(fixes_command.app, ["check"])
    assert done.exit_code == 0, done.output
    assert "broken_at_import cannot be imported here" in " ".join(done.output.split())


def test_fixes_status() -> None:
    done = runner.invoke(fixes_command.app, ["status"])
    assert done.exit_code == 0 and SLUG in done.output
    (one,) = json.loads(runner.invoke(fixes_command.app, ["status", SLUG, "--json"]).output)
    assert (one["slug"], one["applied"]) == (SLUG, 0)


def test_status_says_what_a_fix_wraps_here_and_leaves_nothing_in_effect() -> None:
    done = runner.invoke(fixes_command.app, ["status", SLUG])
    assert done.exit_code == 0, done.output
    assert "wraps transformer_lens.factories" in done.output
    assert not fixes.in_effect(SLUG)
    (one,) = json.loads(runner.invoke(fixes_command.app, ["status", SLUG, "--json"]).output)
    assert one["targets"] and not one["problem"]


@pytest.mark.parametrize("columns", ["80", "120"])
def test_what_check_says_is_whole_in_a_terminal(columns: str) -> None:
    done = runner.invoke(fixes_command.app, ["check", SLUG], env={"COLUMNS": columns})
    said = "PRESENT; with the fix ABSENT; taken back, PRESENT: right"
    assert done.output == f"{SLUG}\n    {said}\n"


def test_errors_say_what_was_given_and_what_to_write(tmp_path: Path) -> None:
    for words, said in (
        # The fix exists; it is the tree that has no meaning for it.
        (["probe", SLUG, "--tree", str(tmp_path)], "Leave the tree out"),
        (["run", SLUG, "script.py"], "No script stands after --"),
        (["run", SLUG, "--", "nowhere.py"], "There is no file nowhere.py"),
    ):
        done = runner.invoke(app, ["fixes", *words])
        assert done.exit_code != 0
        assert said in f"{done.output} {done.exception}" and "No fix is called" not in done.output


def test_a_script_runs_with_fixes_and_its_own_arguments(tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("from tl_ext import fixes\n")
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\nfrom beside import fixes\n"
        "assert __name__ == '__main__'\n"
        f"print(sys.argv[1:], fixes.status({SLUG!r})[0].applied)\n"
    )
    before = list(sys.argv), list(sys.path)
    done = runner.invoke(fixes_command.app, ["run", SLUG, "--", str(script), "--epochs", "--", "3"])
    assert done.exit_code == 0, done.output
    assert "['--epochs', '--', '3'] 1" in done.output and f"applied {SLUG}" in done.output
    assert (sys.argv, sys.path) == before
    assert fixes.status(SLUG)[0].applied == 0


def test_a_script_that_fails_shows_its_own_frames_and_ends_with_status_1(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("def f():\n    raise KeyError('gone')\n\nf()\n")
    done = runner.invoke(app, ["fixes", "run", SLUG, "--", str(script)])
    assert done.exit_code == 1
    assert done.output.count("Traceback") == 1 and done.output.endswith("KeyError: 'gone'\n")
    assert "line 4, in <module>" in done.output and "line 2, in f" in done.output
    assert "runpy" not in done.output and "typer" not in done.output
    assert not fixes.in_effect(SLUG)


def test_a_run_without_a_script_says_what_is_expected(tmp_path: Path) -> None:
    for arguments in ([SLUG], [SLUG, "--"], [SLUG, "--", str(tmp_path / "missing.py")]):
        done = runner.invoke(app, ["fixes", "run", *arguments])
        assert done.exit_code == 2
        expected = "expected is: tl-ext fixes run SLUG... -- SCRIPT [ARGS]"
        assert expected in done.output.replace("\n", " ")


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

    first = builtin.FIXES[0]
    targets = tuple(replace(one, wrap="made_for_the_command:wrap") for one in first.targets)
    useless = replace(first, targets=targets)
    monkeypatch.setattr(builtin, "FIXES", (useless,))
    done = runner.invoke(fixes_command.app, ["check"])
    assert done.exit_code == 1
    assert "WRONG" in done.output
