"""What a sweep tries, and the controls beside it."""

from __future__ import annotations

import pytest
import torch

from tl_ext.steering.trials import trials
from tl_ext.steering.vectors import SteeringVector, tensor_vector

POINT = "blocks.0.hook_resid_pre"


def vector(name: str, axis: int, unit: float = 1.0) -> SteeringVector:
    return tensor_vector(torch.eye(4)[axis], POINT, unit=unit, unit_name="unit", name=name)


def test_every_control_has_the_length_of_the_vector_it_stands_beside() -> None:
    tried = [vector("a", 0, 2.0), vector("b", 1, 5.0)]
    found = trials(
        tried, (0, 1, 3, 1), random=2, random_written=1, baselines=[vector("means", 2, 9.0)], seed=7
    )
    assert len(found) == 2 * 5 * 2
    for one in found:
        own = {"a": 2.0, "b": 5.0}[one.of]
        length = float(one.vector.at(one.strength).vector.norm())
        assert length == pytest.approx(own * one.strength)
        assert one.vector.unit_name == "unit"
    kinds = [(one.role, one.written) for one in found if one.of == "b" and one.strength == 3]
    assert kinds == [
        *(("tried", True), ("reversed", True), ("random", True), ("random", False)),
        ("baseline", True),
    ]
    back = next(one for one in found if one.role == "reversed")
    assert torch.equal(back.vector.direction, -tried[0].direction)
    again = trials(tried, (1,), random=2, random_written=9, baselines=(), seed=7)
    drawn = [one.vector.direction for one in found if one.role == "random" and one.strength == 1]
    for one, other in zip([x for x in again if x.role == "random"], drawn, strict=True):
        assert torch.equal(one.vector.direction, other) and one.written
