"""The first fix: PRESENT, apply, ABSENT, revert, PRESENT; and nothing else changes."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from tl_ext import fixes
from tl_ext.errors import FixError
from tl_ext.fixes import State
from tl_ext.fixes.transformerlens.registered_adapters_ignored_by_boot import (
    SLUG,
    KnownArchitectures,
    ignored,
)

FACTORY = "transformer_lens.factories.architecture_adapter_factory"


@pytest.fixture
def factory(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Upstream's factory, its registrations undone afterwards."""
    cls = importlib.import_module(FACTORY).ArchitectureAdapterFactory
    monkeypatch.setattr(cls, "_adapters", dict(cls._adapters))
    return cls


@pytest.fixture(autouse=True)
def left_as_it_was() -> Iterator[None]:
    before = importlib.import_module(FACTORY).SUPPORTED_ARCHITECTURES
    yield
    assert importlib.import_module(FACTORY).SUPPORTED_ARCHITECTURES is before
    assert fixes.status(SLUG)[0].applied == 0


def test_for_the_length_of_a_block_and_nested() -> None:
    with fixes.applied(SLUG) as (outer,):
        assert outer.applied == 1
        with fixes.applied(SLUG) as (inner,):
            assert inner.applied == 2
        assert fixes.probe(SLUG).state is State.ABSENT
    with pytest.raises(RuntimeError, match="mine"), fixes.applied(SLUG):
        raise RuntimeError("mine")
    assert fixes.probe(SLUG).state is State.PRESENT


def test_an_apply_that_fails_takes_the_others_of_its_call_back() -> None:
    from tl_ext.plugins import FixSpec, build_manager, hookimpl

    class Plugin:
        @hookimpl
        def tl_ext_fixes(self) -> list[FixSpec]:
            return [FixSpec("patch-only", "none", "json", "source-only", "now", "a:b")]

    manager = build_manager(plugins={"one": Plugin()})
    with pytest.raises(FixError, match="patch-only"):
        fixes.apply(SLUG, "patch-only", manager=manager)
    assert fixes.status(SLUG)[0].applied == 0


def test_deciding_on_every_native_architecture_is_unchanged(factory: Any) -> None:
    decide = importlib.import_module(
        "transformer_lens.model_bridge.sources.transformers"
    ).determine_architecture_from_hf_config
    native = list(importlib.import_module(FACTORY).SUPPORTED_ARCHITECTURES)
    configs = [SimpleNamespace(architectures=[name]) for name in native]
    configs += [SimpleNamespace(architectures=None, model_type=kind) for kind in ("gpt2", "llama")]
    before = [decide(config) for config in configs]
    with fixes.applied(SLUG):
        assert [decide(config) for config in configs] == before
        with pytest.raises(ValueError, match="Could not determine supported architecture"):
            decide(SimpleNamespace(architectures=["NobodyForCausalLM"], model_type="nobody"))


def test_a_registered_name_comes_before_the_model_type(factory: Any) -> None:
    """Upstream takes the native adapter of the model type here, without a word."""
    decide = importlib.import_module(
        "transformer_lens.model_bridge.sources.transformers"
    ).determine_architecture_from_hf_config
    factory.register_adapter("MineForCausalLM", object)
    config = SimpleNamespace(architectures=["MineForCausalLM"], model_type="llama")
    assert decide(config) == "LlamaForCausalLM"
    assert ignored(["MineForCausalLM", "GPT2LMHeadModel"]) == ["MineForCausalLM"]
    with fixes.applied(SLUG):
        assert decide(config) == "MineForCausalLM"
        assert ignored(["MineForCausalLM", "GPT2LMHeadModel"]) == []


def test_the_mapping_behaves_as_the_table_it_stands_for(factory: Any) -> None:
    table: dict[str, Any] = {"Native": int}
    known = KnownArchitectures(table)
    factory._adapters = {"Native": float, "Mine": str}
    assert (known["Native"], known.get("Mine"), known.get("Nobody")) == (int, str, None)
    assert list(known) == ["Native", "Mine"]
    assert (len(known), "Mine" in known, "Nobody" in known) == (2, True, False)
    assert dict(known) == {"Native": int, "Mine": str}
    known["New"] = bool
    assert table == {"Native": int, "New": bool}, "a write goes to upstream's own table"
    del known["New"]
    assert table == {"Native": int}


def test_importing_fixes_applies_nothing() -> None:
    import subprocess

    code = (
        "import sys, tl_ext.fixes, tl_ext.models.activation;"
        "print('transformer_lens' in sys.modules, any(s.applied for s in tl_ext.fixes.status()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False False"
