"""Hook points by name: find one, put functions on it, know what space it lives in.

Capturing and editing go through plain hooks on the bridge's own `HookPoint` objects. SAELens'
`SAETransformerBridge` is not used: hooks under its `blocks.N.hook_resid_pre` names never fire.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from tl_ext import fixes, upstream
from tl_ext.errors import HookPointError, nearest

if TYPE_CHECKING:
    from transformer_lens.hook_points import HookPoint
    from transformer_lens.model_bridge import TransformerBridge

HookFunction = Callable[[Float[Tensor, "batch token d_in"]], "Tensor | None"]

RESIDUAL_KINDS = frozenset(
    {"resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out", "embed", "pos_embed"}
)
HEAD_KINDS = frozenset({"q", "k", "v", "z", "rot_q", "rot_k"})

# What must not be edited as upstream has it, why, and the fix under which it may.
_NOT_EDITABLE = {
    "resid_mid": (
        "upstream reads it off the MLP norm's input, so an edit there changes what the MLP sees and "
        "leaves the residual stream alone; edit hook_attn_out or hook_resid_pre instead",
        "resid-mid-edit-reaches-mlp-alone",
    ),
    "attn_scores": (
        "for several architectures it holds probabilities and edits are dropped",
        "delegated-attention-pattern-edits-dropped",
    ),
}

# The bridge's own names for what TransformerLens calls hook_z and so on.
_BRIDGE_NAMES = {
    "attn.o.hook_in": "z",
    "attn.q.hook_out": "q",
    "attn.k.hook_out": "k",
    "attn.v.hook_out": "v",
    "attn.hook_out": "attn_out",
    "mlp.hook_out": "mlp_out",
}


def names(given: Iterable[str]) -> tuple[str, ...]:
    """Names as a tuple; a bare string is one name."""
    return (given,) if isinstance(given, str) else tuple(given)


def layer_of(name: str) -> int | None:
    """The layer in a hook point's name: 4 for `blocks.4.hook_resid_pre`, None outside the blocks."""
    match = re.match(r"blocks\.(\d+)\.", name)
    return int(match[1]) if match else None


def kind_of(name: str) -> str:
    """What a hook point holds, without its layer: `resid_pre`, `z`, `mlp_out`, ...

    Both spellings give one kind: `blocks.0.attn.hook_z` and `blocks.0.attn.o.hook_in` are `z`.
    """
    for ending, kind in _BRIDGE_NAMES.items():
        if name.endswith(ending):
            return kind
    if re.fullmatch(r"blocks\.\d+\.hook_in", name):
        return "resid_pre"
    if re.fullmatch(r"blocks\.\d+\.hook_out", name):
        return "resid_post"
    return name.rsplit(".", 1)[-1].removeprefix("hook_")


def why_not_editable(name: str) -> str:
    """Why an edit at a hook point would not do what it says; empty where it would.

    Args:
        name: The hook point's name, in either spelling.
    """
    if kind_of(name) not in _NOT_EDITABLE:
        return ""
    reason, slug = _NOT_EDITABLE[kind_of(name)]
    if fixes.in_effect(slug):
        return ""
    return f"{reason}, or apply the fix {slug}"


def resolve(model: TransformerBridge, name: str) -> HookPoint:
    """The hook point of that name.

    Args:
        model: A hooked model.
        name: A name in TransformerLens' spelling or the bridge's own.

    Raises:
        HookPointError: The model has no such hook point (the nearest names are told), or it is
            switched off.
    """
    return resolve_all(model, [name])[name]


def resolve_all(model: TransformerBridge, wanted: Iterable[str]) -> dict[str, HookPoint]:
    """Several hook points by name, in one look at the model's table, which is made anew at each.

    Raises:
        HookPointError: As for `resolve`.
    """
    points = model.hook_dict
    found = {}
    for name in wanted:
        if name not in points:
            raise HookPointError(
                f"The model has no hook point {name!r}.{nearest(name, points)} "
                "`model.hook_dict` lists them all."
            )
        try:
            upstream.check_switched_on(model, points[name], name)
        except ValueError as off:
            raise HookPointError(str(off)) from off
        found[name] = points[name]
    return found


@contextmanager
def hooked(
    model: TransformerBridge, functions: Mapping[str, HookFunction]
) -> Iterator[dict[str, int]]:
    """Put functions on hook points for as long as the context lasts.

    Hooks of others stay where they are, and exactly ours are removed at the end, also after an
    exception.

    Args:
        model: A hooked model.
        functions: Hook point to function. A function gets the activation
            `[batch token d_in]` (head axes flattened) and returns a replacement of the same shape, or
            None to leave it. Where the model lets its batch grow, a replacement may have more rows.

    Yields:
        How often each hook point fired so far, so that a caller can tell an edit that took no effect.

    Raises:
        HookPointError: A hook point the model lacks, or one that holds no `[batch token d_in]`.
    """
    fired = dict.fromkeys(functions, 0)
    points = resolve_all(model, functions)
    handles = []
    try:
        for name, function in functions.items():
            points[name].add_hook(_adapt(name, function, fired))
            handles.append((points[name], points[name].fwd_hooks[-1]))
        yield fired
    finally:
        for point, handle in handles:
            handle.hook.remove()
            point.fwd_hooks = [other for other in point.fwd_hooks if other is not handle]


def _adapt(name: str, function: HookFunction, fired: dict[str, int]) -> Callable[..., Any]:
    """Wrap a function on `[batch token d_in]` as upstream's hook."""
    heads = kind_of(name) in HEAD_KINDS

    def hook_function(tensor: Tensor, *, hook: Any) -> Tensor | None:
        fired[name] += 1
        shape = tensor.shape
        if tensor.ndim == 4 and heads:
            tensor = tensor.flatten(2)
        elif tensor.ndim != 3:
            raise HookPointError(
                f"{name} holds a tensor of shape {tuple(shape)}; an activation "
                "[batch token d_in] is expected."
            )
        replacement = function(tensor)
        return None if replacement is None else replacement.reshape(len(replacement), *shape[1:])

    return hook_function


def to_residual(
    model: TransformerBridge, name: str, rows: Float[Tensor, "row d_in"]
) -> Float[Tensor, "row d_model"]:
    """Bring directions at a hook point into the residual stream, the one space they share.

    Args:
        model: A hooked model.
        name: The hook point whose space `rows` live in.
        rows: Directions, one a row.

    Returns:
        The rows themselves where the hook point writes to or reads the residual stream; rows at
        hook_z are mapped through that layer's W_O.

    Raises:
        HookPointError: The hook point shares no space with the residual stream.
    """
    kind = kind_of(name)
    if kind in RESIDUAL_KINDS:
        return rows
    layer = layer_of(name)
    if kind == "z" and layer is not None:
        block = model.blocks[layer]
        if "ln1_post" in getattr(block, "submodules", {}):
            raise HookPointError(
                f"{name} reaches the residual stream through a norm after the attention, so its "
                "directions have no fixed image there."
            )
        weight: Tensor = block.attn.W_O.detach().to(rows)  # [head d_head d_model]
        return rows @ weight.reshape(-1, weight.shape[-1])
    raise HookPointError(
        f"Directions at {name} ({kind}) share no space with the residual stream; "
        f"comparable are {', '.join(sorted(RESIDUAL_KINDS | {'z'}))}."
    )


def row_norms(activation: Float[Tensor, "row d_in"]) -> Float[Tensor, " row"]:
    """The length of each activation, float32 on the CPU."""
    norms: Tensor = torch.linalg.vector_norm(activation.float(), dim=-1)
    return norms.cpu()


def usual_norm(norms: Sequence[Float[Tensor, " row"]]) -> float:
    """The median length of activations at a hook point, a natural unit of steering strength.

    Args:
        norms: What `row_norms` gives, batch by batch; at least one row in all.
    """
    return float(torch.cat(list(norms)).median())
