"""SAELens: `run_evals` sets excluded tokens to zero too, and calls that the dictionary's baseline.

With `exclude_special_tokens`, the dictionary's reconstruction is put in place of an activation at the
other tokens alone, while the zeros it is compared with stand at all tokens. So a dictionary that is
nothing but zeros does not score 0: it recovers what the special tokens carry, which is much where a
row begins with one.

The fix leaves activations at excluded tokens as they are in both.
Source: `sae_lens/evals.py`, `get_recons_loss`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

from tl_ext.fixes.probing import Finding, State
from tl_ext.fixes.saelens.views import View
from tl_ext.fixes.tiny import gpt2_bridge, sae

SLUG = "zero-ablation-of-excluded-tokens"


def wrap(recons_loss: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """The replacement for `get_recons_loss`.

    Args:
        recons_loss: What is there now.

    Returns:
        The same with a model whose hooks leave activations at `ignore_tokens` alone.
    """

    signature = inspect.signature(recons_loss)

    @wraps(recons_loss)
    def at_the_same_tokens(*args: Any, **options: Any) -> dict[str, Any]:
        given = signature.bind(*args, **options)
        ignored = given.arguments.get("ignore_tokens")
        if ignored:
            given.arguments["model"] = _Sparing(
                given.arguments["model"], given.arguments["batch_tokens"], ignored
            )
        return recons_loss(*given.args, **given.kwargs)

    return at_the_same_tokens


class _Sparing(View):
    """A model whose hooks leave activations at some tokens as they are."""

    def __init__(self, model: Any, tokens: Any, spared: Sequence[int]) -> None:
        import torch

        ids = torch.tensor(list(spared), device=tokens.device)
        super().__init__(model, _spared=torch.isin(tokens, ids))

    def __call__(self, *args: Any, **options: Any) -> Any:
        return self._of(*args, **options)

    def run_with_hooks(self, *args: Any, fwd_hooks: Sequence[Any], **options: Any) -> Any:
        hooks = [(name, self._sparing(function)) for name, function in fwd_hooks]
        return self._of.run_with_hooks(*args, fwd_hooks=hooks, **options)

    def _sparing(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def edit(activation: Any, hook: Any) -> Any:
            # A hook of upstream's may write into what it is given.
            edited = function(activation.clone(), hook)
            shape = (*self._spared.shape, *(1 for _ in range(activation.ndim - 2)))
            return edited.where(~self._spared.reshape(shape).to(edited.device), activation)

        return edit


def probe() -> Finding:
    """Let a dictionary of zeros be judged on a row with an excluded token.

    Returns:
        PRESENT where its loss is not that of zeros, ABSENT where it is.
    """
    import torch
    from sae_lens.evals import get_recons_loss
    from sae_lens.training.activation_scaler import ActivationScaler

    zeros = sae("blocks.0.hook_resid_pre")
    for parameter in zeros.parameters():
        parameter.data.zero_()
    losses = get_recons_loss(
        zeros,
        gpt2_bridge(),
        ActivationScaler(),
        torch.tensor([[3, 1, 2, 0, 1]]),
        compute_kl=False,
        compute_ce_loss=True,
        ignore_tokens=[3],
    )
    apart = (losses["ce_loss_with_sae"] - losses["ce_loss_with_ablation"]).abs().max().item()
    if apart > 1e-4:
        return Finding(State.PRESENT, f"a dictionary of zeros is {apart:.2g} nats from zeros")
    return Finding(State.ABSENT, "a dictionary of zeros costs what zeros cost")
