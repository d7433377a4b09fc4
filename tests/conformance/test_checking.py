"""When two tensors are the same, and what is kept of those that are not."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tl_ext.conformance.checking import TOLERANCE, Findings, check, distance


@given(st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=6), st.floats(0, 1))
def test_the_distance_is_the_largest_difference_over_the_largest_value(
    values: list[float], off: float
) -> None:
    truth = torch.tensor(values, dtype=torch.float64)
    seen = truth.clone()
    seen[0] += off
    expected = off / max(1.0, truth.abs().max().item())
    assert distance(seen, truth) == pytest.approx(expected, abs=1e-9)


def test_masked_scores_are_the_same_however_they_are_written() -> None:
    least = torch.finfo(torch.float32).min
    one = torch.tensor([1.0, least, -math.inf, -math.inf])
    other = torch.tensor([1.0, -math.inf, least, -math.inf])
    assert distance(one, other) == 0
    assert distance(torch.tensor([least]), torch.tensor([0.0])) > 1
    assert distance(torch.tensor([math.nan]), torch.tensor([0.0])) == math.inf
    assert distance(torch.tensor([math.nan]), torch.tensor([math.nan])) == 0


def test_findings_keep_what_was_wrong_and_count_what_was_asked() -> None:
    found = Findings(TOLERANCE[torch.float32])
    ones = torch.ones(2, 3)
    found.close("near", ones + 1e-6, ones)
    found.close("far", ones + 1, ones, script="    error = 1.0")
    found.close("shape", ones[0], ones)
    found.same("bits", ones + 1e-6, ones)
    found.holds("so", False, "is not so")
    assert found.compared == 5
    assert [one.what for one in found.violations] == ["far", "shape", "bits", "so"]
    far, shape, *_ = found.violations
    assert far.size == pytest.approx(1) and far.script == "error = 1.0"
    assert "(3,); expected is (2, 3)" in shape.told and shape.size == math.inf


def test_a_check_is_called_by_its_function() -> None:
    @check("M1", "causal")
    def some_thing(subject: object, found: Findings) -> None:
        """What it asks.

        More of it.
        """

    assert (some_thing.name, some_thing.told) == ("some-thing", "What it asks.")
    assert some_thing.needs == {"causal"}
