"""TransformerLens: edits of `hook_pattern` do nothing on GPT-J, GPT-Neo, OPT and XGLM.

The attention of these models, and of others with a plain `AttentionBridge`, is transformers' own, and
its hooks fire when it is done: `hook_pattern` on the weights that came back, whose edit nothing reads
any more (4.x warns, 3.9 says nothing), and `hook_attn_scores` on the same weights, which are
probabilities and not scores.

Under the fix both fire where transformers takes the softmax: `hook_attn_scores` gets the scores with
the mask on them, `hook_pattern` the weights before dropout, and what they return is computed with.
Without a hook on either nothing is touched. A softmax that a hook itself takes is left alone. Attention
of T5's kind and attention without weights (sdpa, flash) stay as they are.
Source: `transformer_lens/model_bridge/generalized_components/attention.py`, `AttentionBridge.forward`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache, wraps
from typing import TYPE_CHECKING, Any

from tl_ext.fixes.probing import Finding, State
from tl_ext.fixes.tiny import boot

if TYPE_CHECKING:
    from torch import Tensor

SLUG = "delegated-attention-pattern-edits-dropped"


def wrap(original: Callable[..., Any]) -> Callable[..., Any]:
    """The replacement for `AttentionBridge.forward`.

    Args:
        original: What is there now.

    Returns:
        The same, with scores and pattern hooked inside where transformers computes them.
    """

    @wraps(original)
    def forward(self: Any, *args: Any, **options: Any) -> Any:
        hooked = _hooked(self.hook_pattern) or _hooked(self.hook_attn_scores)
        if not (hooked and _delegates(self)):
            return original(self, *args, **options)
        inside = _softmax_with_hooks()(self)
        kept: list[Tensor] = []

        def keep(module: Any, given: Any, output: Any) -> Any:
            if not (inside.fired and isinstance(output, tuple) and len(output) > 1):
                return output
            # Upstream fires its hooks on weights that it finds.
            kept.append(output[1])
            return (output[0], None, *output[2:])

        handle = self.original_component.register_forward_hook(keep)
        try:
            with inside:
                output = original(self, *args, **options)
        finally:
            handle.remove()
        return (output[0], *kept, *output[2:]) if kept else output

    return forward


def _delegates(attention: Any) -> bool:
    from transformer_lens.model_bridge.generalized_components.attention import AttentionBridge

    return (
        type(attention) is AttentionBridge
        and not getattr(attention, "requires_relative_position_bias", False)
        # It hooks inside by itself.
        and not getattr(attention.original_component, "accepts_pattern_fn", False)
    )


def _hooked(point: Any) -> bool:
    return bool(point._forward_hooks or point._backward_hooks)


@cache
def _softmax_with_hooks() -> Any:
    """A mode in which the softmax of an attention module's own code passes through its hooks."""
    import torch
    from torch.overrides import TorchFunctionMode

    class Softmax(TorchFunctionMode):
        def __init__(self, attention: Any) -> None:
            super().__init__()
            self.attention = attention
            self.module = type(attention.original_component).__module__
            self.own = next(attention.original_component.parameters()).dtype
            self.fired = False

        def __torch_function__(
            self, function: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            kwargs = kwargs or {}
            taken = function in (torch.nn.functional.softmax, torch.softmax, torch.Tensor.softmax)
            if self.fired or not taken or _caller() != self.module:
                return function(*args, **kwargs)
            self.fired = True
            scores, *rest = args
            # XGLM folds heads into the batch; elsewhere a layer may have a number of its own.
            folded, heads = scores.ndim == 3, self.attention.config.n_heads
            by_head = scores.reshape(-1, heads, *scores.shape[-2:]) if folded else scores
            hooked = self.attention.hook_attn_scores(by_head).reshape(scores.shape)
            weights = function(hooked, *rest, **kwargs)
            # The pattern that comes back has the model's type; packed weights do not tell it.
            seen = weights.to(self.own) if self.own.is_floating_point else weights
            pattern = self.attention.hook_pattern(seen.reshape(by_head.shape))
            return pattern.reshape(weights.shape).to(weights.dtype)

    return Softmax


def _caller() -> str:
    """The module whose code called torch: the nearest frame outside torch and this file."""
    frame = sys._getframe(1)
    while frame is not None:
        name: str = frame.f_globals.get("__name__", "")
        if name != __name__ and name.partition(".")[0] != "torch":
            return name
        frame = frame.f_back  # type: ignore[assignment]
    return ""


def probe() -> Finding:
    """Set a tiny GPT-J's attention pattern to zero, and look at its scores.

    Returns:
        PRESENT where logits stay or scores are the probabilities, ABSENT where neither is so.
    """
    import torch
    from transformers import GPTJConfig

    bridge = boot(
        GPTJConfig(vocab_size=8, n_embd=8, n_layer=1, n_head=1, n_positions=8, rotary_dim=4)
    )
    ids = torch.tensor([[1, 2, 3]])
    names = ("blocks.0.attn.hook_attn_scores", "blocks.0.attn.hook_pattern")
    logits, cache = bridge.run_with_cache(ids)
    same = torch.equal(*(cache[name] for name in names))
    zeroed = bridge.run_with_hooks(
        ids, fwd_hooks=[(names[1], lambda pattern, hook: torch.zeros_like(pattern))]
    )
    changed = (zeroed - logits).abs().max().item()
    state = State.PRESENT if same or changed < 1e-4 else State.ABSENT
    told = "probabilities" if same else "scores"
    return Finding(
        state, f"zeroing hook_pattern changed logits by {changed:.2g}; hook_attn_scores has {told}"
    )
