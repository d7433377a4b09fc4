"""Architectures that this package brings; building one registers them, for the whole process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from tl_ext.conformance.families.drawing import CONTEXT, VOCABULARY, WIDE_HEADS, drawn_sizes
from tl_ext.conformance.families.known import known_of
from tl_ext.conformance.spec import DEFAULT, ConformanceSpec

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel


def _chatglm(draw: Callable[[Any], Any]) -> PretrainedConfig:
    from hypothesis import strategies as st

    from tl_ext.models.chatglm.configuration import ChatGLMConfig

    sizes = drawn_sizes(draw, WIDE_HEADS)
    given: Mapping[str, Any] = {
        "padded_vocab_size": VOCABULARY,
        "num_layers": sizes.layers,
        "hidden_size": sizes.width,
        "ffn_hidden_size": sizes.width + 4,
        "num_attention_heads": sizes.heads,
        "kv_channels": draw(st.sampled_from((4, 8))),
        "multi_query_attention": True,
        "multi_query_group_num": sizes.shared,
        "seq_length": CONTEXT,
        "add_qkv_bias": draw(st.booleans()),
        "original_rope": True,
        "eos_token_id": 2,
        "pad_token_id": draw(st.sampled_from((0, 2))),
    }
    return ChatGLMConfig(**given)


def _build_chatglm(config: PretrainedConfig) -> PreTrainedModel:
    from tl_ext.conformance.spec import from_config
    from tl_ext.models.activation import activate

    activate(quiet=True)
    return from_config(config)


SPECS = tuple(
    ConformanceSpec(name, _chatglm, DEFAULT, known_of(DEFAULT, {}), _build_chatglm)
    for name in ("ChatGLMForConditionalGeneration", "ChatGLMModel")
)
