"""Blocks that norm what they add to the residual stream."""

from __future__ import annotations

from tl_ext.conformance.families.drawing import (
    POST_NORM,
    TIED,
    WIDE_HEADS,
    WINDOW_KINDS,
    either,
    family,
)

_BIAS = either(False, True)
_CAPPED = POST_NORM - {"plain-unembedding"}

SPECS = (
    family(
        "Olmo2ForCausalLM",
        "Olmo2Config",
        can=POST_NORM,
        tie_word_embeddings=TIED,
        attention_bias=_BIAS,
    ),
    family(
        "Olmo3ForCausalLM",
        "Olmo3Config",
        can=POST_NORM,
        tie_word_embeddings=TIED,
        attention_bias=_BIAS,
        sliding_window=3,
        layer_types=WINDOW_KINDS,
    ),
    family(
        "Exaone4ForCausalLM",
        "Exaone4Config",
        can=POST_NORM,
        tie_word_embeddings=TIED,
        sliding_window=3,
        layer_types=WINDOW_KINDS,
    ),
    family(
        "Glm4ForCausalLM",
        "Glm4Config",
        WIDE_HEADS,
        can=POST_NORM,
        tie_word_embeddings=TIED,
        attention_bias=_BIAS,
    ),
    family(
        "Gemma2ForCausalLM",
        "Gemma2Config",
        WIDE_HEADS,
        can=_CAPPED,
        attention_bias=_BIAS,
        query_pre_attn_scalar=7,
        attn_logit_softcapping=either(50.0, None),
        final_logit_softcapping=either(30.0, None),
        sliding_window=3,
        layer_types=WINDOW_KINDS,
    ),
    family(
        "Gemma3ForCausalLM",
        "Gemma3TextConfig",
        WIDE_HEADS,
        can=POST_NORM,
        attention_bias=_BIAS,
        query_pre_attn_scalar=7,
        sliding_window=3,
        layer_types=WINDOW_KINDS,
    ),
)
