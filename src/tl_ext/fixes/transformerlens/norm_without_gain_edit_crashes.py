"""TransformerLens: editing a norm that has no gain raises AttributeError.

OLMo-1's norms have no parameters. A hook that edits `hook_scale` or `hook_normalized` makes the bridge
work the norm's output out from the edited value, and a backward hook there makes it work it out from
the start; both then multiply by `weight`, which is not there: "'NormalizationBridge' object has no
attribute 'weight'".

Under the fix what is normalised is the output where the norm has no gain; any other norm goes to
upstream's code untouched.
Source: `transformer_lens/model_bridge/generalized_components/normalization.py`,
`NormalizationBridge._apply_weight_and_bias`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

from tl_ext.fixes.probing import Finding, State
from tl_ext.fixes.tiny import DECODER, boot

if TYPE_CHECKING:
    import torch
    from torch import Tensor

SLUG = "norm-without-gain-edit-crashes"


def wrap(original: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The replacement for `NormalizationBridge._apply_weight_and_bias`.

    Args:
        original: What is there now.

    Returns:
        The same, that knows of norms without a gain.
    """

    @wraps(original)
    def apply_weight_and_bias(self: Any, hidden_states: Tensor, input_dtype: torch.dtype) -> Tensor:
        if getattr(self.original_component, "weight", None) is not None:
            return original(self, hidden_states, input_dtype)
        from transformer_lens.model_bridge.generalized_components.normalization import (
            LayerNormPreBridge,
        )

        # Upstream's own for norms that it makes without parameters.
        return LayerNormPreBridge._apply_weight_and_bias(self, hidden_states, input_dtype)

    return apply_weight_and_bias


def probe() -> Finding:
    """Halve what OLMo-1's first norm gives.

    Returns:
        PRESENT where the forward pass raises, or nothing changes; ABSENT where the output does.
    """
    import torch
    from transformers import OlmoConfig

    bridge = boot(OlmoConfig(**DECODER, pad_token_id=0))
    ids = torch.tensor([[1, 2, 3]])
    try:
        edited = bridge.run_with_hooks(
            ids, fwd_hooks=[("blocks.0.ln1.hook_normalized", lambda value, hook: value / 2)]
        )
    except AttributeError as error:
        return Finding(State.PRESENT, f"an edit of ln1.hook_normalized raised: {error}")
    changed = (edited - bridge(ids)).abs().max().item()
    state = State.ABSENT if changed > 1e-4 else State.PRESENT
    return Finding(state, f"halving ln1.hook_normalized changed logits by {changed:.2g}")
