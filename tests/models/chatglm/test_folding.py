"""Compatibility mode folds every norm of a ChatGLM, so that attributions add up to the logits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.models.chatglm.checkpoints import original_config, original_weights, write_checkpoint
from torch import Tensor

import tl_ext
from tl_ext.models.loading import Processing
from tl_ext.upstream import stand_in_tokenizer

SIZES: dict[str, Any] = {
    "hidden_size": 24,
    "ffn_hidden_size": 40,
    "num_layers": 2,
    "num_attention_heads": 6,
    "kv_channels": 6,
    "padded_vocab_size": 50,
}
# The sizes of a square matrix do not tell its axes apart.
VARIANTS = {
    "three heads a group": {"multi_query_group_num": 2},
    "one group": {"multi_query_group_num": 1},
    "no multi-query": {"multi_query_attention": False},
    "no bias": {"multi_query_group_num": 2, "add_qkv_bias": False},
    "square": {"multi_query_group_num": 2, "ffn_hidden_size": 24},
}
IDS = torch.tensor([[5, 6, 7, 8, 9], [3, 13, 23, 20, 4]])
TOKEN, OTHER = torch.tensor([5, 11]), torch.tensor([9, 12])
FOLD = Processing(fold_layer_norm=True)
OPTIONS = {
    "compatibility": Processing.COMPATIBILITY,
    "fold_layer_norm": FOLD,
    "center_writing_weights": Processing(center_writing_weights=True),
    "center_unembed": Processing(center_unembed=True),
    "fold_value_biases": Processing(fold_value_biases=True),
}


def far_from_one(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Norms whose gains lie between 0.2 and 3, some of them negative."""
    generator = torch.Generator().manual_seed(3)
    for name, weight in weights.items():
        if "layernorm" in name:
            gains = 0.2 + 2.8 * torch.rand(weight.shape, generator=generator)
            weights[name] = gains * torch.randn(weight.shape, generator=generator).sign()
    return weights


@pytest.fixture(scope="module", params=VARIANTS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A checkpoint's folder, its config and its weights by their original names."""
    config = SIZES | VARIANTS[request.param]
    weights = far_from_one(original_weights(original_config(**config)))
    folder = write_checkpoint(tmp_path_factory.mktemp("chatglm"), weights=weights, **config)
    return folder, original_config(**config), weights


@pytest.fixture(scope="module")
def unprocessed(model: Any) -> Any:
    """What the model says as it is, and what its hook points hold."""
    with torch.no_grad():
        return load(model[0], Processing.RAW).run_with_cache(IDS)


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def load(folder: Path, processing: Processing) -> Any:
    return tl_ext.load_model(
        folder, tokenizer=stand_in_tokenizer(), device="cpu", processing=processing
    )


@pytest.mark.parametrize("option", OPTIONS)
def test_processing_keeps_what_the_model_says(
    model: Any, unprocessed: Any, option: str, recwarn: pytest.WarningsRecorder
) -> None:
    folder, config, _ = model
    want, before = unprocessed
    processed = load(folder, OPTIONS[option])
    assert not [one for one in recwarn if "fold_ln" in str(one.message)]
    got, after = processed.run_with_cache(IDS)
    torch.testing.assert_close(got.log_softmax(-1), want.log_softmax(-1), atol=1e-4, rtol=0)
    for point in ("hook_resid_pre", "hook_resid_post", "hook_attn_out", "hook_mlp_out"):
        name = f"blocks.1.{point}"
        torch.testing.assert_close(after[name], before[name], atol=1e-4, rtol=1e-5)
    norms = [norm for block in processed.blocks for norm in (block.ln1, block.ln2)]
    for norm in (*norms, processed.ln_final):
        folded = bool((norm.weight == 1).all())
        assert folded == OPTIONS[option].fold_layer_norm
    if OPTIONS[option].center_unembed:
        assert float(processed.W_U.mean(-1).abs().max()) < 1e-6
    if OPTIONS[option].fold_value_biases and config["add_qkv_bias"]:
        assert float(processed.b_V.abs().max()) == 0


@pytest.mark.parametrize("processing", [Processing.COMPATIBILITY, FOLD], ids=str)
def test_attributions_add_up_to_the_logits(model: Any, processing: Processing) -> None:
    bridge = load(model[0], processing)
    logits, cache = bridge.run_with_cache(IDS)
    rows = torch.arange(len(IDS))
    difference = logits[rows, -1, TOKEN] - logits[rows, -1, OTHER]
    parts = cache.decompose_resid(layer=-1, pos_slice=-1)
    by_part = cache.logit_attrs(parts, tokens=TOKEN, incorrect_tokens=OTHER, pos_slice=-1)
    torch.testing.assert_close(by_part.sum(0), difference, atol=1e-4, rtol=0)
    streams = cache.accumulated_resid(layer=-1, apply_ln=True, pos_slice=-1)
    torch.testing.assert_close(streams[-1] @ bridge.W_U + bridge.b_U, logits[:, -1])
    summed = cache.apply_ln_to_stack(parts, layer=-1, pos_slice=-1).sum(0)
    torch.testing.assert_close(summed @ bridge.W_U + bridge.b_U, logits[:, -1])
    heads = cache.stack_head_results(layer=-1, pos_slice=-1, incl_remainder=True)
    torch.testing.assert_close(heads.sum(0), cache["blocks.1.hook_resid_post"][:, -1])


@pytest.mark.parametrize("processing", [Processing.RAW, FOLD, Processing.COMPATIBILITY], ids=str)
def test_weights_are_the_checkpoint_s(model: Any, processing: Processing) -> None:
    folder, config, weights = model
    bridge = load(folder, processing)
    heads, head = config["num_attention_heads"], config["kv_channels"]
    groups = config["multi_query_group_num"] if config["multi_query_attention"] else heads
    fold, centre = processing.fold_layer_norm, processing.center_unembed

    def gain(name: str) -> Tensor:
        weight = weights[f"transformer.encoder.{name}.weight"]
        return weight if fold else torch.ones_like(weight)

    for layer in range(config["num_layers"]):
        place = f"layers.{layer}"
        at = {
            name.removeprefix(f"transformer.encoder.{place}."): weight
            for name, weight in weights.items()
        }
        fused, bias = (
            at.get(f"self_attention.query_key_value.{kind}") for kind in ("weight", "bias")
        )
        assert fused is not None
        if config["multi_query_attention"]:
            sizes = [heads * head, groups * head, groups * head]
            parts = [part.unflatten(0, (-1, head)) for part in fused.split(sizes)]
            shifts = (
                None if bias is None else [b.unflatten(0, (-1, head)) for b in bias.split(sizes)]
            )
        else:
            parts = list(fused.unflatten(0, (heads, 3, head)).unbind(1))
            shifts = None if bias is None else list(bias.unflatten(0, (heads, 3, head)).unbind(1))
        read = gain(f"{place}.input_layernorm")
        for name, part in zip("QKV", parts, strict=True):
            held = getattr(bridge, f"W_{name}")[layer]
            torch.testing.assert_close(held, (part * read).transpose(1, 2))
        out = at["self_attention.dense.weight"].unflatten(1, (heads, head)).permute(1, 2, 0)
        torch.testing.assert_close(bridge.W_O[layer], out)
        if shifts is not None:
            torch.testing.assert_close(bridge.b_Q[layer], shifts[0])
            torch.testing.assert_close(bridge.b_K[layer], shifts[1])
            folded = processing.fold_value_biases
            value = torch.zeros_like(shifts[2]) if folded else shifts[2]
            torch.testing.assert_close(bridge.b_V[layer], value)
            if folded:
                each = shifts[2].repeat_interleave(heads // groups, dim=0)
                moved = torch.einsum("hd,hdm->m", each, out)
                torch.testing.assert_close(bridge.b_O[layer], moved)
        read = gain(f"{place}.post_attention_layernorm")
        gate, up = at["mlp.dense_h_to_4h.weight"].chunk(2)
        torch.testing.assert_close(bridge.W_gate[layer], (gate * read).T)
        torch.testing.assert_close(bridge.W_in[layer], (up * read).T)
        torch.testing.assert_close(bridge.W_out[layer], at["mlp.dense_4h_to_h.weight"].T)
    embedding = weights["transformer.embedding.word_embeddings.weight"]
    torch.testing.assert_close(bridge.W_E, embedding)
    unembedding = (weights["transformer.output_layer.weight"] * gain("final_layernorm")).T
    if centre:
        unembedding = unembedding - unembedding.mean(-1, keepdim=True)
    torch.testing.assert_close(bridge.W_U, unembedding)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_half_and_says_the_same(tmp_path: Path, dtype: torch.dtype) -> None:
    """Published weights come in half precision; folding makes a bias that had none."""
    folder = write_checkpoint(tmp_path / "chatglm", dtype=dtype)
    want = load(folder, Processing.RAW)(IDS).log_softmax(-1)
    processed = tl_ext.load_model(
        folder,
        tokenizer=stand_in_tokenizer(),
        device="cpu",
        dtype=dtype,
        processing=Processing.COMPATIBILITY,
    )
    assert {parameter.dtype for parameter in processed.parameters()} == {dtype}
    got = processed(IDS)
    assert got.dtype == dtype
    torch.testing.assert_close(got.float().log_softmax(-1), want, atol=0.1, rtol=0)
