"""SAELens: a store yields activations of another dtype than it was asked for.

A store of one hook point yields float32 whatever `dtype` says, so that `"bfloat16"` saves no memory; a
store of several yields what the model computes in, so that `"float32"` under a bfloat16 model sums and
normalises in bfloat16. The store's own reader of cached activations does as asked.

Under the fix all three do. For a store of one hook point nothing changes where `dtype` is float32, the
default. Upstream's float32 stays in between there: `"float64"` yields float64 with float32's precision.
The dictionary's dtype is `sae.dtype`, as before; a gated one of bfloat16 cannot be trained on float32
(upstream multiplies both), and needs `dtype="bfloat16"`.
Source: `sae_lens/training/activations_store.py`, `get_activations`, `get_multi_hook_activations`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from tl_ext.fixes.probing import Finding, State
from tl_ext.fixes.saelens.planted import PlantedModel, rows, several_hooks, store

SLUG = "dtype-of-a-store-ignored"


def wrap(activations: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """The replacement for `get_activations`.

    Args:
        activations: What is there now: activations of tokens at a store's hook point.

    Returns:
        The same in the store's dtype.
    """

    @wraps(activations)
    def as_asked(self: Any, batch_tokens: Any) -> Any:
        return activations(self, batch_tokens).to(self.dtype)

    return as_asked


def wrap_several(
    activations: Callable[[Any, Any], dict[str, Any]],
) -> Callable[[Any, Any], dict[str, Any]]:
    """The replacement for `get_multi_hook_activations`.

    Args:
        activations: What is there now: activations of tokens by hook point.

    Returns:
        The same in the store's dtype.
    """

    @wraps(activations)
    def as_asked(self: Any, batch_tokens: Any) -> dict[str, Any]:
        by_hook = activations(self, batch_tokens)
        return {name: found.to(self.dtype) for name, found in by_hook.items()}

    return as_asked


def probe() -> Finding:
    """Ask stores around a bfloat16 model for bfloat16 and for float32.

    Returns:
        PRESENT where one yields something else, ABSENT where none does.
    """
    import torch

    model = PlantedModel(dtype=torch.bfloat16)
    wrong = []
    for name, dtype in (("bfloat16", torch.bfloat16), ("float32", torch.float32)):
        one = next(store(model, rows(), dtype=name)).dtype
        loader = several_hooks(model, rows(), dtype=name).get_multi_hook_data_loader()
        several = {batch.dtype for batch in next(loader).values()}
        wrong += [f"one hook point: {one} for {name}"] * (one != dtype)
        wrong += [f"several: {several} for {name}"] * (several != {dtype})
    if wrong:
        return Finding(State.PRESENT, "; ".join(wrong))
    return Finding(State.ABSENT, "stores yield the dtype that they are asked for")
