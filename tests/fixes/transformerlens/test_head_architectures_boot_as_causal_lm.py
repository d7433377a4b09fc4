"""An adapter that names its Auto class is loaded through it, and all others as before."""

from __future__ import annotations

import importlib

import pytest
import transformers

from tl_ext import fixes
from tl_ext.fixes.transformerlens.head_architectures_boot_as_causal_lm import SLUG

SOURCES = "transformer_lens.model_bridge.sources.transformers"


def test_every_native_architecture_keeps_its_class() -> None:
    factory = importlib.import_module("transformer_lens.factories.architecture_adapter_factory")
    sources = importlib.import_module(SOURCES)
    names = [*factory.SUPPORTED_ARCHITECTURES, "NobodyKnowsThis"]
    before = [sources.get_hf_model_class_for_architecture(name) for name in names]
    with fixes.applied(SLUG):
        after = [sources.get_hf_model_class_for_architecture(name) for name in names]
    assert after == before


def test_the_declared_class_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    factory = importlib.import_module("transformer_lens.factories.architecture_adapter_factory")
    adapters = dict(factory.ArchitectureAdapterFactory._adapters)
    adapters["Mine"] = type("Adapter", (), {"hf_auto_class": "AutoModelForTokenClassification"})
    monkeypatch.setattr(factory.ArchitectureAdapterFactory, "_adapters", adapters)
    with fixes.applied(SLUG):
        chosen = importlib.import_module(SOURCES).get_hf_model_class_for_architecture("Mine")
    assert chosen is transformers.AutoModelForTokenClassification
