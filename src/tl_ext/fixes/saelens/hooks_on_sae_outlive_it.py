"""SAELens: a hook put on an attached dictionary's latents stays on the dictionary for ever.

The hook points of a dictionary in a model, `blocks.0.hook_resid_post.hook_sae_acts_post`, are those of
the dictionary itself. A hook added there is out of `reset_hooks`' reach once the dictionary is detached,
and goes on acting: in the dictionary called by itself, and in every model it is attached to later. (A
tutorial of SAELens' was bitten by it: see the pull request in the patch.) Attaching also gives the
dictionary's hook points the model's names, under which its own `run_with_cache` caches from then on.

Under the fix an attached dictionary has hook points of its own in each model: hooks under the model's
names act in that model, while it is attached there. Hooks that were put on the dictionary itself act
wherever it is used, as before, and the model's `reset_hooks` leaves them alone.
Source: `sae_lens/analysis/hooked_sae_transformer.py`, `_SAEWrapper.__init__`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

from tl_ext.fixes.probing import Finding, State
from tl_ext.fixes.tiny import sae, sae_bridge

SLUG = "hooks-on-sae-outlive-it"


def wrap_init(init: Callable[..., Any]) -> Callable[..., Any]:
    """The replacement for `_SAEWrapper.__init__`: hook points of the wrapper's own.

    Args:
        init: What is there now.
    """

    @wraps(init)
    def with_own_hook_points(self: Any, sae: Any, *args: Any, **options: Any) -> None:
        init(self, sae, *args, **options)
        for name, point in sae.hook_dict.items():
            if getattr(self, name) is point:
                setattr(self, name, _another(point))

    return with_own_hook_points


def wrap_forward(forward: Callable[..., Any]) -> Callable[..., Any]:
    """The replacement for `_SAEWrapper.forward`: the dictionary's hooks fire, then the wrapper's.

    Args:
        forward: What is there now.
    """

    @wraps(forward)
    def with_both_hooks(self: Any, original_output: Any) -> Any:
        with _both(self, self.sae):
            return forward(self, original_output)

    return with_both_hooks


def wrap_hook_dict(hook_dict: Callable[[Any], dict[str, Any]]) -> Callable[[Any], dict[str, Any]]:
    """The replacement for `SAETransformerBridge.hook_dict`: a dictionary's names stay.

    Args:
        hook_dict: What is there now, as the property reads it.
    """

    @wraps(hook_dict)
    def leaving_names(self: Any) -> dict[str, Any]:
        hooks = hook_dict(self)
        for wrapper in self._acts_to_saes.values():
            for name, point in wrapper.sae.hook_dict.items():
                if getattr(wrapper, name) is not point:
                    point.name = name
        return hooks

    return leaving_names


def _another(point: Any) -> Any:
    """A hook point without hooks, of the same kind: one of SAELens' makes sparse latents dense for hooks."""
    from transformer_lens.hook_points import HookPoint

    made = HookPoint()
    for name, value in vars(point).items():
        vars(made).setdefault(name, value)
    made.__class__ = type(point)
    return made


@contextmanager
def _both(wrapper: Any, sae: Any) -> Iterator[None]:
    """Let what passes a hook point of the dictionary pass the wrapper's too, where that has hooks."""
    from torch import nn

    swapped = {}
    try:
        for name, point in sae.hook_dict.items():
            own = getattr(wrapper, name)
            # The wrapper alone calls the hooks of error and output.
            if own is point or name in ("hook_sae_error", "hook_sae_output") or not _hooked(own):
                continue
            swapped[name] = point
            setattr(sae, name, nn.Sequential(point, own))
        yield
    finally:
        for name, point in swapped.items():
            setattr(sae, name, point)


def _hooked(point: Any) -> bool:
    """Whether calling a hook point calls anything else: TransformerLens' hooks, or torch's own."""
    return bool(
        point._forward_hooks
        or point._forward_pre_hooks
        or point._backward_hooks
        or point._backward_pre_hooks
    )


def probe() -> Finding:
    """Hook the latents of a dictionary attached to a tiny bridge, detach it, and call it.

    Returns:
        PRESENT where it gives something else than before, ABSENT where it does not.
    """
    import torch

    bridge, attached = sae_bridge(), sae("blocks.0.hook_in")
    x = torch.ones(1, 4)
    before = attached(x)
    with bridge.saes([attached]):
        point = bridge.hook_dict[bridge.get_sae_hook_name(attached)]
        point.add_hook(lambda latents, hook: latents + 5)
    apart = (attached(x) - before).abs().max().item()
    if apart > 1e-4:
        return Finding(State.PRESENT, f"a detached dictionary is still steered, by {apart:.2g}")
    return Finding(State.ABSENT, "a detached dictionary gives what it gave before")
