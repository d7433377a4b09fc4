"""SAELens: hooks at a hook point are lost for good when a dictionary is attached there.

A dictionary is put in the place of the hook point, and a new hook point in the place of the dictionary:
hooks of the user, permanent ones too, do not fire while it is attached, nor afterwards. Detaching a
transcoder also removes every forward hook at the hook point it reads. Leaving an inner `saes()` makes
the outer dictionary anew and loses the hooks at its `hook_sae_output` and `hook_sae_error`. And
`SAETransformerBridge.reset_hooks` ends in AttributeError while a dictionary is attached.

Under the fix the hook point goes on working beneath the dictionary: its hooks see, and may edit, what the
dictionary then reads, in both directions. They are reset with all others, and after detaching the same
hook point is there again. It has no name while the dictionary is attached, as before; what stands there
then has `hook_sae_input` and `hook_sae_output`. It works for what is attached while it is in effect.
Source: `sae_lens/analysis/hooked_sae_transformer.py` and `sae_transformer_bridge.py`, `add_sae` and
`_reset_sae`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from tl_ext.fixes.probing import Finding, State
from tl_ext.fixes.saelens.attaching import attachment, place, putting_back, remembering
from tl_ext.fixes.tiny import sae, sae_bridge

SLUG = "user-hooks-lost-on-attach"


def wrap_forward(forward: Callable[..., Any]) -> Callable[..., Any]:
    """The replacement for `_SAEWrapper.forward`: what comes in goes through the covered hook point.

    Args:
        forward: What is there now.
    """

    @wraps(forward)
    def through_the_hook_point(self: Any, original_output: Any) -> Any:
        known = attachment(self)
        if known is not None:
            original_output = known.covered(original_output)
        return forward(self, original_output)

    return through_the_hook_point


wrap_add_sae = remembering
wrap_reset_sae = putting_back


def wrap_hook_points(hook_points: Callable[..., Any]) -> Callable[..., Any]:
    """The replacement for `hook_points` of either class: the covered ones are among them.

    Args:
        hook_points: What is there now.
    """

    @wraps(hook_points)
    def with_covered(self: Any) -> list[Any]:
        points = [point for point in hook_points(self) if attachment(point) is None]
        known = (attachment(wrapper) for wrapper in self._acts_to_saes.values())
        return [*points, *(one.covered for one in known if one is not None)]

    return with_covered


def wrap_over_all(method: Callable[..., Any]) -> Callable[..., Any]:
    """The replacement for a method of SAETransformerBridge that goes over all hook points.

    Args:
        method: What is there now.
    """

    @wraps(method)
    def with_hook_points_in_place(self: Any, *args: Any, **options: Any) -> Any:
        known = {
            name: (wrapper, one.covered)
            for name, wrapper in self._hook_registry.items()
            if (one := attachment(wrapper)) is not None
        }
        for name, (_, point) in known.items():
            place(self, name, point)
        try:
            return method(self, *args, **options)
        finally:
            for name, (wrapper, _) in known.items():
                place(self, name, wrapper)

    return with_hook_points_in_place


def probe() -> Finding:
    """Run a tiny bridge with a permanent hook, before, while and after a dictionary is attached.

    Returns:
        PRESENT where the hook does not fire each time, ABSENT where it does.
    """
    import torch

    bridge, name, fired = sae_bridge(), "blocks.0.hook_in", []
    ids = torch.tensor([[1, 2, 3]])
    bridge.add_hook(name, lambda x, hook: fired.append(hook), is_permanent=True)
    counts = []
    for saes in ([], [sae(name)], []):
        fired.clear()
        bridge.run_with_saes(ids, saes=saes)
        counts.append(len(fired))
    evidence = f"a permanent hook fires {counts} times before, while and after an SAE is attached"
    return Finding(State.ABSENT if counts == [1, 1, 1] else State.PRESENT, evidence)
