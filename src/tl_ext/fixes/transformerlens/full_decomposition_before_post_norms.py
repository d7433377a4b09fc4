"""TransformerLens: `get_full_resid_decomposition` does not sum to the residual stream on post-norm models.

Gemma-2 and 3, GLM-4, OLMo-2 and 3 put the output of attention and MLP through a norm before they add it
to the residual stream. `decompose_resid` takes what is added; `get_full_resid_decomposition` takes what
heads and neurons write before that norm, with the biases, and mixes them with embeddings and MLP
outputs that need no norm any more. The sum is another vector, and no warning says so.

A head's part of a norm of a sum is not defined by itself. With the scale held at what it was, as
TransformerLens holds it in `apply_ln_to_stack`, an RMS norm is linear: under the fix each head and
neuron, and its layer's bias, is divided by the scale of its post-norm and multiplied by that norm's
gain. The pieces then sum to the residual stream, and so do attributions to logits. With
`project_output_onto` the projection comes last, so that its saving of memory is lost on these models.
`stack_head_results` and `stack_neuron_results` called by themselves give what heads and neurons write,
as before. Models without post-norms, and HookedTransformer, go to upstream's code untouched.
Source: `transformer_lens/ActivationCache.py`, `ActivationCache.get_full_resid_decomposition`.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

from tl_ext.fixes.probing import Finding, State
from tl_ext.fixes.tiny import DECODER, boot

if TYPE_CHECKING:
    from torch import Tensor

SLUG = "full-decomposition-before-post-norms"


def wrap(original: Callable[..., Any]) -> Callable[..., Any]:
    """The replacement for `ActivationCache.get_full_resid_decomposition`.

    Args:
        original: What is there now.

    Returns:
        The same, whose pieces have gone through their post-norm, the norm's scale held fixed.
    """
    signature = inspect.signature(original)

    @wraps(original)
    def get_full_resid_decomposition(*args: Any, **options: Any) -> Any:
        given = signature.bind(*args, **options)
        given.apply_defaults()
        asked = dict(given.arguments)
        cache = asked["self"]
        if not any(
            _post_norm(block, part) for block in cache.model.blocks for part in _PARTS.values()
        ):
            return original(*args, **options)
        raw = asked | {"apply_ln": False, "return_labels": True, "project_output_onto": None}
        stack, labels = original(**raw)
        stack = _through_post_norms(cache, stack, labels, asked)
        if asked["apply_ln"]:
            stack = cache.apply_ln_to_stack(
                stack, asked["layer"], mlp_input=asked["mlp_input"], pos_slice=asked["pos_slice"]
            )
        if asked["project_output_onto"] is not None:
            stack = stack @ asked["project_output_onto"]
        return (stack, labels) if asked["return_labels"] else stack

    return get_full_resid_decomposition


_PARTS = {"H": "hook_attn_out", "N": "hook_mlp_out"}
"""What a label's letter stands for: the hook point of what is added to the residual stream."""


def _post_norm(block: Any, added: str) -> tuple[str, Any] | None:
    """The RMS norm between a part of a block and the residual stream, with its name there."""
    # A block of HookedTransformer's has no aliases.
    alias = getattr(block, "hook_aliases", {}).get(added)
    norm = re.fullmatch(r"(ln\w+)\.hook_out", alias) if isinstance(alias, str) else None
    if norm is None:
        return None
    module = getattr(block, norm[1])
    return (norm[1], module) if module.uses_rms_norm else None


def _through_post_norms(
    cache: Any, stack: Tensor, labels: list[str], asked: dict[str, Any]
) -> Tensor:
    rows: dict[tuple[int, str], list[int]] = {}
    for row, label in enumerate(labels):
        if piece := re.fullmatch(r"L(\d+)([HN])\d+", label):
            rows.setdefault((int(piece[1]), piece[2]), []).append(row)
    biases = stack.new_zeros(stack.shape[1:])
    for (layer, letter), held in rows.items():
        bias = _bias(cache.model, layer, letter).expand(1, *stack.shape[1:])
        biases += _normed(cache, layer, letter, bias, asked["pos_slice"])[0]
        # The stack is upstream's own concatenation, made for this call.
        stack[held] = _normed(cache, layer, letter, stack[held], asked["pos_slice"])
    stack[labels.index("bias")] = biases
    return stack


def _bias(model: Any, layer: int, letter: str) -> Tensor:
    """The bias of a layer's attention (H) or MLP (N)."""
    middle = model.accumulated_bias(layer, mlp_input=True)
    bias: Tensor = (
        middle - model.accumulated_bias(layer)
        if letter == "H"
        else model.accumulated_bias(layer + 1) - middle
    )
    return bias


def _normed(cache: Any, layer: int, letter: str, pieces: Tensor, pos_slice: Any) -> Tensor:
    from transformer_lens.utilities.slice import Slice

    found = _post_norm(cache.model.blocks[layer], _PARTS[letter])
    if found is None:
        return pieces
    name, norm = found
    at = pos_slice if isinstance(pos_slice, Slice) else Slice(pos_slice)
    scale = at.apply(cache[f"blocks.{layer}.{name}.hook_scale"], dim=-2)
    # Upstream's own gain, which some norms store as its distance from one.
    normed: Tensor = norm._apply_weight_and_bias(pieces / scale, pieces.dtype)
    return normed


def probe() -> Finding:
    """Decompose the residual stream of a tiny OLMo-2 into heads, neurons, embedding and biases.

    Returns:
        PRESENT where the pieces do not sum to it, ABSENT where they do.
    """
    import torch
    from transformers import Olmo2Config

    bridge = boot(Olmo2Config(**DECODER, pad_token_id=0))
    bridge.set_use_attn_result(True)
    _, cache = bridge.run_with_cache(torch.tensor([[1, 2, 3]]))
    whole = cache["resid_post", -1]
    off = (cache.get_full_resid_decomposition().sum(0) - whole).abs().max().item()
    state = State.PRESENT if off > 1e-3 else State.ABSENT
    return Finding(state, f"heads, neurons, embedding and biases are {off:.2g} from their sum")
