"""Makes transformers know model type "chatglm", so that no remote code is needed.

Additive: what is registered already is left as it is.
"""

from __future__ import annotations

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
)
from transformers.conversion_mapping import (
    get_checkpoint_conversion_mapping,
    register_checkpoint_conversion_mapping,
)

from tl_ext.models.chatglm import conversion
from tl_ext.models.chatglm.configuration import ChatGLMConfig
from tl_ext.models.chatglm.modeling import (
    ChatGLMForConditionalGeneration,
    ChatGLMForSequenceClassification,
    ChatGLMModel,
)
from tl_ext.models.chatglm.tokenization import register_tokenizers


def register() -> None:
    """Teach transformers config, models, the layout of their weights and tokenizers. Idempotent."""
    AutoConfig.register(ChatGLMConfig.model_type, ChatGLMConfig, exist_ok=True)
    AutoModel.register(ChatGLMConfig, ChatGLMModel, exist_ok=True)
    AutoModelForCausalLM.register(ChatGLMConfig, ChatGLMForConditionalGeneration, exist_ok=True)
    AutoModelForSequenceClassification.register(
        ChatGLMConfig, ChatGLMForSequenceClassification, exist_ok=True
    )
    mappings = {
        ChatGLMConfig.model_type: conversion.language_model_mapping,
        ChatGLMModel.__name__: conversion.decoder_mapping,  # a class's name goes before its type
    }
    for name, mapping in mappings.items():
        if get_checkpoint_conversion_mapping(name) is None:
            register_checkpoint_conversion_mapping(name, mapping())
    register_tokenizers()
