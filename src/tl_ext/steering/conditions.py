"""Many conditions in one forward pass: which edits act on which row.

A condition is what `steer` takes as its edits. Conditions that only add vectors share forward passes,
each row with its own vector; any other condition has passes of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tl_ext.errors import InputError
from tl_ext.interventions.applied import as_edits
from tl_ext.interventions.edits import Add, AddEach, Edit

Condition = Edit | Sequence[Edit]
"""Edits that act together; `()` is the model as it is."""


@dataclass(frozen=True, eq=False)
class Group:
    """Conditions that share forward passes.

    Attributes:
        members: Their places among all conditions.
        fixed: The edits of a condition that stands alone.
        added: For each hook point and turn what each member adds there; a member that adds nothing
            has a row of zeros, which leaves the activation as it is, bit by bit.
        needs_context: Whether its edits need whole sequences, without padding.
    """

    members: tuple[int, ...]
    fixed: tuple[Edit, ...] = ()
    added: tuple[tuple[str, Float[Tensor, "member d_in"]], ...] = ()
    needs_context: bool = False

    def for_rows(self, member: Int[Tensor, " row"]) -> tuple[Edit, ...]:
        """The edits of a forward pass.

        Args:
            member: For each row which member of the group it belongs to, counted from 0.
        """
        return self.fixed or tuple(
            AddEach(point, vectors[member.to(vectors.device)]) for point, vectors in self.added
        )


def grouped(conditions: Sequence[Condition], device: torch.device | str) -> list[Group]:
    """Conditions by what can be read in one pass.

    Args:
        conditions: At least one.
        device: Where the vectors that are added go.

    Raises:
        InputError: No conditions; something among them is no edit; an `AddEach`, whose rows are those
            of one forward pass; vectors of several widths at one hook point.
    """
    if not conditions:
        raise InputError("There are no conditions: an empty list was given.")
    several = [as_edits(condition) for condition in conditions]
    if any(isinstance(edit, AddEach) for edits in several for edit in edits):
        raise InputError(
            "AddEach belongs to one forward pass, and here the rows are ordered and batched for you. "
            "Pass one Add a condition to steer_each, which makes its own AddEach of them."
        )
    adding = [number for number, edits in enumerate(several) if _only_adds(edits)]
    together = set(adding) if len(adding) > 1 else set()
    alone = [
        Group((number,), edits, needs_context=any(edit.needs_context for edit in edits))
        for number, edits in enumerate(several)
        if number not in together
    ]
    return ([_adding(adding, several, device)] if together else []) + alone


def _only_adds(edits: Sequence[Edit]) -> bool:
    return all(type(edit) is Add for edit in edits)


def _adding(
    members: Sequence[int], several: Sequence[Sequence[Edit]], device: torch.device | str
) -> Group:
    """One group of all that add: the first vector at a hook point, then the second, and so on."""
    slots: dict[tuple[str, int], dict[int, Tensor]] = {}
    for place, number in enumerate(members):
        turns: dict[str, int] = {}
        for edit in several[number]:
            assert isinstance(edit, Add)
            turn = turns[edit.hook_point] = turns.get(edit.hook_point, -1) + 1
            slots.setdefault((edit.hook_point, turn), {})[place] = edit.vector
    added = []
    for (point, _), vectors in slots.items():
        widths = sorted({len(vector) for vector in vectors.values()})
        if len(widths) > 1:
            raise InputError(
                f"The vectors to add at {point} have widths {widths}; one width is expected. A vector "
                "fits only the hook point and the model it was made for."
            )
        dtype = next(iter(vectors.values())).dtype
        for vector in vectors.values():
            dtype = torch.promote_types(dtype, vector.dtype)
        stacked = torch.zeros(len(members), widths[0], dtype=dtype, device=device)
        for place, vector in vectors.items():
            stacked[place] = vector.to(stacked)
        added.append((point, stacked))
    return Group(tuple(members), added=tuple(added))
