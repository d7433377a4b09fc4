"""Put edits into a model for as long as a context lasts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tl_ext.errors import HookPointError, InputError
from tl_ext.interventions.edits import Edit, Where
from tl_ext.models.hook_points import HookFunction, hooked, resolve, why_not_editable

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


@contextmanager
def applied(
    model: TransformerBridge,
    edits: Edit | Sequence[Edit],
    where: Where | Callable[[], Where] = None,
) -> Iterator[None]:
    """Every forward pass within the context runs with the edits.

    Edits at one hook point follow one another in the order given. Hooks of others stay; ours are gone
    afterwards, also after an exception.

    Args:
        model: A hooked model.
        edits: One edit or several; none leaves the model alone.
        where: The cells to act on, `[batch token]` of each forward pass within the context; or a
            function that gives them, asked at every hook point; None: every cell, padding and first
            positions included (`batch.content` leaves these out).

    Yields:
        Nothing.

    Raises:
        HookPointError: The model lacks a hook point; or edits do not work there (the reason is told);
            or, at the end, a forward pass was completed and a hook point did not fire, so that its
            edits had no effect.
        InputError: What was given is no edit; or, in the forward pass, a vector of another width or
            a `where` of another shape than the activation.
        DictionaryError: In the forward pass, a dictionary of another width.

    Example:
        ```python
        tokens = batch(model, ["I am", "We are"])
        with applied(model, vector.at(2.0), tokens.content):
            logits = model(tokens.ids, **tokens.forward_arguments())
        ```
    """
    edits = as_edits(edits)
    if not edits:
        yield
        return
    completed = 0

    def count(*_: object) -> None:
        nonlocal completed
        completed += 1

    with hooked(model, _functions(model, edits, where)) as fired:
        # After the forward pass: one that is ended early, as capturing does, proves nothing.
        handle = model.original_model.register_forward_hook(count)
        try:
            yield
        finally:
            handle.remove()
    silent = [name for name, times in fired.items() if not times]
    if silent and completed:
        raise HookPointError(
            f"The model ran and these hook points never fired, so the edits there had no effect: "
            f"{', '.join(silent)}. Choose other hook points."
        )


def as_edits(edits: Edit | Sequence[Edit]) -> tuple[Edit, ...]:
    """One edit or several as a tuple.

    Raises:
        InputError: Something among them is no edit.
    """
    one = isinstance(edits, Edit) or not isinstance(edits, Iterable)
    several: tuple[Any, ...] = (edits,) if one else tuple(edits)  # type: ignore[arg-type]
    for edit in several:
        if not isinstance(edit, Edit):
            hint = " Choose a strength: vector.at(2.0)." if hasattr(edit, "at") else ""
            raise InputError(
                f"An edit (Add, AddEach, Clamp, Ablate, Splice) is expected, not {type(edit).__name__}.{hint}"
            )
    return several


def _functions(
    model: TransformerBridge, edits: Sequence[Edit], where: Where | Callable[[], Where]
) -> dict[str, HookFunction]:
    """One hook function for each hook point that is changed or read."""
    spelling: dict[int, str] = {}

    def canonical(name: str) -> str:
        # Two names of one hook point are one, or the order of edits would be lost.
        return spelling.setdefault(id(resolve(model, name)), name)

    writers: dict[str, list[int]] = {}
    readers: dict[str, list[int]] = {}
    for number, edit in enumerate(edits):
        if reason := why_not_editable(edit.hook_point):
            raise HookPointError(f"{edit.hook_point} cannot be edited: {reason}.")
        writes, reads = canonical(edit.hook_point), canonical(edit.reads)
        if reads != writes:
            readers.setdefault(reads, []).append(number)
        writers.setdefault(writes, []).append(number)

    seen: dict[int, Tensor] = {}  # what an edit reads elsewhere, until it acts

    def function_at(name: str) -> HookFunction:
        writing, reading = writers.get(name, []), readers.get(name, [])

        def function(activation: Tensor) -> Tensor | None:
            edited = activation
            if writing:
                cells = _cells(where() if callable(where) else where, activation, name)
                for number in writing:
                    edit = edits[number]
                    read = seen.pop(number, None)
                    if read is None and edit.reads != edit.hook_point:
                        raise HookPointError(
                            f"An edit at {edit.hook_point} reads {edit.reads}, which had not fired "
                            "before it."
                        )
                    edited = edit.apply(edited, cells, read=read)
            for number in reading:
                seen[number] = edited
            return None if edited is activation else edited

        return function

    return {name: function_at(name) for name in dict.fromkeys([*readers, *writers])}


def _cells(where: Where, activation: Tensor, name: str) -> Where:
    if where is None:
        return None
    if where.dtype != torch.bool or where.shape != activation.shape[:2]:
        raise InputError(
            f"where is {where.dtype} of shape {list(where.shape)}; at {name} booleans of shape "
            f"{list(activation.shape[:2])}, [batch token], are expected."
        )
    return where.to(activation.device)
