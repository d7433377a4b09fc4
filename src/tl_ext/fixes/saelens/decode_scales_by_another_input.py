"""SAELens: `decode` gives back the scale of the input that was encoded last, whichever is decoded.

With `normalize_activations="layer_norm"` or `"constant_norm_rescale"` a dictionary keeps the mean and the
scale of what it encodes, gives them back in the next `decode` and forgets them. So `encode(x)`,
`encode(y)`, `decode` of x's latents is silently wrong, and a second `decode` ends in "has no attribute
'ln_std'".

Under the fix latents as `encode` gave them are decoded with the scale of their own input, however often
and in whatever order; changing them in place keeps it. A tensor made from them, or latents from
elsewhere, are decoded as before: with the scale that was encoded last, once. Where there is none the
error stays, since the scale of an unknown input is unknown.
Source: `sae_lens/saes/sae.py`, `_setup_activation_normalization`; `encode` and `decode` of each class.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import cache, wraps
from typing import Any

from tl_ext.fixes.probing import Finding, State

SLUG = "decode-scales-by-another-input"
KEPT_BY = {"layer_norm": ("ln_mu", "ln_std"), "constant_norm_rescale": ("x_norm_coeff",)}
"""What a dictionary keeps of its input, by `normalize_activations`."""


@cache
def _scales() -> Any:
    """Which dictionary made latents, and the scale of their input, for as long as they live."""
    from torch.utils.weak import WeakTensorKeyDictionary

    return WeakTensorKeyDictionary()


def wrap_encode(encode: Callable[..., Any]) -> Callable[..., Any]:
    """The replacement for a dictionary's `encode`.

    Args:
        encode: What is there now.

    Returns:
        The same, remembering for its latents how their input was scaled.
    """

    @wraps(encode)
    def remembering(self: Any, *args: Any, **options: Any) -> Any:
        latents = encode(self, *args, **options)
        if self.cfg.normalize_activations in KEPT_BY and (kept := _kept(self)):
            _scales()[latents] = weakref.ref(self), kept
        return latents

    return remembering


def wrap_decode(decode: Callable[..., Any]) -> Callable[..., Any]:
    """The replacement for a dictionary's `decode`.

    Args:
        decode: What is there now.

    Returns:
        The same, with the scale of the input that the latents were made of, where it is known.
    """

    @wraps(decode)
    def scaled(self: Any, feature_acts: Any, *args: Any, **options: Any) -> Any:
        if self.cfg.normalize_activations not in KEPT_BY:
            return decode(self, feature_acts, *args, **options)
        maker, own = _scales().get(feature_acts, (None, {}))
        if maker is None or maker() is not self:
            return decode(self, feature_acts, *args, **options)
        last = _kept(self)
        vars(self).update(own)
        try:
            return decode(self, feature_acts, *args, **options)
        finally:
            for name in own:
                vars(self).pop(name, None)
            # What was encoded since then has not been decoded yet.
            if any(value is not own[name] for name, value in last.items()):
                vars(self).update(last)

    return scaled


def _kept(sae: Any) -> dict[str, Any]:
    """What a dictionary keeps of the input that it encoded last, where that was not decoded yet."""
    names = KEPT_BY[sae.cfg.normalize_activations]
    return {name: vars(sae)[name] for name in names if name in vars(sae)}


def probe() -> Finding:
    """Encode two inputs and decode the first, for each way of scaling.

    Returns:
        PRESENT where it comes back with the scale of the second, ABSENT where with its own.
    """
    import torch
    from sae_lens.saes.standard_sae import StandardSAE, StandardSAEConfig

    wrong = []
    for scaling in KEPT_BY:
        settings: dict[str, Any] = {"d_in": 4, "d_sae": 8, "normalize_activations": scaling}
        sae = StandardSAE(StandardSAEConfig(**settings))
        first, second = torch.randn(3, 4), 9 * torch.randn(3, 4)
        expected = sae(first)
        latents = sae.encode(first)
        sae.encode(second)
        apart = (sae.decode(latents) - expected).abs().max().item()
        wrong += [f"{scaling}: off by {apart:.2g}"] * (apart > 1e-4)
    if wrong:
        return Finding(State.PRESENT, f"encode(x), encode(y), decode(x's); {', '.join(wrong)}")
    return Finding(State.ABSENT, "latents are decoded with the scale of their own input")
