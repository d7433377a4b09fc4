"""SAELens: a dictionary trained at `hook_z` with the default settings cannot be attached.

In training heads lie side by side, `d_in` is `n_heads * d_head`, and the dictionary is saved with
`reshape_activations="none"`, the default. Attached to a HookedSAETransformer it is given heads apart and
ends in "The size of tensor a must match the size of tensor b".

Under the fix such a dictionary reads heads side by side for the length of one forward pass through the
hook point, and gives them back apart, as `reshape_activations="hook_z"` does; so dictionaries that are
saved already are attached too, and `encode` of activations from a store is what it was. Only what was
refused is changed: a last dimension other than `d_in`, and two that make it up.
Source: `sae_lens/analysis/hooked_sae_transformer.py`, `_SAEWrapper.forward`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from tl_ext.fixes.probing import Finding, State

SLUG = "hook-z-dictionary-refused"
HOOK_POINT = "blocks.0.attn.hook_z"


def wrap(forward: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """The replacement for `_SAEWrapper.forward`.

    Args:
        forward: What is there now: puts the reconstruction of an activation in its place.

    Returns:
        The same, for heads that lie apart too.
    """

    @wraps(forward)
    def with_heads(self: Any, original_output: Any) -> Any:
        sae = self.sae
        if self._captured_input is not None or not _refused(sae, original_output):
            return forward(self, original_output)
        sae.turn_on_forward_pass_hook_z_reshaping()
        try:
            return forward(self, original_output)
        finally:
            sae.turn_off_forward_pass_hook_z_reshaping()

    return with_heads


def _refused(sae: Any, activation: Any) -> bool:
    """Whether heads lie apart that the dictionary has side by side."""
    name = sae.cfg.metadata.hook_name or ""
    if sae.hook_z_reshaping_mode or not name.endswith("_z") or activation.ndim < 3:
        return False
    heads, d_head = activation.shape[-2:]
    return bool(d_head != sae.cfg.d_in and heads * d_head == sae.cfg.d_in)


def probe() -> Finding:
    """Put a dictionary of two heads' width where two heads lie apart.

    Returns:
        PRESENT where it is refused, ABSENT where it gives back the same shape.
    """
    import torch
    from sae_lens.analysis.hooked_sae_transformer import _SAEWrapper
    from sae_lens.saes.sae import SAEMetadata
    from sae_lens.saes.standard_sae import StandardSAE, StandardSAEConfig

    config = StandardSAEConfig(d_in=6, d_sae=8, metadata=SAEMetadata(hook_name=HOOK_POINT))
    heads = torch.randn(1, 4, 2, 3)
    try:
        given = _SAEWrapper(StandardSAE(config))(heads)
    except RuntimeError as error:
        return Finding(State.PRESENT, f"heads apart are refused: {error}")
    if given.shape != heads.shape:
        return Finding(State.UNKNOWN, f"{tuple(heads.shape)} became {tuple(given.shape)}")
    return Finding(State.ABSENT, "heads apart are reconstructed and stay apart")
