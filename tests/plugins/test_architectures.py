"""Which architectures there are, and on which versions each was verified."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from tl_ext.errors import PluginError
from tl_ext.plugins import (
    AdapterSpec,
    Family,
    PluginManager,
    Verification,
    build_manager,
    hookimpl,
)
from tl_ext.plugins import architectures as module
from tl_ext.plugins.architectures import Architecture, architectures, records_file

FAMILY = Family("Mine", ("me/mine-1b",), ("quantised ones",), "no BOS")
MODULE = "tests/test_mine.py"
INSTALLED = dict.fromkeys(module.COMPARED, "9.9")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A plugin's package, importable; what it recorded is for the test to write."""
    folder = tmp_path / "made_for_records"
    folder.mkdir()
    (folder / "__init__.py").write_text("raise ImportError('it is not imported to be read')\n")
    monkeypatch.syspath_prepend(tmp_path)
    return folder


def plugins(
    *verified: Verification, adapter: str = "made_for_records.deep:Adapter"
) -> PluginManager:
    class Plugin:
        @hookimpl
        def tl_ext_adapters(self) -> list[AdapterSpec]:
            return [
                AdapterSpec(
                    "MineForCausalLM",
                    adapter,
                    fixes=("a-fix",),
                    verified=verified,
                    family=FAMILY,
                )
            ]

    return build_manager(plugins={"mine": Plugin()}, only=())


def mine(*verified: Verification) -> Architecture:
    return architectures(INSTALLED, manager=plugins(*verified))["MineForCausalLM"]


def record(**other: str) -> dict[str, Any]:
    return {**INSTALLED, "tests": 3} | other


def test_an_architecture_says_who_brings_it_and_what_it_needs() -> None:
    assert mine() == Architecture(
        name="MineForCausalLM",
        provider="mine (no distribution)",
        adapter="made_for_records.deep:Adapter",
        family=FAMILY,
        fixes=("a-fix",),
        verified=(),
    )


def test_upstreams_own_adapter_may_be_named_to_say_what_was_verified() -> None:
    manager = plugins(adapter="transformer_lens.model_bridge:Some")
    found = architectures(INSTALLED, manager=manager)["MineForCausalLM"]
    assert found.provider == "TransformerLens, verified by mine (no distribution)"


def test_a_record_of_these_versions_counts_here_and_of_others_does_not(package: Path) -> None:
    shown = Verification("transformers", "logits, 1e-5", MODULE)
    (held,) = mine(shown).verified
    assert (held.on, held.here) == ((), False)
    assert "NOT on these versions, recorded on nothing" in str(held)

    other = record(**{"transformer-lens": "1.0"})
    (package / "verified.json").write_text(json.dumps({MODULE: [other]}))
    (held,) = mine(shown).verified
    assert (held.on, held.here) == ((other,), False)
    assert "recorded on transformer-lens 1.0, transformers" in str(held)

    (package / "verified.json").write_text(json.dumps({MODULE: [other, record()]}))
    (held, unrecorded) = mine(shown, Verification("golden file", "logits", "tests/b.py")).verified
    assert held.here and "NOT" not in str(held)
    assert not unrecorded.here


def test_a_record_that_cannot_be_read_is_told(package: Path) -> None:
    for text in ("{", "[]"):
        (package / "verified.json").write_text(text)
        with pytest.raises(PluginError, match=r"verified\.json"):
            mine(Verification("transformers", "logits", MODULE))


def test_records_lie_in_the_top_level_package_of_the_plugin(package: Path) -> None:
    (package / "verified.json").write_text(json.dumps({MODULE: [record()]}))
    manager = plugins(Verification("transformers", "logits", MODULE), adapter="elsewhere.deep:A")
    assert not architectures(INSTALLED, manager=manager)["MineForCausalLM"].verified[0].here
    (plugin,) = [one for one in manager._plugins if one.name == "mine"]
    plugin.module = "made_for_records.hooks"
    assert architectures(INSTALLED, manager=manager)["MineForCausalLM"].verified[0].here
    assert records_file("made_for_records.deep.module") == package / "verified.json"
    assert records_file("no_such_package_at_all.module") is None


def test_upstreams_entry_points_are_listed_with_their_distribution(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "theirs-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(
        "[transformer_lens.architectures]\n"
        "TheirsForCausalLM = theirs.adapter:Adapter\nMineForCausalLM = theirs.adapter:Other\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert metadata.entry_points(group=module.UPSTREAM_GROUP)
    found = architectures(INSTALLED, manager=plugins())
    assert found["TheirsForCausalLM"] == Architecture(
        "TheirsForCausalLM", "transformer_lens.architectures (theirs)", "theirs.adapter:Adapter"
    )
    assert found["MineForCausalLM"].provider == "mine (no distribution)"
