"""The published names of the models, on transformers' GLM, which computes the same function.

The two differ in the layout of weights and config alone, so there is no second attention here. In
half precision they agree up to rounding: the original multiplies a normalised activation by the norm's
weight before it rounds, GLM after.
"""

from __future__ import annotations

from transformers import GlmForCausalLM, GlmModel

from tl_ext.models.chatglm.configuration import ChatGLMConfig

# A table computed from the config, which published checkpoints carry all the same.
_COMPUTED = [r"rotary_pos_emb\.inv_freq$"]


class ChatGLMModel(GlmModel):
    """The decoder without its head."""

    config: ChatGLMConfig
    config_class = ChatGLMConfig
    _keys_to_ignore_on_load_unexpected = _COMPUTED


class ChatGLMForConditionalGeneration(GlmForCausalLM):
    """The language model, under the name that published checkpoints give it."""

    config: ChatGLMConfig
    config_class = ChatGLMConfig
    _keys_to_ignore_on_load_unexpected = _COMPUTED
