"""Faults in losses, planted one at a time."""

from __future__ import annotations

from typing import Any

import pytest
from tests.conformance.asking import ask, drawn
from tests.conformance.specs import GPT2, LLAMA
from transformer_lens.model_bridge import TransformerBridge

from tl_ext.conformance.checks.losses import (
    the_loss_is_the_cross_entropy_of_the_next_token,
    the_loss_leaves_masked_padding_out,
    the_loss_of_texts_leaves_padding_out,
)

pytestmark = pytest.mark.usefixtures("upstream_as_installed")


def test_a_loss_of_the_token_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = drawn(LLAMA)
    assert not ask(the_loss_is_the_cross_entropy_of_the_next_token, subject)
    original = TransformerBridge.loss_fn

    def loss_fn(self: Any, logits: Any, tokens: Any, *args: Any, **options: Any) -> Any:
        return original(self, logits, tokens.roll(1, dims=1), *args, **options)

    monkeypatch.setattr(TransformerBridge, "loss_fn", loss_fn)
    found = ask(the_loss_is_the_cross_entropy_of_the_next_token, subject)
    assert {"loss", "loss by token"} <= {one.what for one in found}


def test_a_loss_that_counts_padding_under_a_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = drawn(LLAMA)
    assert not ask(the_loss_leaves_masked_padding_out, subject)
    original = TransformerBridge.loss_fn

    def loss_fn(self: Any, *args: Any, attention_mask: Any = None, **options: Any) -> Any:
        return original(self, *args, **options)

    monkeypatch.setattr(TransformerBridge, "loss_fn", loss_fn)
    assert {one.what for one in ask(the_loss_leaves_masked_padding_out, subject)} == {
        "loss of rows padded on the right",
        "loss of rows padded on the left",
    }


def test_the_loss_of_texts_padded_on_the_right_counts_padding_upstream() -> None:
    found = ask(the_loss_of_texts_leaves_padding_out, drawn(GPT2))
    assert {one.what for one in found} == {
        "loss of texts padded on the right, tokenizer 'apart'",
        "loss of texts padded on the right, tokenizer 'one'",
    }
