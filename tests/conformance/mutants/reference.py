"""The models that faults are planted in: tiny, of random weights, right under the recommended fixes."""

from __future__ import annotations

from typing import Any

import transformers as hf

from tl_ext.conformance.examples import Example, subject_of
from tl_ext.conformance.spec import DEFAULT, ConformanceSpec
from tl_ext.conformance.subject import Subject

IDS = ((7, 19, 3, 44, 12), (33, 5, 58, 21, 9))
"""Two rows, so that what is done to the first alone shows."""

GATED: dict[str, Any] = {
    "vocab_size": 61,
    "hidden_size": 12,
    "intermediate_size": 14,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 4,
    "max_position_embeddings": 32,
}


def gpt2(layers: int) -> hf.PretrainedConfig:
    return hf.GPT2Config(vocab_size=61, n_embd=12, n_layer=layers, n_head=3, n_positions=32)


def llama(layers: int) -> hf.PretrainedConfig:
    return hf.LlamaConfig(num_hidden_layers=layers, **GATED)


def gptj(layers: int) -> hf.PretrainedConfig:
    return hf.GPTJConfig(
        vocab_size=61, n_embd=12, n_layer=layers, n_head=3, n_positions=32, rotary_dim=4
    )


def gemma2(layers: int) -> hf.PretrainedConfig:
    return hf.Gemma2Config(num_hidden_layers=layers, final_logit_softcapping=None, **GATED)


MODELS = {
    "gpt2": (gpt2, DEFAULT),
    "llama": (llama, DEFAULT),
    "gptj": (gptj, DEFAULT - {"sequential-block"} | {"parallel-block"}),
    "gemma2": (gemma2, DEFAULT | {"post-norm"}),
}
"""Biases and learned positions; grouped values; a bias of the unembedding; norms after each part."""


def model(name: str, layers: int) -> Subject:
    """One of the models, made anew."""
    config, capabilities = MODELS[name]
    spec = ConformanceSpec(name, lambda draw: config(layers), capabilities)
    return subject_of(spec, Example(config(layers), 0, IDS))
