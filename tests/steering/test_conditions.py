"""Which edits act on which row."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.interventions.toy import POINT, WIDTH, activation, same_bits, toy_dictionary

from tl_ext.errors import InputError
from tl_ext.interventions.edits import Add, AddEach, Clamp
from tl_ext.steering.conditions import grouped

OTHER = "blocks.2.hook_resid_pre"


def ones(factor: float, *, width: int = WIDTH) -> torch.Tensor:
    return torch.full((width,), factor)


def test_conditions_that_add_share_a_group_and_each_row_gets_its_own() -> None:
    conditions: list[Any] = [
        Add(POINT, ones(1.0)),
        Clamp(toy_dictionary(), 2, 3.0),
        (),
        [Add(POINT, ones(2.0)), Add(OTHER, ones(3.0)), Add(POINT, ones(4.0))],
    ]
    adding, alone = grouped(conditions, "cpu")
    assert adding.members == (0, 2, 3) and alone.members == (1,)
    assert alone.for_rows(torch.tensor([0, 0])) == (conditions[1],)
    rows = torch.tensor([2, 0, 1, 2])
    x = activation(4, 3, WIDTH)
    edits = adding.for_rows(rows)
    assert sorted(edit.hook_point for edit in edits) == [POINT, POINT, OTHER]
    for point in (POINT, OTHER):
        edited = x
        for edit in edits:
            if edit.hook_point == point:
                edited = edit.apply(edited)
        for row, member in enumerate(rows.tolist()):
            own = x[row : row + 1]
            condition = conditions[adding.members[member]]
            for edit in condition if isinstance(condition, (list, tuple)) else [condition]:
                if edit.hook_point == point:
                    own = edit.apply(own)
            assert same_bits(edited[row : row + 1], own)


def test_one_condition_stays_as_it_is() -> None:
    edit = Add(POINT, ones(1.0))
    (group,) = grouped([edit], "cpu")
    assert group.for_rows(torch.zeros(3, dtype=torch.long)) == (edit,)


def test_what_cannot_be_grouped_is_told() -> None:
    with pytest.raises(InputError, match="no conditions"):
        grouped([], "cpu")
    with pytest.raises(InputError, match="one forward pass"):
        grouped([AddEach(POINT, torch.ones(2, WIDTH))], "cpu")
    with pytest.raises(InputError, match=r"widths \[5, 24\]"):
        grouped([Add(POINT, ones(1.0)), Add(POINT, ones(1.0, width=5))], "cpu")
    with pytest.raises(InputError, match="An edit"):
        grouped([3], "cpu")  # type: ignore[list-item]
