"""One plugin's trouble stays that plugin's."""

from __future__ import annotations

import subprocess
import sys
import types
from collections.abc import Callable

import pytest

from tl_ext.errors import PluginError
from tl_ext.plugins import ScorerSpec, build_manager, hookimpl, resolve
from tl_ext.plugins.manager import BUILTIN, HOOKS, PluginStatus

Install = Callable[[str, str], None]


def scorers(name: str) -> str:
    """A plugin that brings one scorer."""
    return (
        "@hookimpl\n"
        "def tl_ext_scorers():\n"
        f"    return [ScorerSpec({name!r}, 'some.module:score', 'a score')]\n"
    )


def status(name: str, **options: object) -> PluginStatus:
    """The record of one plugin, and a check that the sound one beside it is loaded."""
    found = {one.name: one for one in build_manager(**options).report()}
    assert found[BUILTIN].status == "loaded", found[BUILTIN].reason
    if "sound" in found:
        assert found["sound"].status == "loaded"
        assert found["sound"].provides == {"scorers": ("sound_score",)}
    return found[name]


def test_a_sound_plugin_is_loaded_with_its_distribution(install: Install) -> None:
    install("sound", scorers("sound_score"))
    one = status("sound")
    assert (one.distribution, one.version, one.reason) == ("sound", "1.2", "")
    assert build_manager().scorers()["sound_score"].score == "some.module:score"


TROUBLE = {
    "import error": ("import there_is_no_such_module\n", "failed", "there_is_no_such_module"),
    "exit at import": ("import sys\nsys.exit(3)\n", "failed", "SystemExit: 3"),
    "raising hook": (
        scorers("of_the_raiser")
        + "@hookimpl\ndef tl_ext_adapters():\n    raise RuntimeError('broke')\n",
        "partial",
        "tl_ext_adapters failed: RuntimeError: broke.",
    ),
    "raising generator": (
        "@hookimpl\ndef tl_ext_scorers():\n    yield ScorerSpec('a', 'b:c', '')\n    raise OSError\n",
        "partial",
        "tl_ext_scorers failed: OSError.",
    ),
    "misspelled hook": (
        scorers("lost") + "@hookimpl\ndef tl_ext_adaptors():\n    return []\n",
        "failed",
        "There is no hook tl_ext_adaptors. Nearest: tl_ext_adapters",
    ),
    "unmarked function": (
        scorers("of_the_unmarked") + "def tl_ext_adapters():\n    return []\n",
        "partial",
        "tl_ext_adapters is not marked with @hookimpl and is ignored",
    ),
    "wrong return type": (
        "@hookimpl\ndef tl_ext_scorers():\n    return 'fluency'\n",
        "partial",
        "it returned str, expected an iterable of ScorerSpec",
    ),
    "nothing returned": (
        "@hookimpl\ndef tl_ext_scorers():\n    pass\n",
        "partial",
        "it returned NoneType, expected an iterable of ScorerSpec",
    ),
    "wrong spec type": (
        "@hookimpl\ndef tl_ext_scorers():\n    return [AdapterSpec('A', 'b:c')]\n",
        "partial",
        "it returned AdapterSpec in its iterable, expected an iterable of ScorerSpec",
    ),
    "wrong reference": (
        "@hookimpl\ndef tl_ext_scorers():\n    return [ScorerSpec('a', 'no colon', '')]\n",
        "partial",
        "score is 'no colon'; expected \"module:attribute\"",
    ),
    "wrong arguments": (
        "@hookimpl\ndef tl_ext_scorers(model):\n    return []\n",
        "failed",
        "model",
    ),
    "hook wrapper": (
        "@hookimpl(wrapper=True)\ndef tl_ext_scorers():\n    return (yield)\n",
        "failed",
        "tl_ext_scorers is a hook wrapper",
    ),
    "no hook at all": ("", "partial", "It implements no hook"),
    "a built-in name": (scorers("fluency"), "partial", "'fluency' is built in and stays ours"),
    "one name twice": (
        "@hookimpl\ndef tl_ext_scorers():\n    return [ScorerSpec('twin', 'b:c', '')] * 2\n",
        "partial",
        "Scorer name 'twin' is given twice, so neither is used",
    ),
}


@pytest.mark.parametrize(("source", "state", "reason"), TROUBLE.values(), ids=TROUBLE)
def test_trouble_is_reported_and_takes_nobody_down(
    install: Install, source: str, state: str, reason: str
) -> None:
    install("trouble", source)
    install("sound", scorers("sound_score"))
    one = status("trouble")
    assert one.status == state
    assert reason in one.reason
    manager = build_manager()
    assert "sound_score" in manager.scorers()
    assert "saelens" in manager.dictionary_sources()
    assert "lost" not in manager.scorers(), "a misspelled hook takes its own plugin out"


def test_what_works_of_a_partial_plugin_is_used(install: Install) -> None:
    for name in ("raising hook", "unmarked function"):
        install(name.replace(" ", "-"), TROUBLE[name][0])
    assert {"of_the_raiser", "of_the_unmarked"} <= set(build_manager().scorers())


def test_a_name_two_plugins_claim_goes_to_neither_and_both_are_named(install: Install) -> None:
    install("sound", scorers("sound_score"))
    install("first", scorers("joy"))
    install("second", scorers("joy"))
    assert "also claimed by second (second)" in status("first").reason
    assert "also claimed by first (first)" in status("second").reason
    found = build_manager().scorers()
    assert "joy" not in found
    assert found.contested == {"joy": ("first (first)", "second (second)")}
    with pytest.raises(
        PluginError, match=r"first \(first\) and by second \(second\).*TL_EXT_PLUGINS"
    ):
        found["joy"]


def test_the_environment_chooses(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("first", scorers("joy"))
    install("second", scorers("joy"))
    monkeypatch.setenv("TL_EXT_PLUGINS", "second, secnd")
    assert status("second").provides == {"scorers": ("joy",)}
    assert status("first").status == "skipped"
    assert "Nearest: second" in status("secnd").reason
    monkeypatch.setenv("TL_EXT_PLUGINS", "")
    skipped = [one.name for one in build_manager().report() if one.status == "skipped"]
    assert {"first", "second"} <= set(skipped)
    assert "joy" in build_manager(only=["first"]).scorers(), "an argument is stronger"


def test_a_skipped_plugin_is_not_imported(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("trouble", "raise SystemError\n")
    monkeypatch.setenv("TL_EXT_PLUGINS", "another")
    assert status("trouble").status == "skipped"


def test_a_plugin_may_be_handed_over_as_an_object() -> None:
    class Mine:
        @hookimpl
        def tl_ext_scorers(self) -> list[ScorerSpec]:
            return [ScorerSpec("mine", "some.module:score", "")]

    manager = build_manager(plugins={"mine": Mine()})
    assert manager.owner(manager.scorers()["mine"]) == "mine (no distribution)"
    same = Mine()
    twice = build_manager(plugins={"one": same, "two": same}).report()
    assert [one.status for one in twice if one.name in ("one", "two")] == ["loaded", "failed"]


def test_an_unknown_name_is_an_error_with_the_nearest_ones() -> None:
    with pytest.raises(PluginError, match="Nearest: saelens"):
        build_manager().dictionary_sources()["saelen"]
    assert build_manager().dictionary_sources().get("nothing") is None


def test_ours_are_there_by_the_same_road() -> None:
    manager = build_manager(only=())
    assert [one.name for one in manager.report() if one.status != "skipped"] == [BUILTIN]
    assert list(manager.dictionary_sources())[:3] == ["saelens", "folder", "testbed"]
    assert "registered-adapters-ignored-by-boot" in manager.fixes()
    refs = [ref for _, _, _, ref in manager.references()]
    assert "tl_ext.dictionaries.loading:open_folder" in refs


def test_every_hook_has_a_specification_and_a_kind() -> None:
    from tl_ext.plugins import hookspecs

    assert set(HOOKS) == {name for name in vars(hookspecs) if name.startswith("tl_ext_")}


def test_resolve(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("made_for_resolve")
    module.outer = types.SimpleNamespace(inner=42)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "made_for_resolve", module)
    assert resolve("made_for_resolve:outer.inner") == 42
    for ref, told in {
        "no colon": "is not a reference",
        "no_such_module_here:x": "importing no_such_module_here failed",
        "made_for_resolve:outre": "no attribute 'outre'. Nearest: outer",
    }.items():
        with pytest.raises(PluginError, match=told):
            resolve(ref)


def test_finding_plugins_loads_no_torch() -> None:
    code = (
        "import sys, tl_ext.plugins; tl_ext.plugins.build_manager(only=()).report();"
        "print([m for m in ('torch', 'pandas', 'transformers', 'transformer_lens') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
