"""The assignment is the best there is, or is told how far from it it can be."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from tests.planted.worlds import directions, generator, turned

from tl_ext.analysis import assignment
from tl_ext.analysis.assignment import Assignment, assign
from tl_ext.analysis.similarity import cosine
from tl_ext.errors import InputError


def check(found: Assignment, first: torch.Tensor, second: torch.Tensor) -> None:
    given = found.index >= 0
    taken = found.index[given]
    assert len(set(taken.tolist())) == len(taken) == min(len(first), len(second))
    told = cosine(first, second)[given.nonzero().flatten(), taken]
    torch.testing.assert_close(found.cosine[given], told, atol=1e-6, rtol=0)
    assert found.cosine[~given].isnan().all()
    assert found.total == pytest.approx(float(told.sum()), abs=1e-4)
    assert found.gap >= 0


@settings(max_examples=50, deadline=None)
@given(
    st.integers(1, 80),
    st.integers(1, 80),
    st.integers(1, 12),
    st.integers(0, 2**30),
    st.booleans(),
)
def test_the_sparse_total_is_at_most_the_exact_one_and_that_at_most_the_bound(
    few: int, many: int, width: int, seed: int, whole: bool
) -> None:
    first, second = directions(few, width, seed=seed), directions(many, width, seed=seed + 1)
    if whole:  # many ties
        first, second = (rows.mul(2).round().add(0.1) for rows in (first, second))
    exact, sparse = assign(first, second), assign(first, second, memory=0)
    check(exact, first, second)
    check(sparse, first, second)
    best = linear_sum_assignment(cosine(first, second).numpy(), maximize=True)
    assert exact.method == "exact" and sparse.method == "sparse"
    assert exact.total == pytest.approx(float(cosine(first, second)[best].sum()))
    assert exact.bound == exact.total
    assert sparse.total <= exact.total + 1e-5
    assert exact.total <= sparse.bound + 1e-9
    if max(few, many) <= assignment.MOST:  # every pair is a candidate
        assert sparse.total == pytest.approx(exact.total, abs=1e-5)


def test_counterparts_are_all_assigned_where_every_row_has_one() -> None:
    second = directions(400, 48, seed=0)
    order = torch.randperm(400, generator=generator(1))
    first = turned(second[order], 30, seed=2)
    for memory in (0, assignment.MEMORY):
        assert torch.equal(assign(first, second, memory).index, order)


def test_the_gap_to_the_bound_is_small_where_nothing_is_planted() -> None:
    first, second = directions(700, 64, seed=0), directions(900, 64, seed=1)
    exact, sparse = assign(first, second), assign(first, second, memory=0)
    assert sparse.total > 0.99 * exact.total
    assert sparse.bound < 1.01 * exact.total
    assert assign(second, first, memory=0).total == pytest.approx(sparse.total, rel=1e-3)


def test_rows_without_direction_are_given_none() -> None:
    first = torch.tensor([[0.0, 0], [1, 0], [torch.nan, 1], [0, 1]])
    second = torch.tensor([[0.0, 2], [0, 0], [-1, 3], [5, 0]])
    for memory in (0, assignment.MEMORY):
        assert assign(first, second, memory).index.tolist() == [-1, 3, -1, 0]
    nothing = assign(first[:1], second, 0)
    assert (nothing.index.tolist(), nothing.total, nothing.bound, nothing.gap) == ([-1], 0, 0, 0)


def test_many_rows_that_are_all_alike_are_still_all_assigned() -> None:
    rows = torch.ones(300, 4)
    found = assign(rows, rows, memory=0)
    assert sorted(found.index.tolist()) == list(range(300))
    assert found.total == pytest.approx(300)


def test_the_exact_method_holds_one_float64_a_pair() -> None:
    first, second = directions(900, 8, seed=0), directions(800, 8, seed=1)
    tracemalloc.start()
    assign(first, second)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.05 * assignment.BYTES * first.shape[0] * second.shape[0]


def test_the_memory_limit_decides_the_method() -> None:
    first, second = directions(30, 5, seed=0), directions(40, 5, seed=1)
    needed = assignment.BYTES * 30 * 40
    assert assign(first, second, needed).method == "exact"
    assert assign(first, second, needed - 1).method == "sparse"
    with pytest.raises(InputError, match="memory is -1"):
        assign(first, second, -1)
    with pytest.raises(InputError, match="width"):
        assign(first, second[:, :3])


def test_what_is_left_is_assigned_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assignment, "LEAST", 64)
    first, second = directions(300, 6, seed=0), directions(310, 6, seed=1)
    whole = assign(first, second)
    parts = assign(first, second, memory=0)
    check(parts, first, second)
    assert parts.total <= whole.total + 1e-5 <= parts.bound + 1e-4
    assert np.isfinite(parts.gap)
