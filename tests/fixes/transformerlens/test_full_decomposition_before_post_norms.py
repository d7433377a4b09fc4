"""Heads, neurons, embedding and biases sum to the residual stream behind post-norms too."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.fixes.taken_back import as_installed
from tests.fixes.tiny_models import IDS, booted, compatible, made

from tl_ext.fixes.transformerlens.full_decomposition_before_post_norms import SLUG

pytestmark = pytest.mark.usefixtures("fixed")

FAMILIES: dict[str, dict[str, Any]] = {
    "Gemma2Config": {},
    "Gemma3TextConfig": {},
    "Glm4Config": {"attention_bias": True},
    "Olmo2Config": {},
}


def cached(bridge: Any) -> Any:
    bridge.set_use_attn_result(True)
    return bridge.run_with_cache(IDS)[1]


@torch.no_grad()
@pytest.mark.parametrize("boot", [booted, compatible])
@pytest.mark.parametrize("config", FAMILIES)
def test_pieces_sum_to_the_residual_stream(config: str, boot: Any) -> None:
    cache = cached(boot(made(config, **FAMILIES[config])))
    whole = cache["resid_post", -1]
    for options in ({}, {"expand_neurons": False}):
        total = cache.get_full_resid_decomposition(**options).sum(0)
        torch.testing.assert_close(total, whole, atol=1e-4, rtol=1e-4)
    middle = cache.get_full_resid_decomposition(layer=1, mlp_input=True, expand_neurons=False)
    torch.testing.assert_close(middle.sum(0), cache["resid_mid", 1], atol=1e-4, rtol=1e-4)
    last = cache.get_full_resid_decomposition(pos_slice=-1).sum(0)
    torch.testing.assert_close(last, whole[:, -1], atol=1e-4, rtol=1e-4)
    normed = cache.apply_ln_to_stack(whole[None], layer=-1)[0]
    onto = torch.randn(whole.shape[-1], 2, generator=torch.Generator().manual_seed(0))
    projected = cache.get_full_resid_decomposition(apply_ln=True, project_output_onto=onto)
    torch.testing.assert_close(projected.sum(0), normed @ onto, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_a_head_by_hand() -> None:
    cache = cached(booted(made("Olmo2Config")))
    plain = made("Olmo2Config")
    norm = plain.model.layers[1].post_attention_layernorm
    heads = cache["blocks.1.attn.hook_result"]
    scale = (heads.sum(-2).pow(2).mean(-1, keepdim=True) + norm.variance_epsilon).sqrt()
    given, labels = cache.get_full_resid_decomposition(return_labels=True, expand_neurons=False)
    torch.testing.assert_close(
        given[labels.index("L1H2")], heads[..., 2, :] / scale * norm.weight, atol=1e-5, rtol=1e-5
    )


@torch.no_grad()
def test_a_model_without_post_norms_is_as_it_was() -> None:
    cache = cached(booted(made("LlamaConfig")))
    fixed = cache.get_full_resid_decomposition(apply_ln=True)
    with as_installed(SLUG):
        assert torch.equal(fixed, cache.get_full_resid_decomposition(apply_ln=True))


@torch.no_grad()
def test_a_hooked_transformer_is_as_it_was() -> None:
    old = pytest.importorskip("transformer_lens.HookedTransformer", reason="4.x has none")
    config = {"n_layers": 1, "d_model": 8, "n_ctx": 8, "d_head": 4, "d_mlp": 8, "d_vocab": 16}
    model = old.HookedTransformer({**config, "act_fn": "relu", "normalization_type": "RMS"})
    _, cache = model.run_with_cache(IDS[:, :6] % 16)
    total = cache.get_full_resid_decomposition().sum(0)
    torch.testing.assert_close(total, cache["resid_post", -1], atol=1e-5, rtol=1e-5)
