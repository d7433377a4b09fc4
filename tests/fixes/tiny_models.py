"""Tiny random models of many families, and bridges of them, for the tests of fixes."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
import transformers as hf
from tests.tiny import CONTEXT, LAYERS, VOCABULARY, WIDTH, make_tiny_model

from tl_ext import fixes
from tl_ext.upstream import stand_in_tokenizer

IDS = torch.tensor([[4, 9, 30, 7, 51, 2], [8, 8, 17, 60, 5, 33]])
SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": WIDTH,
    "intermediate_size": 28,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 3,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "max_position_embeddings": CONTEXT,
    "bos_token_id": 2,
    "eos_token_id": 2,
    "pad_token_id": 2,
}
"""Of a decoder in the words of Llama's config; a family's own words stand beside them."""
GPT2_SIZES: dict[str, Any] = {
    "n_embd": WIDTH,
    "n_layer": LAYERS,
    "n_head": 3,
    "n_positions": CONTEXT,
    "num_key_value_heads": None,
}
"""The same sizes in the words of GPT-2's config."""
GPTJ_SIZES = GPT2_SIZES | {"rotary_dim": 4}


def made(config: str, **changes: Any) -> hf.PreTrainedModel:
    """A model of a config's class, with weights, biases and gains large enough to matter."""
    state = torch.random.get_rng_state()
    torch.manual_seed(0)
    settings = getattr(hf, config)(**SIZES | changes)
    model = hf.AutoModelForCausalLM.from_config(settings, attn_implementation="eager").eval()
    for parameter in model.parameters():
        parameter.data.add_(0.2 * torch.randn_like(parameter))
    torch.random.set_rng_state(state)
    model.config.architectures = [type(model).__name__]
    return model


def booted(model: hf.PreTrainedModel, tokenizer: Any = None) -> Any:
    """A bridge of a model, in the model's own type; with a stand-in where no tokenizer is given."""
    from transformer_lens.model_bridge import TransformerBridge

    return TransformerBridge.boot_transformers(
        "tiny",
        hf_model=model,
        tokenizer=stand_in_tokenizer() if tokenizer is None else tokenizer,
        device="cpu",
        dtype=model.dtype,
    )


def compatible(model: hf.PreTrainedModel, **options: Any) -> Any:
    """The same in compatibility mode; `options` are those of `enable_compatibility_mode`."""
    bridge = booted(model)
    with warnings.catch_warnings(action="ignore"):
        bridge.enable_compatibility_mode(disable_warnings=True, **options)
    return bridge


def folded(family: str, *slugs: str) -> dict[str, torch.Tensor]:
    """What a model of a family of `tests.tiny` holds, booted and folded under these fixes."""
    with fixes.applied(*slugs):
        bridge = make_tiny_model(family)
        bridge.enable_compatibility_mode(disable_warnings=True)
    return bridge.state_dict()


def assert_same_tensors(
    before: Mapping[str, torch.Tensor], after: Mapping[str, torch.Tensor]
) -> None:
    """The same names, and not a bit of difference."""
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
