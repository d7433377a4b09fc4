"""Faults in masks, positions and padding, planted one at a time."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.conformance.asking import ask, drawn
from tests.conformance.specs import GPT2, LLAMA
from transformer_lens.model_bridge import TransformerBridge

from tl_ext.conformance.checks.padding import (
    masked_padding_changes_no_real_token,
    texts_together_give_what_each_gives_alone,
)

pytestmark = pytest.mark.usefixtures("upstream_as_installed")


def test_a_mask_that_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = drawn(LLAMA)
    assert not ask(masked_padding_changes_no_real_token, subject)
    original = TransformerBridge.forward

    def forward(self: Any, *args: Any, attention_mask: Any = None, **options: Any) -> Any:
        return original(self, *args, **options)

    monkeypatch.setattr(TransformerBridge, "forward", forward)
    found = ask(masked_padding_changes_no_real_token, subject)
    assert found and all("padded on the left" in one.what for one in found)


def test_positions_that_count_padding(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = drawn(GPT2)
    original = TransformerBridge.forward

    def forward(self: Any, ids: Any, **options: Any) -> Any:
        counted = torch.arange(ids.shape[1]).expand_as(ids)
        return original(self, ids, position_ids=counted, **options)

    assert not ask(masked_padding_changes_no_real_token, subject)
    monkeypatch.setattr(TransformerBridge, "forward", forward)
    assert ask(masked_padding_changes_no_real_token, subject)


def test_texts_that_attend_to_their_padding(monkeypatch: pytest.MonkeyPatch) -> None:
    from transformer_lens import utilities

    subject = drawn(LLAMA)

    def apart() -> list[str]:
        found = ask(texts_together_give_what_each_gives_alone, subject)
        return [one.what for one in found if "padding apart" in one.what]

    assert not apart()
    monkeypatch.setattr(
        utilities, "get_attention_mask", lambda tokenizer, ids, *_, **__: torch.ones_like(ids)
    )
    assert apart()
