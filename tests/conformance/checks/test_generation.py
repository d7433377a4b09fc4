"""Faults in generation, planted one at a time."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.conformance.asking import ask, drawn
from tests.conformance.specs import GPT2, LLAMA
from transformer_lens.model_bridge import TransformerBridge

from tl_ext.conformance.checks.generation import (
    an_edit_holds_for_rows_that_generate_together,
    an_edit_holds_in_every_step_of_generation,
    greedy_generation_is_a_loop_over_the_logits,
    rows_generate_together_what_each_generates_alone,
    texts_generate_together_what_each_generates_alone,
)

pytestmark = pytest.mark.usefixtures("upstream_as_installed")


def test_positions_that_start_anew_with_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = drawn(GPT2)
    assert not ask(greedy_generation_is_a_loop_over_the_logits, subject)
    original = TransformerBridge.forward

    def forward(self: Any, ids: Any, **options: Any) -> Any:
        if options.get("past_key_values") is not None:
            options["position_ids"] = torch.zeros_like(ids)
        return original(self, ids, **options)

    monkeypatch.setattr(TransformerBridge, "forward", forward)
    found = ask(greedy_generation_is_a_loop_over_the_logits, subject)
    assert found and all("use_past_kv_cache=True" in one.what for one in found)


def test_a_mask_that_generation_drops(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = drawn(LLAMA)
    assert not ask(rows_generate_together_what_each_generates_alone, subject)
    original = TransformerBridge.generate

    def generate(self: Any, *args: Any, attention_mask: Any = None, **options: Any) -> Any:
        return original(self, *args, **options)

    monkeypatch.setattr(TransformerBridge, "generate", generate)
    assert ask(rows_generate_together_what_each_generates_alone, subject)
    assert ask(an_edit_holds_for_rows_that_generate_together, subject)


def test_an_edit_that_holds_for_the_prompt_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = drawn(LLAMA)
    checks = (
        an_edit_holds_in_every_step_of_generation,
        an_edit_holds_for_rows_that_generate_together,
    )
    assert not any(ask(check, subject) for check in checks)
    original = TransformerBridge.hooks

    def hooks(self: Any, fwd_hooks: Any) -> Any:
        def of_prompt(edit: Any) -> Any:
            return lambda value, hook: value if value.shape[1] == 1 else edit(value, hook)

        return original(self, fwd_hooks=[(name, of_prompt(edit)) for name, edit in fwd_hooks])

    monkeypatch.setattr(TransformerBridge, "hooks", hooks)
    for check in checks:
        found = ask(check, subject)
        assert found and all("use_past_kv_cache=True" in one.what for one in found)


def test_texts_that_are_padded_on_the_right(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = drawn(LLAMA)

    def apart() -> list[str]:
        found = ask(texts_generate_together_what_each_generates_alone, subject)
        return [one.what for one in found if "'apart'" in one.what]

    assert not apart()
    original = TransformerBridge.to_tokens

    def to_tokens(self: Any, texts: Any, **options: Any) -> Any:
        return original(self, texts, **options | {"padding_side": "right"})

    monkeypatch.setattr(TransformerBridge, "to_tokens", to_tokens)
    assert apart()
