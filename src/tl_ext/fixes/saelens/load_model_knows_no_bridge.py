"""SAELens: `load_model` knows no TransformerBridge.

`model_class_name="TransformerBridge"` ends in "Unknown model class", so a training run, a run over
several hook points and a run that caches activations can only be given a bridge by hand
(`override_model`), and a saved configuration that names one cannot be run again.

The fix answers that one name and leaves every other to upstream.
Source: `sae_lens/load_model.py`, `load_model`; three runners bind it by `from ... import`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import wraps
from typing import Any

from tl_ext.fixes.probing import Finding, State
from tl_ext.fixes.tiny import gpt2
from tl_ext.upstream import stand_in_tokenizer

SLUG = "load-model-knows-no-bridge"
CLASS_NAME = "TransformerBridge"
BOUND_IN = (
    "sae_lens.load_model",
    "sae_lens.llm_sae_training_runner",
    "sae_lens.cache_activations_runner",
    "sae_lens.multi_sae_training_runner",
)


def wrap(load_model: Callable[..., Any]) -> Callable[..., Any]:
    """The replacement for `load_model`.

    Args:
        load_model: What is there now.

    Returns:
        A function that boots a bridge as it is, without weight processing, for
        `model_class_name="TransformerBridge"`. `model_from_pretrained_kwargs` are then arguments of
        `boot_transformers`; beside a `device_map`, `device` is left out. `hook_names` does nothing,
        as for HookedTransformer: hook points are part of a bridge.
    """

    @wraps(load_model)
    def load_model_or_bridge(
        model_class_name: str,
        model_name: str,
        device: Any = None,
        model_from_pretrained_kwargs: dict[str, Any] | None = None,
        hook_names: list[str] | None = None,
    ) -> Any:
        if model_class_name != CLASS_NAME:
            return load_model(
                model_class_name, model_name, device, model_from_pretrained_kwargs, hook_names
            )
        from transformer_lens.model_bridge import TransformerBridge

        options = dict(model_from_pretrained_kwargs or {})
        if options.get("device_map") is None:  # boot_transformers refuses both
            options.setdefault("device", device)
        return TransformerBridge.boot_transformers(model_name, **options)

    return load_model_or_bridge


def probe() -> Finding:
    """Ask every module that binds `load_model` for a bridge around a tiny random model.

    Returns:
        PRESENT where one of them refuses the class name, ABSENT where all boot.
    """
    from transformer_lens.model_bridge import TransformerBridge

    refused = []
    for module in BOUND_IN:
        load_model = importlib.import_module(module).load_model
        options = {"hf_model": gpt2(), "tokenizer": stand_in_tokenizer()}
        try:
            model = load_model(CLASS_NAME, "gpt2", "cpu", options)
        except ValueError as error:
            if CLASS_NAME not in str(error):
                raise
            refused.append(module)
            continue
        if not isinstance(model, TransformerBridge):
            return Finding(State.UNKNOWN, f"{module} gave a {type(model).__name__}")
    if refused:
        return Finding(State.PRESENT, f"refused by {', '.join(refused)}")
    return Finding(State.ABSENT, f"booted by {', '.join(BOUND_IN)}")
