"""TransformerLens 3.9: `bridge.to(...)` after `enable_compatibility_mode()` leaves weights behind.

A gated MLP keeps processed weights as plain attributes, which `to`, `half` and `cuda` do not see, and
computes with these: the next forward pass raises "expected m1 and m2 to have the same dtype", or finds
tensors on two devices. Where nothing raises, what is written into the projections, by an optimiser or
by hand, is not what is computed with.

Under the fix a gated MLP computes with what its projections hold, as 4.x does.
Source: `transformer_lens/model_bridge/generalized_components/gated_mlp.py`, `GatedMLPBridge.forward`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from tl_ext.fixes.probing import Finding, State
from tl_ext.fixes.tiny import DECODER, boot

SLUG = "processed-weights-not-moved"


def wrap(original: Callable[..., Any]) -> Callable[..., Any]:
    """The replacement for `GatedMLPBridge.forward`.

    Args:
        original: What is there now.

    Returns:
        The same, before which the processed weights are read off the projections anew.
    """

    @wraps(original)
    def forward(self: Any, *args: Any, **options: Any) -> Any:
        held = vars(self)
        for name in ("gate", "in", "out"):
            if held.get(f"_processed_W_{name}") is not None:
                projection = getattr(self, name)
                # Past nn.Module's __setattr__, which would register them once more.
                held[f"_processed_W_{name}"] = projection.weight
                if held.get(f"_processed_b_{name}") is not None:
                    held[f"_processed_b_{name}"] = projection.bias
        return original(self, *args, **options)

    return forward


def probe() -> Finding:
    """Turn a tiny Llama in compatibility mode to double precision.

    Returns:
        PRESENT where the forward pass raises, ABSENT where it gives logits.
    """
    import torch
    from transformers import LlamaConfig

    bridge = boot(LlamaConfig(**DECODER))
    bridge.enable_compatibility_mode(disable_warnings=True)
    bridge.to(torch.float64, print_details=False)
    try:
        logits = bridge(torch.tensor([[1, 2, 3]]))
    except RuntimeError as error:
        if "dtype" not in str(error):
            raise
        return Finding(State.PRESENT, f"a forward pass after .to(torch.float64) raised: {error}")
    return Finding(State.ABSENT, f"a forward pass after .to(torch.float64) gave {logits.dtype}")
