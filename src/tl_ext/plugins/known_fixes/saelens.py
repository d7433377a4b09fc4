"""Bugs of SAELens, by slug in alphabetical order. Imports no torch."""

from __future__ import annotations

from tl_ext.plugins.known_fixes.rows import Room
from tl_ext.plugins.specs import FixSpec

_here = Room("sae_lens", "saelens")
_BOTH = ("6.54.12/3.9.0", "6.54.12/4.3.0")

_ATTACHING = {
    f"sae_lens.analysis.{name}": wrap
    # Beside TransformerLens 4 there is the bridge alone.
    for name, wrap in {
        "hooked_sae_transformer:HookedSAETransformer.add_sae?": "wrap_add_sae",
        "hooked_sae_transformer:HookedSAETransformer._reset_sae?": "wrap_reset_sae",
        "sae_transformer_bridge:SAETransformerBridge.add_sae": "wrap_add_sae",
        "sae_transformer_bridge:SAETransformerBridge._reset_sae": "wrap_reset_sae",
    }.items()
}

SAE_LENS: tuple[FixSpec, ...] = (
    _here.runtime(
        "aliases-silent-on-sae-bridge",
        symptom="hooks under blocks.0.hook_resid_pre and every other alias never fire on "
        "SAETransformerBridge, nor are they cached; run_evals on it ends in ZeroDivisionError; on "
        "TransformerLens 4 what is in an attached dictionary has no such name",
        targets=("sae_lens.analysis.sae_transformer_bridge:SAETransformerBridge.hook_dict",),
        present_in=_BOTH,
    ),
    _here.runtime(
        "decode-scales-by-another-input",
        symptom="with layer_norm, decoding latents of one input after encoding another is silently "
        "wrong, and decoding twice an error",
        targets={
            "sae_lens.saes.gated_sae:GatedSAE.encode": "wrap_encode",
            "sae_lens.saes.gated_sae:GatedSAE.decode": "wrap_decode",
            "sae_lens.saes.jumprelu_sae:JumpReLUSAE.encode": "wrap_encode",
            "sae_lens.saes.jumprelu_sae:JumpReLUSAE.decode": "wrap_decode",
            "sae_lens.saes.matching_pursuit_sae:MatchingPursuitSAE.encode": "wrap_encode",
            "sae_lens.saes.matching_pursuit_sae:MatchingPursuitSAE.decode": "wrap_decode",
            "sae_lens.saes.matching_pursuit_sae:MatchingPursuitTrainingSAE.decode": "wrap_decode",
            "sae_lens.saes.sae:TrainingSAE.encode": "wrap_encode",
            "sae_lens.saes.sae:TrainingSAE.decode": "wrap_decode",
            "sae_lens.saes.standard_sae:StandardSAE.encode": "wrap_encode",
            "sae_lens.saes.standard_sae:StandardSAE.decode": "wrap_decode",
            "sae_lens.saes.temporal_sae:TemporalSAE.encode": "wrap_encode",
            "sae_lens.saes.temporal_sae:TemporalSAE.decode": "wrap_decode",
            "sae_lens.saes.topk_sae:TopKSAE.encode": "wrap_encode",
            "sae_lens.saes.topk_sae:TopKSAE.decode": "wrap_decode",
            "sae_lens.saes.topk_sae:TopKTrainingSAE.decode": "wrap_decode",
        },
        present_in=_BOTH,
    ),
    _here.runtime(
        "default-sizes-refused",
        symptom='a training run with the default sizes ends in "Buffer size must be greater than or '
        'equal to batch size"',
        targets=(
            "sae_lens.training.activations_store:ActivationsStore.get_data_loader",
            "sae_lens.training.activations_store:ActivationsStore.get_multi_hook_data_loader",
        ),
        present_in=_BOTH,
    ),
    _here.runtime(
        "dictionaries-on-one-hook-point-leak",
        symptom="of an SAE and a transcoder that read one hook point one stays in the model after saes(), "
        "and the transcoder reads the wrong activation",
        targets=_ATTACHING
        | {
            "sae_lens.analysis.hooked_sae_transformer:_SAEWrapper.forward": "wrap_forward",
            "sae_lens.analysis.hooked_sae_transformer:HookedSAETransformer.saes?": "wrap_saes",
            "sae_lens.analysis.sae_transformer_bridge:SAETransformerBridge.saes": "wrap_saes",
        },
        present_in=_BOTH,
        touches=("hook-point-dead-after-sae",),
    ),
    _here.runtime(
        "documents-not-separated-without-bos",
        symptom="SAELens trains on documents glued without a separator, and without the prefix, where "
        "the tokenizer has no BOS",
        targets=(
            "sae_lens.training.activations_store:ActivationsStore._iterate_tokenized_sequences",
        ),
        present_in=_BOTH,
        needed_by="training with SAELens on ChatGLM and Qwen2",
    ),
    _here.runtime(
        "dtype-of-a-store-ignored",
        symptom='dtype="bfloat16" trains on float32 activations; with several hook points, '
        "dtype does nothing at all",
        targets={
            "sae_lens.training.activations_store:ActivationsStore.get_activations": "wrap",
            "sae_lens.training.activations_store:ActivationsStore.get_multi_hook_activations": (
                "wrap_several"
            ),
        },
        present_in=_BOTH,
    ),
    _here.runtime(
        "hook-point-dead-after-sae",
        symptom="a hook point of SAETransformerBridge is dead, or fires twice in compatibility mode, after "
        "one run_with_saes",
        targets={name: wrap for name, wrap in _ATTACHING.items() if "Bridge" in name},
        present_in=_BOTH,
    ),
    _here.runtime(
        "hook-z-dictionary-refused",
        symptom="a dictionary trained at hook_z with the default settings cannot be attached to a "
        "HookedSAETransformer",
        targets=("sae_lens.analysis.hooked_sae_transformer:_SAEWrapper.forward",),
        present_in=_BOTH,
    ),
    _here.runtime(
        "hooks-on-sae-outlive-it",
        symptom="a hook on the latents of an attached SAE goes on acting after the SAE is detached, in "
        "other models too",
        targets={
            "sae_lens.analysis.hooked_sae_transformer:_SAEWrapper.__init__": "wrap_init",
            "sae_lens.analysis.hooked_sae_transformer:_SAEWrapper.forward": "wrap_forward",
            "sae_lens.analysis.sae_transformer_bridge:SAETransformerBridge.hook_dict": "wrap_hook_dict",
        },
        present_in=_BOTH,
        bug="https://github.com/decoderesearch/SAELens/pull/278",
    ),
    _here.runtime(
        "interrupted-training-loses-weights",
        symptom="SIGTERM or Ctrl-C during training ends in an error about a missing folder, and the "
        "weights are lost",
        targets=(
            "sae_lens.llm_sae_training_runner:LanguageModelSAETrainingRunner"
            ".run_trainer_with_interruption_handling",
        ),
        present_in=_BOTH,
    ),
    _here.runtime(
        "load-model-knows-no-bridge",
        symptom='model_class_name="TransformerBridge" ends in "Unknown model class" in every SAELens '
        "runner",
        targets=(
            "sae_lens.load_model:load_model",
            "sae_lens.llm_sae_training_runner:load_model",
            "sae_lens.cache_activations_runner:load_model",
            "sae_lens.multi_sae_training_runner:load_model",
        ),
        present_in=_BOTH,
    ),
    _here.import_time(
        "no-import-beside-transformerlens-4",
        symptom="import sae_lens fails beside TransformerLens 4: no module "
        "transformer_lens.HookedTransformer",
        present_in=("6.54.12/4.3.0",),
        absent_in=("6.54.12/3.9.0",),
        bug="https://github.com/decoderesearch/SAELens/issues/738",
        needed_by="SAELens' own dictionaries and training beside TransformerLens 4",
    ),
    _here.runtime(
        "padding-of-tokenised-data-trained-on",
        symptom="the attention mask of a tokenised data set is ignored: padding is trained on, and "
        "attended to on the left",
        targets={
            "sae_lens.training.activations_store:ActivationsStore._iterate_raw_dataset": "wrap_rows",
            "sae_lens.training.activations_store:ActivationsStore.get_batch_tokens": "wrap_tokens",
            "sae_lens.training.activations_store:ActivationsStore.get_activations": "wrap_activations",
            "sae_lens.training.activations_store:ActivationsStore.get_multi_hook_activations": (
                "wrap_activations"
            ),
            "sae_lens.training.activations_store:ActivationsStore.get_raw_llm_batch": "wrap_batch",
            "sae_lens.training.activations_store:ActivationsStore._get_filtered_multi_hook_llm_batch": (
                "wrap_batch"
            ),
            "sae_lens.training.activations_store:_filter_buffer_acts": "wrap_filter",
        },
        present_in=_BOTH,
    ),
    _here.runtime(
        "prefix-not-excluded",
        symptom="exclude_special_tokens=True keeps the tokens a tokenizer such as ChatGLM's puts "
        "before a text",
        targets=(
            "sae_lens.util:get_special_token_ids",
            "sae_lens.training.activations_store:get_special_token_ids",
            "sae_lens.multi_sae_training_runner:get_special_token_ids",
            "sae_lens.evals:get_special_token_ids",
            "sae_lens.analysis.hooked_sae_transformer:get_special_token_ids",
        ),
        present_in=_BOTH,
        needed_by="training with SAELens on ChatGLM",
    ),
    _here.runtime(
        "seed-never-read",
        symptom="two training runs with the same seed begin with different weights",
        targets={
            "sae_lens.llm_sae_training_runner:LanguageModelSAETrainingRunner.__init__": "wrap_init",
            "sae_lens.llm_sae_training_runner:LanguageModelSAETrainingRunner.run": "wrap_run",
            "sae_lens.multi_sae_training_runner:MultiSAETrainingRunner.__init__": "wrap_init",
            "sae_lens.multi_sae_training_runner:MultiSAETrainingRunner.run": "wrap_run",
        },
        present_in=_BOTH,
        recommended=False,
    ),
    _here.runtime(
        "sparse-training-fails-in-backward",
        symptom='training a TopK dictionary with use_sparse_activations=True ends in "Could not run '
        "'aten::view'\" at the first backward",
        targets=(
            "sae_lens.saes.topk_sae:act_times_W_dec",
            "sae_lens.saes.abstopk_sae:act_times_W_dec",
            "sae_lens.saes.matryoshka_batchtopk_sae:act_times_W_dec",
        ),
        present_in=_BOTH,
    ),
    _here.source_only(
        "transformer-lens-4-refused-by-pin",
        symptom="pip refuses TransformerLens 4 beside SAELens: its requirements say transformer-lens<4.0.0",
        present_in=("6.54.12",),
        bug="https://github.com/decoderesearch/SAELens/issues/738",
    ),
    _here.source_only(
        "tutorial-hook-steers-only-the-prompt",
        symptom="the steering tutorial's hook steers the prompt and, under a KV cache, no generated "
        "token",
        present_in=("6.37.2",),
    ),
    _here.runtime(
        "user-hooks-lost-on-attach",
        symptom="hooks at a hook point, permanent ones too, are lost for good when an SAE is attached there",
        targets=_ATTACHING
        | {
            "sae_lens.analysis.hooked_sae_transformer:_SAEWrapper.forward": "wrap_forward",
            "sae_lens.analysis.hooked_sae_transformer:HookedSAETransformer.hook_points?": (
                "wrap_hook_points"
            ),
            "sae_lens.analysis.sae_transformer_bridge:SAETransformerBridge.hook_points": (
                "wrap_hook_points"
            ),
            "sae_lens.analysis.sae_transformer_bridge:SAETransformerBridge.reset_hooks": "wrap_over_all",
            "sae_lens.analysis.sae_transformer_bridge:SAETransformerBridge.remove_all_hook_fns": (
                "wrap_over_all"
            ),
            "sae_lens.analysis.sae_transformer_bridge:SAETransformerBridge.clear_contexts": (
                "wrap_over_all"
            ),
        },
        present_in=_BOTH,
        touches=("hook-point-dead-after-sae",),
    ),
    _here.runtime(
        "w-skip-dropped-on-attach",
        symptom="a SkipTranscoder attached to a model computes without its skip connection",
        targets=("sae_lens.analysis.hooked_sae_transformer:_SAEWrapper.forward",),
        present_in=_BOTH,
    ),
    _here.runtime(
        "zero-ablation-of-excluded-tokens",
        symptom="run_evals scores a dictionary of zeros above 0 where special tokens are excluded",
        targets=("sae_lens.evals:get_recons_loss",),
        present_in=_BOTH,
        needed_by="training with SAELens on ChatGLM and Qwen2",
    ),
)
