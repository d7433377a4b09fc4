"""Bugs of TransformerLens, by slug in alphabetical order. Imports no torch."""

from __future__ import annotations

from tl_ext.plugins.known_fixes.rows import Room
from tl_ext.plugins.specs import FixSpec

_here = Room("transformer_lens", "transformerlens")
_BOTH = ("3.9.0", "4.3.0")

TRANSFORMER_LENS: tuple[FixSpec, ...] = (
    _here.runtime(
        "callers-tokenizer-reloaded-at-boot",
        symptom="the tokenizer given to boot_transformers is read from disk again: added tokens, chat "
        "template, padding and prefix are lost, one made in memory is refused",
        takes_effect="at boot",
        targets={
            "transformer_lens.utilities:get_tokenizer_with_bos": "wrap_get_tokenizer_with_bos",
            "transformer_lens.utilities.tokenize_utils:get_tokenizer_with_bos": (
                "wrap_get_tokenizer_with_bos"
            ),
            # the old name, which 4.x has not
            "transformer_lens.utils:get_tokenizer_with_bos?": "wrap_get_tokenizer_with_bos",
            "transformer_lens.model_bridge.sources.transformers:get_tokenizer_with_bos?": (
                "wrap_get_tokenizer_with_bos"
            ),
            # 4.x imports it by name here.
            "transformer_lens.model_bridge.sources._hf_format:get_tokenizer_with_bos?": (
                "wrap_get_tokenizer_with_bos"
            ),
            "transformer_lens.model_bridge.sources._bridge_builder:detect_tokenizer_bos_eos": (
                "wrap_detect"
            ),
            "transformer_lens.model_bridge.sources:detect_tokenizer_bos_eos": "wrap_detect",
            "transformer_lens.model_bridge:TransformerBridge.__init__": "wrap_init",
        },
        present_in=_BOTH,
    ),
    _here.runtime(
        "delegated-attention-pattern-edits-dropped",
        symptom="edits of hook_pattern and hook_attn_scores do nothing on GPT-J, GPT-Neo, OPT and XGLM, "
        "and hook_attn_scores holds probabilities",
        targets=(
            "transformer_lens.model_bridge.generalized_components.attention:AttentionBridge.forward",
        ),
        present_in=_BOTH,
    ),
    _here.runtime(
        "final-norm-not-folded",
        symptom="logit_attrs leaves the final norm's gain out on GLM, GLM-4, OLMo-2, Nemotron and "
        "others: attributions do not sum to the logit difference",
        targets=("transformer_lens.weight_processing:ProcessWeights.process_weights",),
        present_in=_BOTH,
    ),
    _here.runtime(
        "folded-biases-in-float32",
        symptom="a model in bfloat16 or float16 (Qwen2, GPT-J, GLM) fails at its next forward pass "
        "after enable_compatibility_mode()",
        targets=("transformer_lens.weight_processing:ProcessWeights.process_weights",),
        present_in=("3.9.0",),
        absent_in=("4.3.0",),
    ),
    _here.runtime(
        "full-decomposition-before-post-norms",
        symptom="get_full_resid_decomposition does not sum to the residual stream on Gemma-2 and 3, "
        "GLM-4, OLMo-2 and 3",
        targets=("transformer_lens.ActivationCache:ActivationCache.get_full_resid_decomposition",),
        present_in=_BOTH,
    ),
    _here.runtime(
        "head-architectures-boot-as-causal-lm",
        symptom="boot_transformers loads a classifier of an added architecture as a causal language "
        "model, with an unembedding made at random",
        takes_effect="at boot",
        targets=(
            "transformer_lens.model_bridge.sources.transformers:get_hf_model_class_for_architecture",
            # 4.x has made a package of the module.
            "transformer_lens.model_bridge.sources.transformers.helpers:"
            "get_hf_model_class_for_architecture?",
            "transformer_lens.model_bridge.sources.transformers.source:"
            "get_hf_model_class_for_architecture?",
        ),
        present_in=_BOTH,
        needed_by="Qwen2ForSequenceClassification, Qwen2ForTokenClassification, Qwen2Model",
    ),
    _here.runtime(
        "hook-name-is-not-the-one-asked-for",
        symptom="inside a hook on blocks.1.hook_resid_post hook.name is blocks.1.hook_out, in "
        "compatibility mode too",
        targets={
            "transformer_lens.model_bridge:TransformerBridge.run_with_hooks": "wrap_hooks",
            "transformer_lens.model_bridge:TransformerBridge.hooks": "wrap_hooks",
            "transformer_lens.model_bridge:TransformerBridge.add_hook": "wrap_add_hook",
            "transformer_lens.hook_points:HookPoint.add_hook": "wrap_add_hook_of_a_point",
        },
        present_in=_BOTH,
        # Code that has got used to the bridge keeps activations by its names.
        recommended=False,
    ),
    _here.runtime(
        "left-padded-tokens-attended-to",
        symptom="forward and run_with_cache attend to the padding of left-padded tokens, which "
        "HookedTransformer masked: other logits than for the same texts as strings",
        targets={
            "transformer_lens.model_bridge:TransformerBridge.forward": "wrap_forward",
            "transformer_lens.model_bridge:TransformerBridge._generate_tokens": (
                "wrap_generate_tokens"
            ),
        },
        present_in=_BOTH,
        recommended=False,
    ),
    _here.runtime(
        "mistyped-hook-names-ignored",
        symptom="a hook at a name that does not exist, or such a name in names_filter, is ignored "
        "without a word",
        targets={
            "transformer_lens.model_bridge:TransformerBridge.run_with_hooks": "wrap_hooks",
            "transformer_lens.model_bridge:TransformerBridge.hooks": "wrap_hooks",
            "transformer_lens.model_bridge:TransformerBridge.run_with_cache": "wrap_names_filter",
            # 4.x
            "transformer_lens.model_bridge:TransformerBridge.get_caching_hooks?": (
                "wrap_names_filter"
            ),
        },
        present_in=_BOTH,
    ),
    _here.runtime(
        "multi-token-prefix",
        symptom="a prefix of several tokens (ChatGLM's [gMASK] sop) is taken for one BOS token: EOS "
        "follows it, to_single_token fails, prepend_bos=False keeps it",
        targets={
            "transformer_lens.model_bridge:TransformerBridge.to_tokens": "wrap_to_tokens",
            "transformer_lens.utilities:get_attention_mask": "wrap_get_attention_mask",
            "transformer_lens.utilities.tokenize_utils:get_attention_mask": "wrap_get_attention_mask",
            # the old name, which 4.x has not
            "transformer_lens.utils:get_attention_mask?": "wrap_get_attention_mask",
            "transformer_lens.utilities:tokenize_and_concatenate": "wrap_tokenize_and_concatenate",
            "transformer_lens.utilities.tokenize_utils:tokenize_and_concatenate": (
                "wrap_tokenize_and_concatenate"
            ),
            "transformer_lens.utils:tokenize_and_concatenate?": "wrap_tokenize_and_concatenate",
        },
        present_in=_BOTH,
        needed_by="the ChatGLM family",
    ),
    _here.runtime(
        "norm-without-gain-edit-crashes",
        symptom="a hook that edits hook_normalized or hook_scale of OLMo-1's norms, which have no "
        "weights, raises AttributeError",
        targets=(
            "transformer_lens.model_bridge.generalized_components.normalization:"
            "NormalizationBridge._apply_weight_and_bias",
        ),
        present_in=_BOTH,
    ),
    _here.runtime(
        "prepend-bos-ignored-in-padding-mask",
        symptom="prepend_bos given to forward or generate is not asked when a batch's padding is "
        "masked: wrong logits and continuations where padding is BOS (GPT-2)",
        targets={
            "transformer_lens.model_bridge:TransformerBridge.forward": "wrap_forward",
            "transformer_lens.model_bridge:TransformerBridge.generate": "wrap_generate",
            "transformer_lens.model_bridge:TransformerBridge.generate_stream": (
                "wrap_generate_stream"
            ),
            "transformer_lens.model_bridge:TransformerBridge._generate_tokens": (
                "wrap_generate_tokens"
            ),
        },
        present_in=_BOTH,
    ),
    _here.runtime(
        "processed-weights-not-moved",
        symptom="bridge.to(dtype or device) after enable_compatibility_mode() leaves a gated MLP's "
        "weights behind: the next forward pass fails",
        targets=(
            "transformer_lens.model_bridge.generalized_components.gated_mlp:GatedMLPBridge.forward",
        ),
        present_in=("3.9.0",),
        absent_in=("4.3.0",),
    ),
    _here.runtime(
        "registered-adapters-ignored-by-boot",
        symptom="boot_transformers refuses an architecture whose adapter is registered, or published "
        "as an entry point",
        takes_effect="at boot",
        targets=(
            "transformer_lens.factories.architecture_adapter_factory:SUPPORTED_ARCHITECTURES",
            # 3.9 looks in a copy of the name; 4.x asks the factory's module.
            "transformer_lens.model_bridge.sources.transformers:SUPPORTED_ARCHITECTURES?",
        ),
        present_in=_BOTH,
        needed_by="activate(), for architectures that plugins bring",
    ),
    _here.runtime(
        "resid-mid-edit-reaches-mlp-alone",
        symptom="a hook or a dictionary at hook_resid_mid changes what the MLP reads and leaves the "
        "residual stream as it was",
        targets=(
            "transformer_lens.model_bridge.generalized_components.block:BlockBridge.forward",
            "transformer_lens.model_bridge.generalized_components.bloom_block:"
            "BloomBlockBridge.forward",
        ),
        present_in=_BOTH,
    ),
    _here.runtime(
        "rotary-base-not-read",
        symptom="cfg.rotary_base is 10000 whatever the model's is, under transformers 5",
        takes_effect="at boot",
        targets=(
            "transformer_lens.model_bridge.sources.transformers:map_default_transformer_lens_config",
            # 4.x defines it here and imports it by name there.
            "transformer_lens.model_bridge.sources._hf_format:map_default_transformer_lens_config?",
            "transformer_lens.model_bridge.sources._bridge_builder:"
            "map_default_transformer_lens_config?",
        ),
        present_in=_BOTH,
        needed_by="the config of Qwen2.5 and QwQ",
    ),
)
