"""Tiny checkpoints in the original ChatGLM layout, made without the conversion that is tested.

The published config.json files with their own keys, and seeded random weights under the original names.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

_AUTO_MAP = {
    "AutoConfig": "configuration_chatglm.ChatGLMConfig",
    "AutoModel": "modeling_chatglm.ChatGLMForConditionalGeneration",
    "AutoModelForCausalLM": "modeling_chatglm.ChatGLMForConditionalGeneration",
    "AutoModelForSeq2SeqLM": "modeling_chatglm.ChatGLMForConditionalGeneration",
    "AutoModelForSequenceClassification": "modeling_chatglm.ChatGLMForSequenceClassification",
}

# What THUDM/chatglm3-6b's config.json says, with small sizes.
CHATGLM3: dict[str, Any] = {
    "model_type": "chatglm",
    "architectures": ["ChatGLMModel"],
    "auto_map": _AUTO_MAP,
    "add_bias_linear": False,
    "add_qkv_bias": True,
    "apply_query_key_layer_scaling": True,
    "apply_residual_connection_post_layernorm": False,
    "attention_dropout": 0.0,
    "attention_softmax_in_fp32": True,
    "bias_dropout_fusion": True,
    "ffn_hidden_size": 48,
    "fp32_residual_connection": False,
    "hidden_dropout": 0.0,
    "hidden_size": 32,
    "kv_channels": 8,
    "layernorm_epsilon": 1e-05,
    "multi_query_attention": True,
    "multi_query_group_num": 2,
    "num_attention_heads": 4,
    "num_layers": 2,
    "original_rope": True,
    "padded_vocab_size": 128,
    "post_layer_norm": True,
    "rmsnorm": True,
    "seq_length": 64,
    "use_cache": True,
    "torch_dtype": "float32",
    "transformers_version": "4.30.2",
    "tie_word_embeddings": False,
    "eos_token_id": 2,
    "pad_token_id": 0,
}


def original_config(**changes: Any) -> dict[str, Any]:
    """A config.json of ChatGLM3 with other values; a key set to `...` is left out."""
    return {key: value for key, value in {**CHATGLM3, **changes}.items() if value is not ...}


def original_weights(config: dict[str, Any], *, seed: int = 0) -> dict[str, Tensor]:
    """Seeded random weights under the original names, float32, with the stored rotary table.

    Large enough that a mistake in the layout changes the logits by much more than rounding.
    """
    width, heads, head = (config[k] for k in ("hidden_size", "num_attention_heads", "kv_channels"))
    mlp, words = config["ffn_hidden_size"], config["padded_vocab_size"]
    shared = config.get("multi_query_attention", False)
    groups = config.get("multi_query_group_num", 1) if shared else heads
    fused = (heads + 2 * groups) * head
    generator = torch.Generator().manual_seed(seed)

    def matrix(rows: int, columns: int) -> Tensor:
        return torch.randn(rows, columns, generator=generator) * columns**-0.5

    def vector(size: int, around: float) -> Tensor:
        return around + 0.3 * torch.randn(size, generator=generator)

    weights = {
        "transformer.embedding.word_embeddings.weight": matrix(words, width) * width**0.5,
        "transformer.rotary_pos_emb.inv_freq": 1e4 ** -torch.arange(0, 1, 2 / max(head // 2, 1)),
        "transformer.encoder.final_layernorm.weight": vector(width, 1.0),
        "transformer.output_layer.weight": matrix(words, width),
    }
    for layer in range(config["num_layers"]):
        block = {
            "input_layernorm.weight": vector(width, 1.0),
            "post_attention_layernorm.weight": vector(width, 1.0),
            "self_attention.query_key_value.weight": matrix(fused, width),
            "self_attention.dense.weight": matrix(width, heads * head),
            "mlp.dense_h_to_4h.weight": matrix(2 * mlp, width),
            "mlp.dense_4h_to_h.weight": matrix(width, mlp),
        }
        if config.get("add_qkv_bias", False):
            block["self_attention.query_key_value.bias"] = vector(fused, 0.0)
        weights |= {f"transformer.encoder.layers.{layer}.{k}": w for k, w in block.items()}
    return weights


def write_checkpoint(
    folder: Path,
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    shards: int = 1,
    suffix: str = "safetensors",
    weights: dict[str, Tensor] | None = None,
    **config: Any,
) -> Path:
    """A checkpoint folder as it is published, tokenizer files left out.

    Args:
        folder: Where to write; made where it is missing.
        seed: Of the weights.
        dtype: Of the weights, and config.json's torch_dtype.
        shards: Number of weight files; more than one come with an index.
        suffix: `"safetensors"` or `"bin"`.
        weights: To be written instead of random ones.
        config: Keys of config.json that differ from ChatGLM3's; `...` leaves a key out.

    Returns:
        The folder.
    """
    named = str(dtype).removeprefix("torch.")
    stated = original_config(**{"torch_dtype": named, **config})
    if weights is None:
        weights = original_weights(stated, seed=seed)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(stated, indent=2), encoding="utf-8")
    write_weights(folder, {k: w.to(dtype) for k, w in weights.items()}, shards, suffix)
    return folder


def write_weights(folder: Path, weights: dict[str, Tensor], shards: int, suffix: str) -> None:
    """Weights in one file, or in several with their index, under the published file names."""
    stem = {"safetensors": "model", "bin": "pytorch_model"}[suffix]
    names = list(weights)
    files = {}
    for shard in range(shards):
        part = f"-{shard + 1:05}-of-{shards:05}" if shards > 1 else ""
        files[f"{stem}{part}.{suffix}"] = names[shard::shards]
    for file, held in files.items():
        tensors = {name: weights[name].contiguous() for name in held}
        if suffix == "bin":
            torch.save(tensors, folder / file)
        else:
            save_file(tensors, folder / file, metadata={"format": "pt"})
    if shards > 1:
        size = sum(weight.nbytes for weight in weights.values())
        index = {
            "metadata": {"total_size": size},
            "weight_map": {name: file for file, held in files.items() for name in held},
        }
        (folder / f"{stem}.{suffix}.index.json").write_text(json.dumps(index), encoding="utf-8")
