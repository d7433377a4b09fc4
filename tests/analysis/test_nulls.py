"""p-values, and what they allow to be decided."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tl_ext.analysis.nulls import (
    benjamini_hochberg,
    decision,
    rank_p,
    sign_flip,
    smallest_p,
)
from tl_ext.errors import InputError

numbers = st.floats(-1e6, 1e6)
lists = st.lists(numbers, min_size=1, max_size=30)


@given(numbers, lists, st.sampled_from(["greater", "less", "two-sided"]))
def test_p_is_in_its_range_and_not_below_the_smallest(observed, null, side) -> None:
    p = rank_p(observed, null, alternative=side)
    assert smallest_p(len(null), alternative=side) <= p <= 1


def test_rank_counts_the_observed_value_and_ties() -> None:
    assert rank_p(3.0, [1.0, 2.0, 3.0]) == 2 / 4
    assert rank_p(4.0, [1.0, 2.0, 3.0]) == 1 / 4
    assert rank_p(0.0, [1.0, 2.0, 3.0], alternative="less") == 1 / 4
    assert rank_p(4.0, [1.0, 2.0, 3.0], alternative="two-sided") == 2 / 4


def test_an_undefined_draw_never_helps() -> None:
    assert rank_p(4.0, [1.0, math.nan, 3.0]) == 2 / 4
    assert rank_p(0.0, [1.0, math.nan, 3.0], alternative="less") == 2 / 4
    assert math.isnan(rank_p(math.nan, [1.0]))


@given(lists, st.floats(1e-3, 1e3), st.randoms())
def test_scale_and_order_change_nothing(null, scale, random) -> None:
    observed = null[0]
    shuffled = list(null)
    random.shuffle(shuffled)
    assert rank_p(observed * scale, [one * scale for one in shuffled]) == rank_p(observed, null)


def test_decision() -> None:
    assert decision(0.04, 0.01) == "shown"
    assert decision(0.06, 0.01) == "not shown"
    assert decision(1.0, 0.06) == "cannot decide"
    assert decision(math.nan, 0.01) == "cannot decide"


def test_adjusted_by_hand() -> None:
    # Sorted p times count over rank, made monotone from the largest down.
    found = benjamini_hochberg([0.01, math.nan, 0.04, 0.03, 0.5])
    np.testing.assert_allclose(found[[0, 2, 3, 4]], [0.04, 4 / 3 * 0.04, 4 / 3 * 0.04, 0.5])
    assert math.isnan(found[1])


@given(st.lists(numbers, min_size=1, max_size=7))
def test_all_sign_patterns_are_counted(differences) -> None:
    found = sign_flip(differences)
    sums = [
        sum(sign * one for sign, one in zip(signs, differences, strict=True))
        for signs in product((1, -1), repeat=len(differences))
    ]
    slack = 1e-9 * sum(map(abs, differences))
    exact = sum(one >= sums[0] - slack for one in sums) / len(sums)
    assert found.p == pytest.approx(exact)
    assert found.smallest == 1 / len(sums)


def test_three_differences_cannot_decide() -> None:
    found = sign_flip([1.0, 2.0, 3.0])
    assert found.p == found.smallest == 1 / 8
    assert decision(*found) == "cannot decide"
    assert decision(*sign_flip(np.arange(1.0, 21.0))) == "shown"


def test_no_differences_give_no_p() -> None:
    assert math.isnan(sign_flip([]).p) and math.isnan(sign_flip([1.0, math.nan]).p)


def test_wrong_input_is_told() -> None:
    with pytest.raises(InputError, match="a list of draws"):
        rank_p(1.0, [[1.0]])
    with pytest.raises(InputError, match="'more'"):
        rank_p(1.0, [1.0], alternative="more")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="one a unit"):
        sign_flip(np.zeros((2, 2)))
