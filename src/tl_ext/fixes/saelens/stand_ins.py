"""What SAELens finds beside TransformerLens 4 in place of the names that 4.0 removed.

SAELens alone finds them, see [`redirecting`][tl_ext.fixes.redirecting]. No model is an instance of
the classes here.
"""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

import torch
from torch import nn
from transformer_lens import HookedRootModule

Loss = torch.Tensor
"""What a loss was annotated as."""

PROCESSING = (
    "fold_ln",
    "center_writing_weights",
    "center_unembed",
    "fold_value_biases",
    "refactor_factored_attn_matrices",
)
_INSTEAD = (
    "TransformerLens 4 has no HookedTransformer. Boot the model with "
    "SAETransformerBridge.boot_transformers(name) or TransformerBridge.boot_transformers(name)"
)


class Output(NamedTuple):
    """Logits and loss of one forward pass; SAELens' wrapper around a Hugging Face model returns it."""

    logits: torch.Tensor
    loss: torch.Tensor


class CanBeUsedAsMLP(nn.Module):
    """An annotation of SAELens'."""


class HookedTransformer(HookedRootModule):
    """The base of `HookedSAETransformer`; neither can be made beside TransformerLens 4."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError(f"{_INSTEAD}.")

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """Refuse: a processed model is made by hand.

        Raises:
            NotImplementedError: Always; the message says how.
        """
        raise NotImplementedError(
            f"{_INSTEAD}, then enable_compatibility_mode() for a processed model."
        )

    @classmethod
    def from_pretrained_no_processing(cls, model_name: str, **kwargs: Any) -> Any:
        """A TransformerBridge of the same weights, which a warning says.

        SAELens' `load_model` and its evaluations from the command line ask for a model in this way,
        and configurations saved before TransformerLens 4 name HookedTransformer.

        Args:
            model_name: A hub name or a folder.
            kwargs: The old method's arguments. Switches of weight processing may be false; beside a
                `device_map`, `device` is left out.

        Raises:
            NotImplementedError: A switch of weight processing is true, or this was called on
                HookedSAETransformer.
        """
        switched = [name for name in PROCESSING if kwargs.pop(name, False)]
        if cls is not HookedTransformer or switched:
            called = f"; {', '.join(switched)} was asked for" if switched else ""
            raise NotImplementedError(
                f"{_INSTEAD}, then enable_compatibility_mode(...) for a processed model{called}."
            )
        if kwargs.get("device_map") is not None:  # boot_transformers refuses both
            kwargs.pop("device", None)
        from transformer_lens.model_bridge import TransformerBridge

        logging.getLogger("tl_ext").warning(
            "TransformerLens 4 has no HookedTransformer: %s is booted as a TransformerBridge.",
            model_name,
        )
        return TransformerBridge.boot_transformers(model_name, **kwargs)
