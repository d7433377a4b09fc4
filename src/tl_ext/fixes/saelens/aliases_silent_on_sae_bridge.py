"""SAELens: `blocks.0.hook_resid_pre` and every other alias is unknown to SAETransformerBridge.

`SAETransformerBridge.hook_dict` holds the bridge's own names alone (`blocks.0.hook_in`), where
`TransformerBridge.hook_dict` holds TransformerLens' names too. On TransformerLens 3.9 a hook under such a
name never fires and its activation is missing from the cache, without a word. What looks a name up by
itself falls with it: `run_evals` compares a model with itself and ends in ZeroDivisionError. On 4.x, where
a bridge keeps its aliases elsewhere too, the names of an attached dictionary alone are missing.

Under the fix the aliases are there, as on a TransformerBridge, and so are those of an attached
dictionary, `blocks.0.hook_resid_pre.hook_sae_acts_post`. While a dictionary is attached, the name of the
hook point itself is absent as before: what stands there has `hook_sae_input` and `hook_sae_output`.
On 3.9 `add_hook` looks a name up by itself: for a dictionary's hook points it takes the bridge's own
name, which `get_sae_hook_name` tells, and refuses the alias, as before.
Source: `sae_lens/analysis/sae_transformer_bridge.py`, `SAETransformerBridge.hook_dict`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from tl_ext.fixes.probing import Finding, State
from tl_ext.fixes.tiny import sae, sae_bridge

SLUG = "aliases-silent-on-sae-bridge"


def wrap(hook_dict: Callable[[Any], dict[str, Any]]) -> Callable[[Any], dict[str, Any]]:
    """The replacement for `SAETransformerBridge.hook_dict`.

    Args:
        hook_dict: What is there now, as the property reads it.

    Returns:
        The same, with aliases.
    """

    @wraps(hook_dict)
    def with_aliases(self: Any) -> dict[str, Any]:
        from transformer_lens.hook_points import HookPoint

        hooks = hook_dict(self)
        found = dict(hooks)
        self._add_aliases_to_hooks(found)
        inner = _inside(self)
        for name, point in found.items():
            if isinstance(point, HookPoint):
                hooks.setdefault(name, point)
                continue
            # On 4.x, and in compatibility mode, an alias goes on naming what was there.
            hooks.pop(name, None)
            for last, hook in inner.get(id(point), {}).items():
                hooks.setdefault(f"{name}.{last}", hook)
        return hooks

    return with_aliases


def _inside(bridge: Any) -> dict[int, dict[str, Any]]:
    """The hook points of each attached dictionary, by what stands in the model for it."""
    from transformer_lens.hook_points import HookPoint

    return {
        id(wrapper): {
            name: point for name, point in wrapper.named_modules() if isinstance(point, HookPoint)
        }
        for wrapper in bridge._acts_to_saes.values()
    }


def probe() -> Finding:
    """Hook a tiny bridge by a name of TransformerLens', cache under it, and attach a dictionary there.

    Returns:
        PRESENT where the hook is refused or does not fire, the cache lacks the name or the dictionary's
        latents have no name that begins with it; ABSENT otherwise.
    """
    import torch

    bridge, name, fired = sae_bridge(), "blocks.0.hook_resid_pre", []
    ids = torch.tensor([[1, 2, 3]])
    try:
        bridge.run_with_hooks(ids, fwd_hooks=[(name, lambda x, hook: fired.append(hook))])
    except KeyError as refused:  # on 4.x, and where mistyped names are
        return Finding(State.PRESENT, f"a hook under {name} is refused: {refused}")
    cached = name in bridge.run_with_cache(ids)[1]
    if not fired or not cached:
        return Finding(
            State.PRESENT, f"a hook under {name} fires {len(fired)} times; cached: {cached}"
        )
    with bridge.saes([sae(name)]):
        latents = f"{name}.hook_sae_acts_post"
        if latents not in bridge.hook_dict:
            return Finding(State.PRESENT, f"with an SAE attached there is no {latents}")
    return Finding(State.ABSENT, f"{name} is hooked and cached, an SAE's latents there have a name")
