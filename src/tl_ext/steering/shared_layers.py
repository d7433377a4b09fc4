"""The layers below an edit, computed once for all conditions that are read on the same text.

Conditions that add vectors at one layer differ only from that layer on. So a text is given to the model
as one row, and at the edit's hook point the row is repeated, one for each condition: the layers below
cost what one row costs. With one row there is no padding, and a mask of one row fits any number.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Int
from torch import Tensor

from tl_ext.interventions.applied import applied
from tl_ext.models.hook_points import RESIDUAL_KINDS, kind_of, resolve_all
from tl_ext.steering.conditions import Group
from tl_ext.steering.decoding import forward

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

LEAST = 32
"""Conditions from which on a text at a time is worth it; fewer fill no batch."""


@contextmanager
def repeated(model: TransformerBridge, group: Group, rows: int) -> Iterator[None]:
    """Within the context a forward pass of one row has `rows` from the group's first hook point on.

    Enter `applied` inside of it: the edits then see all rows.
    """

    def repeat(tensor: Tensor, *, hook: Any) -> Tensor | None:
        return tensor.expand(rows, *tensor.shape[1:]) if len(tensor) == 1 else None

    handles = []
    try:
        for point in resolve_all(model, {name for name, _ in group.added}).values():
            point.add_hook(repeat)
            handles.append((point, point.fwd_hooks[-1]))
        yield
    finally:
        for point, handle in handles:
            handle.hook.remove()
            point.fwd_hooks = [other for other in point.fwd_hooks if other is not handle]


def shares_layers(
    model: TransformerBridge, group: Group, ids: Int[Tensor, "1 token"], *, cached: bool
) -> bool:
    """Whether one row may stand for all conditions of a group: tried on two of them.

    Not every architecture lets a batch grow on its way; and where it does, keys and values of the
    layers below then have one row.

    Args:
        model: A hooked model.
        group: The conditions.
        ids: A text of at least two tokens; what is tried gives the logits of its last.
        cached: Whether keys and values are to be kept between forward passes.
    """
    kinds = {kind_of(point) for point, _ in group.added}
    few = len(group.members) < LEAST or ids.shape[1] < 2
    if few or not kinds or not kinds <= RESIDUAL_KINDS:
        return False
    edits, attention = group.for_rows(torch.arange(2)), torch.ones_like(ids)
    with torch.no_grad():
        with applied(model, edits):
            twice = ids.repeat(2, 1), attention.repeat(2, 1)
            expected, _ = forward(model, *twice, use_cache=False)
        try:
            with repeated(model, group, 2), applied(model, edits):
                if cached:
                    _, cache = forward(model, ids[:, :-1], attention[:, :-1], use_cache=True)
                    found, _ = forward(model, ids[:, -1:], attention, use_cache=True, cache=cache)
                else:
                    found, _ = forward(model, ids, attention, use_cache=False)
        except (RuntimeError, ValueError, IndexError):
            return False
    if found.shape != expected.shape:
        return False
    tolerance = max(4 * torch.finfo(expected.dtype).eps, 1e-4) * expected.abs().amax()
    return bool((found - expected).abs().amax() <= tolerance)
