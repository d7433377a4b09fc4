"""`activate` adds what is missing, replaces nothing, and says what it did."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from typing import Any

import pytest

from tl_ext import fixes
from tl_ext.errors import FixError
from tl_ext.fixes.transformerlens.registered_adapters_ignored_by_boot import SLUG, ignored
from tl_ext.models import activation
from tl_ext.models.activation import activate
from tl_ext.plugins import AdapterSpec, FixSpec, PluginManager, Target, build_manager, hookimpl

MODULE = "made_for_activation"
NEEDED = "needed-by-mine"


@pytest.fixture
def factory(monkeypatch: pytest.MonkeyPatch, upstream_as_installed: None) -> Iterator[Any]:
    """Upstream's factory; what is registered and applied during a test is undone after it.

    The architectures this package brings are left out.
    """
    monkeypatch.setattr("tl_ext.plugins.builtin.ADAPTERS", ())
    from transformer_lens.factories.architecture_adapter_factory import (
        SUPPORTED_ARCHITECTURES,
        ArchitectureAdapterFactory,
    )
    from transformer_lens.model_bridge.supported_architectures.llama import (
        LlamaArchitectureAdapter,
    )

    module = types.ModuleType(MODULE)
    module.calls = []  # type: ignore[attr-defined]
    module.teach = lambda: module.calls.append("teach")  # type: ignore[attr-defined]
    module.Adapter = type("Adapter", (LlamaArchitectureAdapter,), {})  # type: ignore[attr-defined]
    module.Other = type("Other", (LlamaArchitectureAdapter,), {})  # type: ignore[attr-defined]
    module.broken_upstream = lambda: "wrong"  # type: ignore[attr-defined]
    module.mend = lambda original: lambda: "right"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, MODULE, module)
    monkeypatch.setattr(ArchitectureAdapterFactory, "_adapters", dict(SUPPORTED_ARCHITECTURES))
    monkeypatch.setattr(ArchitectureAdapterFactory, "_entry_points_discovered", True)
    monkeypatch.setattr(activation, "_taught", set())
    yield ArchitectureAdapterFactory
    for slug in (SLUG, NEEDED):
        while fixes.status(slug, manager=manager())[0].applied:
            fixes.revert(slug, manager=manager())


def manager(*specs: AdapterSpec) -> PluginManager:
    """Plugins of the test's own: these architectures, and a fix that one may need."""

    class Plugin:
        @hookimpl
        def tl_ext_adapters(self) -> tuple[AdapterSpec, ...]:
            return specs

        @hookimpl
        def tl_ext_fixes(self) -> list[FixSpec]:
            return [
                FixSpec(
                    slug=NEEDED,
                    symptom="it says wrong",
                    upstream=MODULE,
                    kind="runtime",
                    takes_effect="now",
                    probe=f"{MODULE}:teach",
                    targets=(Target(f"{MODULE}:broken_upstream", f"{MODULE}:mend"),),
                )
            ]

    return build_manager(plugins={"mine": Plugin()}, only=())


def spec(
    name: str = "MineForCausalLM", adapter: str = "Adapter", *, fixes: tuple[str, ...] = ()
) -> AdapterSpec:
    return AdapterSpec(name, f"{MODULE}:{adapter}", register=f"{MODULE}:teach", fixes=fixes)


def test_a_new_name_is_registered_taught_and_booted(
    factory: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    done = activate(manager=manager(spec()))
    assert done.registered == (("MineForCausalLM", "mine (no distribution)"),)
    assert done.fixes == (SLUG,)
    assert factory._adapters["MineForCausalLM"] is sys.modules[MODULE].Adapter
    assert ignored(["MineForCausalLM"]) == []
    told = capsys.readouterr().err
    assert told.strip() == str(done) == repr(done)
    assert "registered MineForCausalLM, from mine" in told
    assert f"applied, for the whole process, the fixes {SLUG} (" in told


def test_a_second_call_changes_nothing_and_is_silent(
    factory: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    activate(manager=manager(spec()), quiet=True)
    again = activate(manager=manager(spec()))
    assert not again.changed
    assert str(again) == "tl_ext: nothing to register."
    assert sys.modules[MODULE].calls == ["teach"]
    assert fixes.status(SLUG)[0].applied == 1
    assert capsys.readouterr().err == ""


def test_a_second_call_looks_through_no_modules(
    factory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`load_model` calls it each time, and there are thousands of modules."""
    plugins = manager(spec(fixes=(NEEDED,)))
    activate(manager=plugins, quiet=True)
    with monkeypatch.context() as patched:
        patched.delattr("tl_ext.fixes.ledger._strays")
        again = activate(manager=plugins, quiet=True)
    assert not again.changed and again.problems == ()


def test_without_a_new_architecture_nothing_happens(
    factory: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not activate(manager=manager()).changed
    assert fixes.status(SLUG)[0].applied == 0
    assert capsys.readouterr().err == ""


def test_nothing_is_replaced(factory: Any) -> None:
    factory.register_adapter("MineForCausalLM", sys.modules[MODULE].Other)
    native = factory._adapters["GPT2LMHeadModel"]
    done = activate(manager=manager(spec(), spec("GPT2LMHeadModel")), quiet=True)
    assert done.kept == (("MineForCausalLM", "Other"), ("GPT2LMHeadModel", native.__name__))
    assert factory._adapters["MineForCausalLM"] is sys.modules[MODULE].Other
    assert factory._adapters["GPT2LMHeadModel"] is native
    assert done.registered == ()


def test_one_broken_adapter_is_told_and_the_others_are_registered(
    factory: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    def teach() -> None:
        raise OSError("no classes")

    sys.modules[MODULE].broken = teach  # type: ignore[attr-defined]
    done = activate(
        manager=manager(
            AdapterSpec("LostForCausalLM", f"{MODULE}:Adaptor"),
            AdapterSpec("WrongForCausalLM", f"{MODULE}:teach"),
            AdapterSpec("UntaughtForCausalLM", f"{MODULE}:Adapter", register=f"{MODULE}:broken"),
            spec(),
        )
    )
    assert [name for name, _ in done.registered] == ["MineForCausalLM"]
    told = capsys.readouterr().err
    assert "cannot register LostForCausalLM" in told and "Nearest: Adapter" in told
    assert "expected an ArchitectureAdapter subclass" in told
    assert "cannot register UntaughtForCausalLM" in told and "no classes" in told


def test_upstreams_own_discovery_runs_first(factory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def discover(cls: Any) -> None:
        for name in ("FoundForCausalLM", "FoundModel"):
            cls._adapters[name] = sys.modules[MODULE].Adapter

    monkeypatch.setattr(factory, "discover_entry_points", classmethod(discover))
    done = activate(manager=manager(spec("FoundForCausalLM")), quiet=True)
    names = ("FoundForCausalLM", "FoundModel")
    assert (done.discovered, done.registered, done.kept) == (names, (), ())
    assert done.fixes == (SLUG,)
    assert "found FoundForCausalLM, FoundModel by TransformerLens' own discovery" in str(done)


def test_a_reverted_fix_is_applied_again_and_a_foreign_value_stops_it(factory: Any) -> None:
    activate(manager=manager(spec()), quiet=True)
    fixes.revert(SLUG)
    assert ignored(["MineForCausalLM"]) == ["MineForCausalLM"]
    assert activate(manager=manager(spec()), quiet=True).fixes == (SLUG,)
    module = sys.modules[factory.__module__]
    ours = module.SUPPORTED_ARCHITECTURES
    try:
        module.SUPPORTED_ARCHITECTURES = {}
        with pytest.raises(FixError, match="Take that change back first"):
            fixes.revert(SLUG)
    finally:
        module.SUPPORTED_ARCHITECTURES = ours


def test_the_fixes_of_an_architecture_come_with_it(
    factory: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    plugins = manager(spec(fixes=(NEEDED,)), spec("MineModel", fixes=(NEEDED, NEEDED)))
    done = activate(manager=plugins)
    assert done.fixes == (NEEDED, SLUG)
    assert sys.modules[MODULE].broken_upstream() == "right"
    told = capsys.readouterr().err
    assert "registered MineForCausalLM, MineModel, from mine" in told
    assert f"applied, for the whole process, the fixes {NEEDED}, {SLUG} (" in told

    assert activate(manager=plugins).fixes == ()
    assert fixes.status(NEEDED, manager=plugins)[0].applied == 1
    fixes.revert(NEEDED, manager=plugins)
    assert sys.modules[MODULE].broken_upstream() == "wrong"
    assert activate(manager=plugins, quiet=True).fixes == (NEEDED,)


def test_an_architecture_that_is_not_ours_brings_no_fix(factory: Any) -> None:
    done = activate(manager=manager(spec("GPT2LMHeadModel", fixes=(NEEDED,))), quiet=True)
    assert done.kept and done.fixes == ()
    assert sys.modules[MODULE].broken_upstream() == "wrong"


def test_without_its_fixes_an_architecture_is_not_registered(
    factory: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    lacking = spec("LackingForCausalLM", fixes=(NEEDED, "no-such-fix"))
    done = activate(manager=manager(lacking, spec()))
    assert [name for name, _ in done.registered] == ["MineForCausalLM"]
    assert "LackingForCausalLM" not in factory._adapters
    assert done.fixes == (SLUG,)
    told = capsys.readouterr().err
    assert "cannot register LackingForCausalLM, from mine" in told and "'no-such-fix'" in told

    factory.register_adapter("LackingForCausalLM", sys.modules[MODULE].Adapter)
    (problem,) = activate(manager=manager(lacking), quiet=True).problems
    assert problem.startswith("cannot make safe LackingForCausalLM")


def test_fixes_of_one_architecture_are_applied_all_or_none(factory: Any) -> None:
    sys.modules[MODULE].mend = None  # type: ignore[attr-defined]
    done = activate(manager=manager(spec(fixes=(NEEDED,))), quiet=True)
    assert len(done.problems) == 1 and done.registered == () and done.fixes == ()
    assert sys.modules[MODULE].broken_upstream() == "wrong"
