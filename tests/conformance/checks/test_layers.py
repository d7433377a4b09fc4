"""Faults in stopping and starting at a layer, planted one at a time."""

from __future__ import annotations

from typing import Any

import pytest
from tests.conformance.asking import ask, drawn
from tests.conformance.specs import LLAMA
from transformer_lens.model_bridge import TransformerBridge

from tl_ext.conformance.checks.layers import (
    a_cache_holds_what_fired_before_the_stop,
    starting_at_a_layer_goes_on_from_the_stream,
    stopping_at_a_layer_gives_the_stream_there,
)

pytestmark = pytest.mark.usefixtures("upstream_as_installed")


def test_a_stop_that_counts_from_the_wrong_end(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = drawn(LLAMA)
    assert not ask(stopping_at_a_layer_gives_the_stream_there, subject)
    original = TransformerBridge.forward

    def forward(self: Any, *args: Any, stop_at_layer: Any = None, **options: Any) -> Any:
        if stop_at_layer is not None and stop_at_layer < 0:
            stop_at_layer = -stop_at_layer - 1
        return original(self, *args, stop_at_layer=stop_at_layer, **options)

    monkeypatch.setattr(TransformerBridge, "forward", forward)
    found = ask(stopping_at_a_layer_gives_the_stream_there, subject)
    assert {one.what for one in found} >= {"forward with stop_at_layer=-1"}
    assert not [one for one in found if "stop_at_layer=0" in one.what]


def test_a_cache_that_goes_on_behind_the_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = drawn(LLAMA)
    assert not ask(a_cache_holds_what_fired_before_the_stop, subject)
    original = TransformerBridge.run_with_cache

    def run_with_cache(self: Any, *args: Any, stop_at_layer: Any = None, **options: Any) -> Any:
        return original(self, *args, **options)

    monkeypatch.setattr(TransformerBridge, "run_with_cache", run_with_cache)
    assert any(
        "fire at that layer or later" in one.told
        for one in ask(a_cache_holds_what_fired_before_the_stop, subject)
    )


def test_a_start_that_runs_all_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = drawn(LLAMA)
    assert not ask(starting_at_a_layer_goes_on_from_the_stream, subject)
    original = TransformerBridge.forward

    def forward(self: Any, *args: Any, start_at_layer: Any = None, **options: Any) -> Any:
        return original(self, *args, **options)

    monkeypatch.setattr(TransformerBridge, "forward", forward)
    found = ask(starting_at_a_layer_goes_on_from_the_stream, subject)
    assert {one.what for one in found} == {
        "logits of start_at_layer=1",
        "logits of start_at_layer=-1 from an edited stream",
    }
