"""Blocks whose MLP reads what their attention reads."""

from __future__ import annotations

from tl_ext.conformance.families.drawing import (
    GPT2,
    OWN_KEYS,
    PARALLEL,
    TIED,
    WIDE_HEADS,
    WINDOW_KINDS,
    Of,
    Words,
    either,
    family,
)
from tl_ext.conformance.families.known import DELEGATED, GENERATION, LOGITS, in_39

_BIAS = either(False, True)
_SCALED = PARALLEL - {"plain-unembedding"}

_ROTATION = (
    "rotates halves, where Cohere's rotary embedding rotates neighbours: TransformerLens' "
    "model_bridge/supported_architectures/cohere.py"
)

SPECS = (
    family(
        "GPTJForCausalLM",
        "GPTJConfig",
        GPT2,
        known=DELEGATED,
        can=PARALLEL,
        rotary_dim=either(4, 2),
        tie_word_embeddings=TIED,
    ),
    family(
        "CodeGenForCausalLM",
        "CodeGenConfig",
        GPT2,
        can=PARALLEL,
        n_head=Of(lambda sizes: 4 * sizes.heads),
        n_embd=Of(lambda sizes: 4 * sizes.width),
        rotary_dim=either(4, 2),
        tie_word_embeddings=TIED,
    ),
    family(
        "GPTNeoXForCausalLM",
        "GPTNeoXConfig",
        OWN_KEYS,
        can=PARALLEL,
        tie_word_embeddings=TIED,
        rope_parameters={
            "rope_type": "default",
            "rope_theta": 10000.0,
            "partial_rotary_factor": 0.5,
        },
    ),
    family(
        "PhiForCausalLM",
        "PhiConfig",
        can=PARALLEL,
        tie_word_embeddings=TIED,
        rope_parameters={
            "rope_type": "default",
            "rope_theta": 10000.0,
            "partial_rotary_factor": 0.5,
        },
    ),
    family(
        "FalconForCausalLM",
        "FalconConfig",
        Words(mlp="ffn_hidden_size", shared=None),
        known=in_39("under ALiBi a token sees itself alone once there is a cache", *GENERATION),
        can=PARALLEL,
        new_decoder_architecture=False,
        multi_query=either(True, False),
        alibi=_BIAS,
        bias=_BIAS,
        tie_word_embeddings=either(True, False),
    ),
    family(
        "CohereForCausalLM",
        "CohereConfig",
        known=in_39(_ROTATION, *LOGITS),
        can=_SCALED,
        logit_scale=0.5,
        attention_bias=_BIAS,
    ),
    family(
        "Cohere2ForCausalLM",
        "Cohere2Config",
        WIDE_HEADS,
        known=in_39(_ROTATION, *LOGITS),
        can=_SCALED,
        logit_scale=0.5,
        attention_bias=_BIAS,
        sliding_window=3,
        layer_types=WINDOW_KINDS,
    ),
)
