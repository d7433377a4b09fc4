"""From the original names and layout of the weights to transformers' GLM, and back when saving.

transformers applies these while it loads, tensor by tensor, and their reverse in `save_pretrained`.

Source: the original modelling code of THUDM/chatglm3-6b and THUDM/glm-4-9b-chat, whose attention
fuses queries, keys and values in one matrix and whose MLP fuses gate and up projection as GLM does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.core_model_loading import (
    ConversionOps,
    WeightConverter,
    WeightRenaming,
)

from tl_ext.models.chatglm.configuration import ChatGLMConfig

Mapping = list[WeightConverter | WeightRenaming]


def language_model_mapping() -> Mapping:
    """The transforms for a model with a head, whose decoder is its attribute `model`."""
    head = WeightRenaming(r"^transformer\.output_layer\.", r"^lm_head\.")
    return [*_mapping(r"model\."), head]


def decoder_mapping() -> Mapping:
    """The transforms for the bare decoder."""
    return _mapping("")


def _mapping(prefix: str) -> Mapping:
    # Anchored: in reverse, `norm.` would also match the end of `input_layernorm.`.
    renamed = {
        r"^transformer\.embedding\.word_embeddings\.": rf"^{prefix}embed_tokens\.",
        r"^transformer\.encoder\.layers\.": rf"^{prefix}layers\.",
        r"^transformer\.encoder\.final_layernorm\.": rf"^{prefix}norm\.",
        r"\.self_attention\.dense\.": r"\.self_attn\.o_proj\.",
        r"\.mlp\.dense_h_to_4h\.": r"\.mlp\.gate_up_proj\.",
        r"\.mlp\.dense_4h_to_h\.": r"\.mlp\.down_proj\.",
    }
    fused = [
        WeightConverter(
            f"self_attention.query_key_value.{kind}",
            [f"self_attn.{name}_proj.{kind}" for name in "qkv"],
            operations=[SplitHeads()],
        )
        for kind in ("weight", "bias")
    ]
    return [*(WeightRenaming(old, new) for old, new in renamed.items()), *fused]


class SplitHeads(ConversionOps):
    """The fused rows of queries, keys and values, taken apart.

    With multi-query attention the rows are all heads' queries, then all groups' keys, then all
    groups' values; without it they are, head by head, its query, its key and its value.
    """

    @torch.no_grad()
    def convert(
        self,
        input_dict: dict[str, Any],
        source_patterns: list[str],
        target_patterns: list[str],
        **kwargs: Any,
    ) -> dict[str, Any]:
        config: ChatGLMConfig = kwargs["config"]
        heads, groups, size = _layout(config)
        (fused,) = (_single(tensors) for tensors in input_dict.values())
        parts: Sequence[Tensor]
        if config.multi_query_attention:
            # Views of whole rows: nothing is copied.
            parts = fused.split([heads * size, groups * size, groups * size])
        else:
            by_head = fused.view(heads, 3, size, *fused.shape[1:])
            parts = [by_head[:, part].flatten(0, 1) for part in range(3)]
        return dict(zip(target_patterns, parts, strict=True))

    @property
    def reverse_op(self) -> ConversionOps:
        return FuseHeads()


class FuseHeads(ConversionOps):
    """Queries, keys and values in the rows of one matrix: `SplitHeads` the other way."""

    @torch.no_grad()
    def convert(
        self,
        input_dict: dict[str, Any],
        source_patterns: list[str],
        target_patterns: list[str],
        **kwargs: Any,
    ) -> dict[str, Any]:
        config: ChatGLMConfig = kwargs["config"]
        heads, _, size = _layout(config)
        parts = [_single(input_dict.pop(pattern)) for pattern in source_patterns]
        if config.multi_query_attention:
            fused = torch.cat(parts)
        else:
            by_head = [part.unflatten(0, (heads, size)) for part in parts]
            fused = torch.stack(by_head, dim=1).flatten(0, 2)
        return {target_patterns[0]: fused}

    @property
    def reverse_op(self) -> ConversionOps:
        return SplitHeads()


def _layout(config: ChatGLMConfig) -> tuple[int, int, int]:
    """How many heads have queries, how many have keys and values, and how wide a head is."""
    groups, size = config.num_key_value_heads, config.head_dim
    assert groups is not None and size is not None  # settled when the config was made
    return config.num_attention_heads, groups, size


def _single(tensors: list[Tensor] | Tensor) -> Tensor:
    return tensors[0] if isinstance(tensors, list) else tensors
