"""Attention whose keys and values are expanded from one latent a token."""

from __future__ import annotations

from typing import Any

from tl_ext.conformance.families.drawing import OWN_KEYS, TIED, Of, either, family

_KNOWN = dict.fromkeys(
    (
        "z-is-the-pattern-times-the-values",
        "an-edit-of-the-pattern-gives-the-z-of-that-pattern",
    ),
    "hook_z is split by cfg.d_head, which is the width of a head's rotary part: TransformerLens' "
    "model_bridge/generalized_components/mla_attention.py",
)
_LATENT: dict[str, Any] = {
    "num_key_value_heads": Of(lambda sizes: sizes.heads),
    "q_lora_rank": either(None, 6),
    "kv_lora_rank": 6,
    "qk_nope_head_dim": 4,
    "qk_rope_head_dim": 2,
    "v_head_dim": either(4, 6),
    "attention_bias": either(False, True),
    "tie_word_embeddings": TIED,
}
_EXPERTS: dict[str, Any] = {
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "moe_intermediate_size": 8,
    "num_experts_per_tok": either(1, 2),
    "n_group": 1,
    "topk_group": 1,
    "routed_scaling_factor": either(1.0, 2.0),
    "norm_topk_prob": either(False, True),
}

SPECS = (
    family(
        "DeepseekV2ForCausalLM",
        "DeepseekV2Config",
        OWN_KEYS,
        known=_KNOWN,
        first_k_dense_replace=either(0, 1),
        **_LATENT,
        **_EXPERTS,
    ),
    family(
        "DeepseekV3ForCausalLM",
        "DeepseekV3Config",
        OWN_KEYS,
        known=_KNOWN,
        first_k_dense_replace=either(0, 1),
        rope_interleave=either(True, False),
        **_LATENT,
        **_EXPERTS,
    ),
    family(
        "Glm4MoeLiteForCausalLM",
        "Glm4MoeLiteConfig",
        OWN_KEYS,
        known=_KNOWN,
        mlp_layer_types=Of(lambda sizes: ["dense", "sparse", "sparse"][: sizes.layers]),
        **_LATENT,
        **_EXPERTS,
    ),
    family(
        "YoutuForCausalLM",
        "YoutuConfig",
        OWN_KEYS,
        known=_KNOWN,
        rope_interleave=either(True, False),
        **_LATENT,
    ),
)
