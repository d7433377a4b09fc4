"""The final norm is folded into the unembedding where upstream folds no norm at all."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.fixes.tiny_models import IDS, assert_same_tensors, compatible, folded, made
from tests.tiny import LAYERS

from tl_ext import fixes
from tl_ext.fixes.transformerlens.final_norm_not_folded import SLUG

ONE, OTHER = 5, 9
LATENT_ATTENTION: dict[str, Any] = {
    "num_key_value_heads": 3,
    "head_dim": 4,
    "q_lora_rank": 8,
    "kv_lora_rank": 8,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "n_routed_experts": 4,
    "moe_intermediate_size": 16,
    "n_group": 1,
    "topk_group": 1,
    "num_experts_per_tok": 2,
}
LINEAR_ATTENTION: dict[str, Any] = {
    "layer_types": ["linear_attention", "full_attention", "linear_attention"],
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "GlmConfig": {"attention_bias": True},
    "Glm4Config": {},
    "Olmo2Config": {},
    "Olmo3Config": {},
    "NemotronConfig": {},
    "Exaone4Config": {"layer_types": ["full_attention"] * LAYERS, "sliding_window": None},
    "DeepseekV2Config": LATENT_ATTENTION | {"first_k_dense_replace": 1},
    "DeepseekV3Config": LATENT_ATTENTION | {"first_k_dense_replace": 1},
    "Qwen3NextConfig": LINEAR_ATTENTION
    | {
        "num_experts": 4,
        "moe_intermediate_size": 16,
        "shared_expert_intermediate_size": 16,
        "num_experts_per_tok": 2,
    },
    "Qwen3_5TextConfig": LINEAR_ATTENTION,
}


def attributed(bridge: Any, cache: Any) -> torch.Tensor:
    """The logit difference that attributions sum to, with `b_U`, which no component carries."""
    each = [
        cache.logit_attrs(cache["resid_post", -1][None, :, at], ONE, OTHER, pos_slice=at)[0]
        for at in range(IDS.shape[1])
    ]
    return torch.stack(each, dim=-1) + bridge.b_U[ONE] - bridge.b_U[OTHER]


@torch.no_grad()
@pytest.mark.parametrize("config", CONFIGS)
def test_attributions_sum_to_the_logit_difference_and_predictions_stay(config: str) -> None:
    true = made(config, **CONFIGS[config])(IDS).logits
    with fixes.applied(SLUG):
        bridge = compatible(made(config, **CONFIGS[config]))
    logits, cache = bridge.run_with_cache(IDS)
    torch.testing.assert_close(logits.log_softmax(-1), true.log_softmax(-1), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(
        attributed(bridge, cache), true[..., ONE] - true[..., OTHER], atol=1e-4, rtol=1e-4
    )
    scaled = cache.apply_ln_to_stack(cache["resid_post", -1][None], layer=-1)[0]
    torch.testing.assert_close(
        (scaled @ bridge.W_U + bridge.b_U).log_softmax(-1), logits.log_softmax(-1)
    )
    edited = bridge.run_with_hooks(
        IDS, fwd_hooks=[("ln_final.hook_normalized", lambda value, hook: value.clone())]
    )
    torch.testing.assert_close(edited, logits, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_a_tied_embedding_stays_as_it_was() -> None:
    tied = {"tie_word_embeddings": True}
    true = made("Olmo2Config", **tied)
    with fixes.applied(SLUG):
        bridge = compatible(made("Olmo2Config", **tied))
    assert torch.equal(bridge.W_E, true.model.embed_tokens.weight)
    torch.testing.assert_close(bridge(IDS).log_softmax(-1), true(IDS).logits.log_softmax(-1))


@torch.no_grad()
@pytest.mark.parametrize("config", ["GlmConfig", "NemotronConfig"])
def test_by_hand(config: str) -> None:
    model = made(config, **CONFIGS[config])
    gain = model.model.norm.weight + (config == "NemotronConfig")
    unembedding = model.lm_head.weight * gain
    if config == "NemotronConfig":
        # A centred input leaves no trace of what all columns have in common.
        unembedding = unembedding - unembedding.mean(-1, keepdim=True)
    with fixes.applied(SLUG):
        kept = compatible(made(config, **CONFIGS[config]), center_unembed=False).W_U
        centred = compatible(made(config, **CONFIGS[config])).W_U
    torch.testing.assert_close(kept, unembedding.T)
    torch.testing.assert_close(centred, (unembedding - unembedding.mean(0)).T)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_weights_keep_their_type(dtype: torch.dtype) -> None:
    true = made("Olmo2Config").to(dtype)(IDS).logits
    with fixes.applied(SLUG):
        bridge = compatible(made("Olmo2Config").to(dtype))
    given = bridge(IDS)
    assert given.dtype is dtype is bridge.W_U.dtype
    close = {torch.bfloat16: 0.1, torch.float64: 1e-5}[dtype]
    torch.testing.assert_close(given.log_softmax(-1), true.log_softmax(-1), atol=close, rtol=close)


@torch.no_grad()
@pytest.mark.parametrize("options", [{"fold_ln": False}, {"no_processing": True}])
def test_what_is_not_asked_for_is_not_folded(options: dict[str, bool]) -> None:
    before = compatible(made("GlmConfig"), **options)(IDS)
    with fixes.applied(SLUG):
        assert torch.equal(compatible(made("GlmConfig"), **options)(IDS), before)


@pytest.mark.parametrize("family", ["gpt2", "llama", "phi"])
def test_where_upstream_folds_nothing_changes(family: str) -> None:
    assert_same_tensors(folded(family), folded(family, SLUG))
