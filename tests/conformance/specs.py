"""Architectures for the tests of the checks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import transformers as hf
from hypothesis import strategies as st

from tl_ext.conformance.spec import DEFAULT, ConformanceSpec

Draw = Callable[[Any], Any]


def gpt2(draw: Draw) -> hf.PretrainedConfig:
    heads = draw(st.integers(1, 3))
    return hf.GPT2Config(
        vocab_size=61,
        n_embd=4 * heads,
        n_layer=draw(st.integers(1, 2)),
        n_head=heads,
        n_positions=32,
    )


def llama(draw: Draw) -> hf.PretrainedConfig:
    shared = draw(st.integers(1, 2))
    return hf.LlamaConfig(
        vocab_size=61,
        hidden_size=12,
        intermediate_size=14,
        num_hidden_layers=draw(st.integers(1, 2)),
        num_attention_heads=shared * draw(st.integers(1, 2)),
        num_key_value_heads=shared,
        head_dim=4,
        max_position_embeddings=32,
    )


def gptj(draw: Draw) -> hf.PretrainedConfig:
    return hf.GPTJConfig(
        vocab_size=61,
        n_embd=12,
        n_layer=draw(st.integers(1, 2)),
        n_head=3,
        n_positions=32,
        rotary_dim=4,
        bos_token_id=2,
        eos_token_id=2,
    )


GPT2 = ConformanceSpec("GPT2LMHeadModel", gpt2)
LLAMA = ConformanceSpec("LlamaForCausalLM", llama)
GPTJ = ConformanceSpec("GPTJForCausalLM", gptj, DEFAULT - {"sequential-block"} | {"parallel-block"})

# Of a list of texts padded on the right upstream makes no mask, so its loss counts padding.
UNFIXED = {"the-loss-of-texts-leaves-padding-out"}
"""Checks that fail in every architecture and that no fix mends."""
