"""Whether what a model gives are predictions of the next token, before they are read as such."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tl_ext.errors import InputError

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


def check_predicts(model: TransformerBridge, wanted: str) -> None:
    """Refuse classifiers, embedders and encoders where a language model is needed.

    Args:
        model: A hooked model.
        wanted: What was asked for, to be named in the error: `"cross-entropy"`.

    Raises:
        InputError: The model's adapter says that it does not generate.
    """
    if not getattr(model.adapter, "supports_generation", True):
        raise InputError(
            f"{model.cfg.architecture} does not predict the next token, so there is no {wanted}. Load "
            "the language model it was made from; activations can be captured and edited in either."
        )
