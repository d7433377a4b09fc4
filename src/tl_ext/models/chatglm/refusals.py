"""Configurations that transformers' GLM cannot represent, each refused by name.

A config is checked when it is made, which is before any weight is read. Keys that change nothing in a
forward pass are let through: `apply_query_key_layer_scaling` cancels out, `attention_softmax_in_fp32`
and `bias_dropout_fusion` choose between kernels of the same function, `original_rope` is stored by the
original code and never read, `fp32_residual_connection` is what a float32 model does anyway (in half
precision the original code does not run with it), dropout acts in training alone, and quantisation to
0 bits is none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import torch

from tl_ext.errors import UnsupportedModelError

Config = Mapping[str, Any]

_V1_KEYS = ("position_encoding_2d", "inner_hidden_size", "max_sequence_length")
_VISION_KEYS = ("vision_config", "boi_token_id", "eoi_token_id", "cross_hidden_size")
_NAMED = 6  # missing weights named in a message
_GATED_SILU = (None, "silu", "swish", "swiglu")
_SIZES = {  # transformers' names, and the original ones that a reader of config.json knows
    "hidden_size": "hidden_size",
    "intermediate_size": "ffn_hidden_size",
    "num_hidden_layers": "num_layers",
    "num_attention_heads": "num_attention_heads",
    "vocab_size": "padded_vocab_size",
    "max_position_embeddings": "seq_length",
}


def refuse(config: Config) -> None:
    """Refuse a configuration that could only be computed wrongly.

    Args:
        config: Original keys under transformers' names where those exist, and all others as given.

    Raises:
        UnsupportedModelError: It cannot be represented; the message names the key and its value.
    """
    for rule in _RULES:
        for reason in rule(config):
            raise UnsupportedModelError(
                f"This ChatGLM checkpoint cannot be loaded: {reason} Nothing of it was read."
            )


def refuse_missing(missing: Iterable[str]) -> None:
    """Refuse a checkpoint whose files lack weights.

    transformers puts random numbers in their place and logs it as a warning, and TransformerLens shows
    nothing of transformers' below an error.

    Args:
        missing: The weights that stood in no file, in transformers' names.

    Raises:
        UnsupportedModelError: There are any; the message names the first of them.
    """
    names = sorted(missing)
    if names:
        shown = ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
        raise UnsupportedModelError(
            f"This ChatGLM checkpoint cannot be loaded: weights are in none of its files, {len(names)} of "
            f"them, in transformers' names {shown}. Random numbers would stand in their place; fetch the "
            "checkpoint again, all its shards and their index, or load the decoder through AutoModel "
            "where the head alone is missing."
        )


def refuse_unconverted(errors: Iterable[str]) -> None:
    """Refuse a checkpoint some of whose fused weights could not be taken apart.

    transformers refuses it too, in a table that TransformerLens does not show.

    Args:
        errors: Those weights, in transformers' names.

    Raises:
        UnsupportedModelError: There are any; the message names the first of them.
    """
    names = sorted(errors)
    if names:
        shown = ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
        raise UnsupportedModelError(
            f"This ChatGLM checkpoint cannot be loaded: {len(names)} of its weights, in transformers' "
            f"names {shown}, do not come apart into queries, keys and values with the "
            "num_attention_heads, kv_channels and multi_query_group_num of config.json. Take config.json "
            "and weights of one checkpoint."
        )


def refuse_misshapen(misshapen: Iterable[tuple[str, Sequence[int], Sequence[int]]]) -> None:
    """Refuse a checkpoint whose weights are not of the sizes that its config gives.

    transformers refuses it too, in a table that TransformerLens does not show.

    Args:
        misshapen: Weights in transformers' names, with the shape in the files and the one expected.

    Raises:
        UnsupportedModelError: There are any; the message names the first of them.
    """
    found = sorted((name, tuple(stored), tuple(wanted)) for name, stored, wanted in misshapen)
    if found:
        shown = "; ".join(f"{name} is {old}, not {new}" for name, old, new in found[:_NAMED])
        raise UnsupportedModelError(
            f"This ChatGLM checkpoint cannot be loaded: {len(found)} of its weights are not of the size "
            f"that config.json gives, in transformers' names {shown}"
            f"{'; ...' if len(found) > _NAMED else ''}. Take config.json and weights of one checkpoint."
        )


def _first_generation(config: Config) -> Iterator[str]:
    for key in _V1_KEYS:
        if config.get(key):
            yield (
                f"it is ChatGLM-6B of the first generation ({key}={config[key]!r}), another architecture "
                "under the same model_type. ChatGLM2, ChatGLM3 and GLM-4 are known."
            )


def _vision(config: Config) -> Iterator[str]:
    for key in _VISION_KEYS:
        if config.get(key) is not None:
            yield f"it reads images ({key} is set), as glm-4v and cogagent do; text models are known."


def _sequence_classification(config: Config) -> Iterator[str]:
    for name in config.get("architectures") or ():
        if "Classification" in name:
            yield (
                f"it is a {name}, whose classification head has no counterpart here. Load the language "
                "model it was made from, or the decoder alone through AutoModel after setting "
                'architectures to ["ChatGLMModel"].'
            )


def _prefix_tuning(config: Config) -> Iterator[str]:
    if config.get("pre_seq_len"):
        yield (
            f"it has learned prefixes (P-tuning, pre_seq_len={config['pre_seq_len']!r}), which every "
            "layer's attention would have to read."
        )
    elif config.get("prefix_projection"):
        yield "it has learned prefixes (P-tuning, prefix_projection=True)."


def _quantised(config: Config) -> Iterator[str]:
    if config.get("quantization_bit"):
        yield (
            f"its weights are quantised (quantization_bit={config['quantization_bit']!r}); take the "
            "checkpoint in half precision."
        )
    if config.get("quantization_config"):
        yield (
            "its weights are quantised (quantization_config is set); take the checkpoint in half "
            "precision and quantise it while loading if need be."
        )


def _residual_after_norm(config: Config) -> Iterator[str]:
    if config.get("apply_residual_connection_post_layernorm"):
        yield (
            "apply_residual_connection_post_layernorm=True takes the residual connection after the "
            "norm; GLM takes it before."
        )


def _final_norm(config: Config) -> Iterator[str]:
    if not config.get("post_layer_norm", True):
        yield "post_layer_norm=False leaves out the final norm, which GLM always has."


def _layer_norm(config: Config) -> Iterator[str]:
    if not config.get("rmsnorm", True):
        yield "rmsnorm=False means LayerNorm with a bias; GLM has RMSNorm."


def _linear_bias(config: Config) -> Iterator[str]:
    if config.get("add_bias_linear"):
        yield (
            "add_bias_linear=True puts biases on the attention's output and the MLP; GLM has biases on "
            "queries, keys and values alone (add_qkv_bias)."
        )


def _activation(config: Config) -> Iterator[str]:
    for key in ("hidden_act", "activation_func", "activation_function"):
        if config.get(key) not in _GATED_SILU:
            yield f"{key}={config[key]!r} is not the gated SiLU that this architecture has."


def _layout(config: Config) -> Iterator[str]:
    if config.get("interleaved_qkv"):
        yield "interleaved_qkv=True orders the fused queries, keys and values in a way not known here."


def _rotary(config: Config) -> Iterator[str]:
    part = config.get("rotary_percent")
    if part is not None and part != 0.5:
        yield f"rotary_percent={part!r}, but half of each head is rotated in this architecture."
    ratio = config.get("rope_ratio", 1)
    if not _number(ratio) or not 0 < ratio < float("inf"):
        yield f"rope_ratio={ratio!r}, expected a positive number."
    if config.get("rope_scaling"):
        yield (
            f"rope_scaling={config['rope_scaling']!r} is no key of the original code, which knows "
            "rope_ratio alone."
        )
    theta = config.get("rope_theta")
    if theta is not None and theta != 10000 * ratio:
        yield f"rope_theta={theta!r}, but the original code has 10000 times rope_ratio={ratio!r}."


def _sizes(config: Config) -> Iterator[str]:
    for key, original in _SIZES.items():
        if not _positive(config[key]):
            yield f"{original}={config[key]!r}, expected a positive whole number."
    head_dim = config["head_dim"]
    if head_dim is not None and not _positive(head_dim):
        yield f"kv_channels={head_dim!r}, expected a positive whole number."
    epsilon = config["rms_norm_eps"]
    if not _number(epsilon) or not epsilon >= 0:
        yield f"layernorm_epsilon={epsilon!r}, expected a number that is not negative."


def _groups(config: Config) -> Iterator[str]:
    heads, groups = config["num_attention_heads"], config.get("multi_query_group_num")
    if not config.get("multi_query_attention") or groups is None:
        return
    if not _positive(groups):
        yield f"multi_query_group_num={groups!r}, expected a positive whole number."
    if heads % groups:
        yield (
            f"num_attention_heads={heads} is not a multiple of multi_query_group_num={groups}, so the "
            "heads cannot share keys and values evenly."
        )


def _dtype(config: Config) -> Iterator[str]:
    for key in ("torch_dtype", "dtype"):
        value = config.get(key)
        named = getattr(torch, value, None) if isinstance(value, str) else value
        if value is not None and not (isinstance(named, torch.dtype) and named.is_floating_point):
            yield f"{key}={value!r}, expected a floating-point dtype such as 'float16'."


def _number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _positive(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) > 0


# In this order: what makes another architecture first, then single keys.
_RULES: tuple[Callable[[Config], Iterator[str]], ...] = (
    _first_generation,
    _vision,
    _sequence_classification,
    _prefix_tuning,
    _quantised,
    _residual_after_norm,
    _final_norm,
    _layer_norm,
    _linear_bias,
    _activation,
    _sizes,
    _groups,
    _layout,
    _rotary,
    _dtype,
)
