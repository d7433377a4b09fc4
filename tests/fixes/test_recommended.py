"""`fixes.apply(*fixes.recommended())`: what is called for here, said once."""

from __future__ import annotations

import sys
import types
from dataclasses import replace
from typing import Any

import pytest

from tl_ext import fixes
from tl_ext.fixes import State
from tl_ext.fixes.probing import Finding
from tl_ext.plugins import FixSpec, Target, builtin

MODULE = "made_for_recommending"


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """An upstream with a bug in each of a few functions, and rows for them."""
    upstream = types.ModuleType(MODULE)

    def spec(slug: str, **fields: Any) -> FixSpec:
        setattr(upstream, f"probe_{slug}", lambda: Finding(_state(getattr(upstream, slug)()), "-"))
        setattr(upstream, slug, lambda: "wrong")
        upstream.wrap = lambda original: lambda: "right"
        target = Target(f"{MODULE}:{slug}", f"{MODULE}:wrap")
        given = {"kind": "runtime", "targets": (target,), "upstream": "json"} | fields
        return FixSpec(slug, "none", takes_effect="now", probe=f"{MODULE}:probe_{slug}", **given)

    monkeypatch.setitem(sys.modules, MODULE, upstream)
    made = (
        spec("first"),
        spec("unwanted", recommended=False),
        spec("mended"),
        spec("written", kind="patch-only", targets=()),
        spec("away", upstream="no_such_upstream"),
        spec("second"),
    )
    upstream.mended = lambda: "right"  # type: ignore[attr-defined]
    monkeypatch.setattr(builtin, "FIXES", made)
    return upstream


def _state(said: str) -> State:
    return State.PRESENT if said == "wrong" else State.ABSENT


def test_what_is_recommended_is_present_and_can_be_applied(
    rows: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fixes.recommended() == ("first", "second")
    fixes.apply(*fixes.recommended())
    told = capsys.readouterr().err
    assert told.startswith("tl_ext: applied, for the whole process, the fixes first, second (")
    assert (rows.first(), rows.unwanted(), rows.second()) == ("right", "wrong", "right")

    # What is in effect is not named again, and a second apply of it says nothing.
    assert fixes.recommended() == ()
    fixes.apply("first", *fixes.recommended())
    assert capsys.readouterr().err == ""
    fixes.revert("first", "first", "second")
    assert fixes.recommended() == ("first", "second")


def test_quiet_and_a_block_say_nothing(rows: Any, capsys: pytest.CaptureFixture[str]) -> None:
    fixes.apply("first", quiet=True)
    fixes.revert("first")
    with fixes.applied("first", "second"):
        pass
    assert capsys.readouterr().err == ""


def test_the_rows_are_believed_of_a_package_that_imports_only_under_a_fix(
    rows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, unwanted, *_, second = builtin.FIXES
    opening = FixSpec(
        "opening", "none", "closed", "import-time", "now", f"{MODULE}:probe_first", **_extra()
    )
    monkeypatch.setattr(
        builtin,
        "FIXES",
        (
            replace(first, upstream="closed", present_in=("1.0",)),
            replace(second, upstream="closed", absent_in=("1.0",)),
            replace(unwanted, upstream="closed", present_in=("1.0",)),
            opening,
        ),
    )
    monkeypatch.setattr("tl_ext.fixes.api.importable", lambda upstream: False)
    monkeypatch.setattr("tl_ext.fixes.releases.installed_release", lambda upstream: "1.0")
    monkeypatch.setitem(sys.modules, "closed", types.ModuleType("closed"))
    assert fixes.recommended() == ("opening", "first")
    rows.first = lambda: "right"  # the import-time bug is absent: nothing opens the package
    assert fixes.recommended() == ()


def _extra() -> dict[str, Any]:
    """What an import-time row has besides."""
    return {"prepare": f"{MODULE}:wrap"} if "prepare" in FixSpec.__dataclass_fields__ else {}
