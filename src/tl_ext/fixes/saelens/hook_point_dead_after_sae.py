"""SAELens: a hook point of SAETransformerBridge is dead once a dictionary was attached there.

Detaching puts a new hook point in the place of the one that was there. It is called `hook_out` and not
`blocks.0.mlp.hook_out`, so that hooks under the full name are not found; the alias
`blocks.0.hook_mlp_out` still holds the old one, through which nothing flows; in compatibility mode a hook
is called once for each of the two names; and what cuts `hook_z` into heads is gone with the old one. One
`run_with_saes` is enough.

Under the fix the hook point that was there is put back, with its name, its heads and its hooks. While the
dictionary is attached nothing changes: hooks at its hook point do not fire then, see
user-hooks-lost-on-attach.
A dictionary that was attached before the fix was applied is detached as upstream detaches it: its hook point
stays dead.
Source: `sae_lens/analysis/sae_transformer_bridge.py`, `SAETransformerBridge._reset_sae`.
"""

from __future__ import annotations

from tl_ext.fixes.probing import Finding, State
from tl_ext.fixes.saelens.attaching import putting_back, remembering
from tl_ext.fixes.tiny import sae, sae_bridge

SLUG = "hook-point-dead-after-sae"

wrap_add_sae = remembering
wrap_reset_sae = putting_back


def probe() -> Finding:
    """Attach a dictionary to a tiny bridge for one run, then hook its hook point.

    Returns:
        PRESENT where the hook does not fire once, ABSENT where it does.
    """
    import torch

    bridge, name, fired = sae_bridge(), "blocks.0.mlp.hook_out", []
    ids = torch.tensor([[1, 2, 3]])
    bridge.run_with_saes(ids, saes=[sae(name)])
    try:
        bridge.run_with_hooks(ids, fwd_hooks=[(name, lambda x, hook: fired.append(hook))])
    except KeyError as error:
        return Finding(State.PRESENT, f"a hook at {name} is refused: {error}")
    if len(fired) != 1:
        return Finding(State.PRESENT, f"a hook at {name} fires {len(fired)} times")
    return Finding(State.ABSENT, f"a hook at {name} fires once")
