"""SAELens: a SkipTranscoder attached to a model loses its skip connection.

What stands in the model for an attached dictionary decodes what it encoded, and nothing else. A
SkipTranscoder's `W_skip` is neither in its encoder nor in its decoder, so it does not act: the model
computes with a transcoder that was never trained, and with `use_error_term=True` the error term holds all
of the skip connection. The transcoder called by itself is right.

Under the fix an attached SkipTranscoder or JumpReLUSkipTranscoder gives what it gives when it is called,
and the error term is what that leaves over. `hook_sae_recons` is the decoder's output as before,
`hook_sae_output` has the skip connection in it. Other dictionaries go through upstream's code untouched.
Source: `sae_lens/analysis/hooked_sae_transformer.py`, `_SAEWrapper.forward`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from tl_ext.fixes.probing import Finding, State
from tl_ext.fixes.saelens.views import View

SLUG = "w-skip-dropped-on-attach"


def wrap(forward: Callable[..., Any]) -> Callable[..., Any]:
    """The replacement for `_SAEWrapper.forward`.

    Args:
        forward: What is there now.

    Returns:
        The same, with a skip transcoder that decodes as its own forward pass does.
    """

    @wraps(forward)
    def with_skip(self: Any, original_output: Any) -> Any:
        sae = self.sae
        if getattr(sae, "W_skip", None) is None:
            return forward(self, original_output)
        self.__dict__["_sae"] = _WithSkip(sae)
        try:
            return forward(self, original_output)
        finally:
            self.__dict__["_sae"] = sae

    return with_skip


class _WithSkip(View):
    """A skip transcoder whose decoder adds what the skip connection makes of the last input.

    Hooks are switched off on the dictionary itself while the error term is computed.
    """

    def encode(self, x: Any) -> Any:
        vars(self)["_input"] = x
        return self._of.encode(x)

    def decode(self, latents: Any) -> Any:
        skip = self._of.W_skip
        return self._of.decode(latents) + self._input.to(skip.device, skip.dtype) @ skip.T


def probe() -> Finding:
    """Put a skip transcoder of random weights where a model would.

    Returns:
        PRESENT where it gives something else than when it is called, ABSENT where it does not.
    """
    import torch
    from sae_lens.analysis.hooked_sae_transformer import _SAEWrapper
    from sae_lens.saes.transcoder import SkipTranscoder, SkipTranscoderConfig

    config = SkipTranscoderConfig(d_in=4, d_out=3, d_sae=5, apply_b_dec_to_input=False)
    transcoder = SkipTranscoder(config)
    torch.manual_seed(0)
    for parameter in transcoder.parameters():
        parameter.data.normal_()
    x = torch.randn(2, 4)
    wrapper = _SAEWrapper(transcoder)
    wrapper.capture_input(x)
    apart = (wrapper(torch.zeros(2, 3)) - transcoder(x)).abs().max().item()
    if apart > 1e-4:
        return Finding(State.PRESENT, f"attached it is {apart:.2g} from what it gives when called")
    return Finding(State.ABSENT, "attached it gives what it gives when called")
