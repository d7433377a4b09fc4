"""Scores and pattern of attention that transformers computes are seen and edited where they are."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from tests.fixes.taken_back import as_installed
from tests.fixes.tiny_models import GPTJ_SIZES, IDS, booted, compatible, made
from torch import Tensor

from tl_ext.fixes.transformerlens.delegated_attention_pattern_edits_dropped import SLUG

pytestmark = pytest.mark.usefixtures("fixed")

OLD: dict[str, Any] = {"num_key_value_heads": None}
FAMILIES: dict[str, dict[str, Any]] = {
    "GPTJConfig": GPTJ_SIZES,
    "GPTNeoConfig": OLD
    | {"num_heads": 3, "attention_types": [[["global", "local"], 1], [["global"], 1]]},
    "OPTConfig": OLD | {"ffn_dim": 40, "word_embed_proj_dim": 24},
    "XGLMConfig": OLD | {"d_model": 24, "ffn_dim": 40, "attention_heads": 3},
}
OUTPUT = {
    "GPTJConfig": "transformer.h.1.attn.out_proj",
    "GPTNeoConfig": "transformer.h.1.attn.attention.out_proj",
    "OPTConfig": "model.decoder.layers.1.self_attn.out_proj",
    "XGLMConfig": "model.layers.1.self_attn.out_proj",
}
SCORES, PATTERN = "blocks.1.attn.hook_attn_scores", "blocks.1.attn.hook_pattern"


def model(config: str, boot: Callable[..., Any] = booted) -> Any:
    return boot(made(config, **FAMILIES[config]))


def without_first_head(pattern: Tensor, hook: Any) -> Tensor:
    return torch.cat((torch.zeros_like(pattern[:, :1]), pattern[:, 1:]), dim=1)


@torch.no_grad()
@pytest.mark.parametrize(
    ("config", "boot"),
    # Folded value biases would reach the output past the pattern.
    [
        *((config, booted) for config in FAMILIES),
        ("GPTJConfig", partial(compatible, fold_value_biases=False)),
    ],
)
def test_a_head_without_pattern_is_the_plain_model_without_that_head(
    config: str, boot: Callable[..., Any]
) -> None:
    given = model(config, boot).run_with_hooks(IDS, fwd_hooks=[(PATTERN, without_first_head)])
    plain = made(config, **FAMILIES[config])

    def silence(module: Any, inputs: Any) -> Any:
        return (torch.cat((torch.zeros_like(inputs[0][..., :8]), inputs[0][..., 8:]), dim=-1),)

    plain.get_submodule(OUTPUT[config]).register_forward_pre_hook(silence)
    true = plain(IDS).logits
    torch.testing.assert_close(given.log_softmax(-1), true.log_softmax(-1), atol=1e-4, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("config", FAMILIES)
def test_scores_are_scores(config: str) -> None:
    bridge = model(config)
    logits, cache = bridge.run_with_cache(IDS)
    assert torch.equal(logits, bridge(IDS))
    torch.testing.assert_close(logits, made(config, **FAMILIES[config])(IDS).logits)
    assert cache[SCORES].shape == cache[PATTERN].shape == (2, 3, 6, 6)
    torch.testing.assert_close(cache[SCORES].softmax(-1), cache[PATTERN])

    def first_key_hidden(scores: Tensor, hook: Any) -> Tensor:
        scores = scores.clone()
        scores[..., 1:, 0] = -1e30
        return scores

    def renormalised(pattern: Tensor, hook: Any) -> Tensor:
        pattern = pattern.clone()
        pattern[..., 1:, 0] = 0
        return pattern / pattern.sum(-1, keepdim=True)

    one = bridge.run_with_hooks(IDS, fwd_hooks=[(SCORES, first_key_hidden)])
    other = bridge.run_with_hooks(IDS, fwd_hooks=[(PATTERN, renormalised)])
    torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
    assert (one - logits).abs().max() > 1e-3


@torch.no_grad()
@pytest.mark.parametrize("config", FAMILIES)
def test_each_fires_once_and_a_hooks_own_softmax_is_its_own(config: str) -> None:
    bridge = model(config)
    seen: list[str] = []

    def note(value: Tensor, hook: Any) -> Tensor:
        seen.append(hook.name.rpartition(".")[2])
        torch.nn.functional.softmax(value, dim=-1)
        return value

    names = ("hook_q", "hook_attn_scores", "hook_pattern", "hook_z")
    hooks = [(f"blocks.1.attn.{name}", note) for name in names]
    logits = bridge.run_with_hooks(IDS, fwd_hooks=hooks)
    assert seen.count("hook_attn_scores") == seen.count("hook_pattern") == 1
    assert torch.equal(logits, bridge(IDS))


@torch.no_grad()
@pytest.mark.parametrize(
    ("config", "dtype"),
    [
        *((config, torch.bfloat16) for config in FAMILIES),
        ("GPTJConfig", torch.float64),
        ("OPTConfig", torch.float64),
    ],
)
def test_half_and_double_precision(config: str, dtype: torch.dtype) -> None:
    bridge = booted(made(config, **FAMILIES[config]).to(dtype))
    logits, cache = bridge.run_with_cache(IDS)
    assert cache[PATTERN].dtype is dtype
    assert torch.equal(logits, bridge(IDS))


def test_gradients_pass_and_an_exception_leaves_nothing() -> None:
    bridge = model("GPTJConfig")
    found: list[Tensor] = []
    bridge.add_hook(PATTERN, lambda gradient, hook: found.append(gradient), dir="bwd")
    bridge(IDS)[0, -1, 5].backward()
    assert found[0].abs().max() > 0
    bridge.reset_hooks()

    def fails(value: Tensor, hook: Any) -> Tensor:
        raise KeyError(hook.name)

    component = bridge.blocks[1].attn.original_component
    before = len(component._forward_hooks)
    with pytest.raises(KeyError):
        bridge.run_with_hooks(IDS, fwd_hooks=[(PATTERN, fails)])
    assert len(component._forward_hooks) == before


@torch.no_grad()
def test_generation_with_and_without_a_cache() -> None:
    bridge = model("GPTJConfig")
    options = {"max_new_tokens": 4, "do_sample": False, "verbose": False, "return_type": "tokens"}
    with bridge.hooks(fwd_hooks=[(PATTERN, without_first_head)]):
        kept = bridge.generate(IDS[:1], use_past_kv_cache=True, **options)
        anew = bridge.generate(IDS[:1], use_past_kv_cache=False, **options)
    assert torch.equal(kept, anew)


@torch.no_grad()
@pytest.mark.parametrize("config", ["LlamaConfig", "Olmo2Config"])
def test_attention_that_upstream_computes_is_as_it_was(config: str) -> None:
    bridge = booted(made(config))
    fixed = bridge.run_with_hooks(IDS, fwd_hooks=[(PATTERN, without_first_head)])
    with as_installed(SLUG):
        before = bridge.run_with_hooks(IDS, fwd_hooks=[(PATTERN, without_first_head)])
    assert torch.equal(fixed, before)


@torch.no_grad()
def test_layers_with_heads_of_their_own_number() -> None:
    heads = [3, 2, 1]
    laguna = made(
        "LagunaConfig", num_attention_heads_per_layer=heads, mlp_layer_types=["dense"] * 3
    )
    bridge = booted(laguna)
    logits, cache = bridge.run_with_cache(IDS)
    assert [cache["pattern", layer].shape[1] for layer in range(3)] == heads
    assert torch.equal(logits, bridge(IDS))
