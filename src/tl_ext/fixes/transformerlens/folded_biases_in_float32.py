"""TransformerLens 3.9: a model in half precision fails after `enable_compatibility_mode()`.

Folding norms and value biases gives projections a bias that had none. Weights are processed in float32
and given their type back afterwards, by a list made beforehand on which the new biases are not: they
stay in float32, and the next forward pass ends in "self and mat2 must have the same dtype". Among the
models are Qwen2, GPT-J, GPT-Neo, StableLM and GLM with biases, in bfloat16 and float16.

Under the fix such a bias has its weight's type. 4.x does the same.
Source: `transformer_lens/weight_processing.py`, `ProcessWeights.process_weights`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

from tl_ext.fixes.probing import Finding, State
from tl_ext.fixes.tiny import DECODER, boot

if TYPE_CHECKING:
    from torch import Tensor

SLUG = "folded-biases-in-float32"


def wrap(original: Callable[..., dict[str, Tensor]]) -> Callable[..., dict[str, Tensor]]:
    """The replacement for `ProcessWeights.process_weights`.

    Args:
        original: What is there now.

    Returns:
        The same, whose new biases have the types that their weights came in.
    """
    signature = inspect.signature(original)

    @wraps(original)
    def process_weights(*args: Any, **options: Any) -> dict[str, Tensor]:
        given = signature.bind(*args, **options).arguments["state_dict"]
        # The dictionary that was given is written to.
        types = {name: value.dtype for name, value in given.items() if hasattr(value, "dtype")}
        processed = original(*args, **options)
        for name in processed.keys() - types.keys():
            of_weight = types.get(name.removesuffix(".bias") + ".weight")
            if of_weight is not None:
                processed[name] = processed[name].to(of_weight)
        return processed

    return process_weights


def probe() -> Finding:
    """Run a tiny Qwen2 in bfloat16 in compatibility mode.

    Returns:
        PRESENT where the forward pass raises, ABSENT where it gives logits.
    """
    import torch
    from transformers import Qwen2Config

    bridge = boot(Qwen2Config(**DECODER), dtype=torch.bfloat16)
    bridge.enable_compatibility_mode(disable_warnings=True)
    try:
        logits = bridge(torch.tensor([[1, 2, 3]]))
    except RuntimeError as error:
        if "dtype" not in str(error):
            raise
        return Finding(State.PRESENT, f"a forward pass in bfloat16 raised: {error}")
    return Finding(State.ABSENT, f"a forward pass gave logits in {logits.dtype}")
