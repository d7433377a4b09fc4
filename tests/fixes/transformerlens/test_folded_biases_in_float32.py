"""Folding in half precision gives biases of the weights' type."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.fixes.tiny_models import (
    GPTJ_SIZES,
    IDS,
    assert_same_tensors,
    booted,
    compatible,
    folded,
    made,
)

from tl_ext import fixes
from tl_ext.fixes.transformerlens.folded_biases_in_float32 import SLUG

FAMILIES: dict[str, dict[str, Any]] = {
    "Qwen2Config": {},
    "StableLmConfig": {"use_qkv_bias": True},
    "Glm4Config": {"attention_bias": True},
    "GPTJConfig": GPTJ_SIZES,
    "LlamaConfig": {},
}


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("config", FAMILIES)
def test_predictions_are_the_plain_models(config: str, dtype: torch.dtype) -> None:
    true = made(config, **FAMILIES[config])(IDS).logits.log_softmax(-1)
    with fixes.applied(SLUG):
        bridge = compatible(made(config, **FAMILIES[config]).to(dtype))
    given = bridge(IDS)
    assert given.dtype is dtype
    assert {value.dtype for value in bridge.state_dict().values()} == {dtype}
    # In half precision the plain model itself is so far from what it is in single.
    error = (given.float().log_softmax(-1) - true).abs().max()
    plain = booted(made(config, **FAMILIES[config]).to(dtype))(IDS).float().log_softmax(-1)
    assert error < 4 * (plain - true).abs().max()


@pytest.mark.parametrize("family", ["gpt2", "qwen2"])
def test_in_single_precision_nothing_changes(family: str) -> None:
    assert_same_tensors(folded(family), folded(family, SLUG))
