"""Blocks like GPT-2's: learned positions or a slope by distance, an MLP without a gate, biases."""

from __future__ import annotations

from tl_ext.conformance.families.drawing import (
    GPT2,
    Of,
    Words,
    either,
    family,
)
from tl_ext.conformance.families.known import DELEGATED, GENERATION, NO_GAIN, in_39
from tl_ext.conformance.spec import DEFAULT, Known

_BIAS = either(True, False)
_ACTIVATIONS = either("gelu_new", "relu")

SPECS = (
    family(
        "GPT2LMHeadModel",
        "GPT2Config",
        GPT2,
        activation_function=_ACTIVATIONS,
        scale_attn_by_inverse_layer_idx=either(False, True),
        tie_word_embeddings=_BIAS,
    ),
    family(
        "GPTBigCodeForCausalLM",
        "GPTBigCodeConfig",
        GPT2,
        activation_function=_ACTIVATIONS,
        multi_query=True,  # all that the adapter takes, as it says
        tie_word_embeddings=_BIAS,
    ),
    family(
        "GPTNeoForCausalLM",
        "GPTNeoConfig",
        Words("num_layers", "hidden_size", "num_heads", "intermediate_size", None),
        known=DELEGATED,
        activation_function=_ACTIVATIONS,
        window_size=3,
        attention_types=Of(
            lambda sizes: (
                [[["global", "local"][: sizes.layers], 1]] + [[["local"], 1]] * (sizes.layers - 2)
            )
        ),
        tie_word_embeddings=_BIAS,
    ),
    family(
        "OPTForCausalLM",
        "OPTConfig",
        Words(mlp="ffn_dim", shared=None),
        known={**DELEGATED, **NO_GAIN},
        word_embed_proj_dim=Of(lambda sizes: sizes.width),
        activation_function=_ACTIVATIONS,
        enable_bias=_BIAS,
        layer_norm_elementwise_affine=_BIAS,
        tie_word_embeddings=_BIAS,
    ),
    family(
        "XGLMForCausalLM",
        "XGLMConfig",
        Words("num_layers", "d_model", "attention_heads", "ffn_dim", None),
        known=DELEGATED,
        activation_function=_ACTIVATIONS,
        scale_embedding=_BIAS,
        tie_word_embeddings=_BIAS,
    ),
    family(
        "BloomForCausalLM",
        "BloomConfig",
        Words("n_layer", "hidden_size", "n_head", None, None, None, None),
        known={
            "starting-at-a-layer-goes-on-from-the-stream": Known(
                "a BLOOM block does not take the stream that is given: TransformerLens' "
                "model_bridge/generalized_components/bloom_block.py",
                releases=("4.",),
            )
        },
        tie_word_embeddings=_BIAS,
    ),
    family(
        "MptForCausalLM",
        "MptConfig",
        Words("n_layers", "d_model", "n_heads", None, None, None, "max_seq_len"),
        known=in_39("under ALiBi a token sees itself alone once there is a cache", *GENERATION),
        tie_word_embeddings=_BIAS,
    ),
    family(
        "OpenAIGPTLMHeadModel",
        "OpenAIGPTConfig",
        Words("n_layer", "n_embd", "n_head", None, None, None, "n_positions"),
        # It norms the stream itself, after each addition.
        can=DEFAULT - {"sequential-block"},
        known={
            **dict.fromkeys(
                (
                    "the-last-residual-stream-gives-the-logits",
                    "each-hook-point-fires-once",
                    "shapes-are-those-that-names-promise",
                ),
                "its block returns a list, and hook_out looks for a tuple: TransformerLens' "
                "model_bridge/generalized_components/block.py",
            ),
            **dict.fromkeys(
                (
                    "masked-padding-changes-no-real-token",
                    "the-loss-leaves-masked-padding-out",
                    "rows-generate-together-what-each-generates-alone",
                    "an-edit-holds-for-rows-that-generate-together",
                ),
                "under an attention mask tokens see later ones: TransformerLens' "
                "model_bridge/supported_architectures/openai_gpt.py",
            ),
        },
        tie_word_embeddings=_BIAS,
    ),
    family(
        "StableLmForCausalLM",
        "StableLmConfig",
        tie_word_embeddings=either(False, True),
        use_qkv_bias=either(False, True),
        qk_layernorm=either(False, True),
        rope_parameters={
            "rope_type": "default",
            "rope_theta": 10000.0,
            "partial_rotary_factor": 0.5,
        },
    ),
)
