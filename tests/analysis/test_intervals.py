"""Intervals over units."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from tl_ext.analysis.intervals import (
    Interval,
    bootstrap,
    fieller,
    mean_interval,
    resamples,
    share_interval,
)
from tl_ext.errors import InputError

VALUES = np.array([1.0, 2.0, 4.0, 8.0])


def test_the_mean_is_students() -> None:
    mean, found = mean_interval([*VALUES, math.nan])
    expected = stats.ttest_1samp(VALUES, 0).confidence_interval(0.95)
    assert mean == 3.75
    np.testing.assert_allclose(found, expected)
    assert math.isnan(mean_interval([1.0])[1].low)
    assert math.isnan(mean_interval([])[0])


def test_an_undefined_interval_excludes_nothing() -> None:
    assert Interval(0.1, 0.2).excludes() and Interval(-2, -1).excludes()
    assert not Interval(-1, 1).excludes()
    assert not Interval(math.nan, math.nan).excludes()


def test_resampled_mean_is_near_students() -> None:
    drawn = np.random.default_rng(0).normal(5, 1, 200)
    found = bootstrap(lambda index: float(drawn[index].mean()), 200)
    np.testing.assert_allclose(found, mean_interval(drawn)[1], atol=0.03)
    assert found == bootstrap(lambda index: float(drawn[index].mean()), 200)


def test_mostly_undefined_resamples_give_no_interval() -> None:
    assert math.isnan(bootstrap(lambda index: math.nan, 10).low)
    assert math.isnan(bootstrap(lambda index: 1.0, 1).low)


def test_ratio_holds_the_truth_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        below = random.normal(2, 1, 12)
        above = 0.5 * below + random.normal(0, 0.5, 12)
        found = fieller(above, below)
        held += found is not None and found.low <= 0.5 <= found.high
    assert 0.92 <= held / 400 <= 0.98


def test_no_ratio_where_the_denominator_may_be_zero() -> None:
    assert fieller([1.0, 2.0, 3.0], [-1.0, 0.5, 1.0]) is None
    assert fieller([1.0], [1.0]) is None
    found = fieller([4.0, 5.0, 6.0], [8.0, 10.0, 12.0])
    assert found is not None
    np.testing.assert_allclose(found, [0.5, 0.5], atol=1e-6)


def test_wrong_input_is_told() -> None:
    with pytest.raises(InputError, match="one pair a unit"):
        fieller([1.0], [1.0, 2.0])
    with pytest.raises(InputError, match="NaN or infinity"):
        fieller([1.0, math.nan], [1.0, 2.0])


def test_resamples_begin_with_the_texts_and_are_the_same_for_the_same_number() -> None:
    weights = resamples(7, 20, seed=3)
    assert weights[0].tolist() == [1] * 7
    assert (weights.sum(1) == 7).all()
    assert torch.equal(weights, resamples(7, 20, seed=3))
    assert resamples(0, 3, seed=0).shape == (4, 0)


def test_shares_that_are_all_none_or_all_have_an_interval_too() -> None:
    mean, found = share_interval([0.0, 0.0, 0.0, math.nan])
    assert mean == 0 and found.low == 0
    assert (1 - found.high) ** 3 == pytest.approx(0.025)
    assert share_interval([1.0] * 3)[1] == pytest.approx((1 - found.high, 1.0))
    assert math.isnan(share_interval([0.4, 0.4])[1].low)
    assert share_interval([0.0, 0.3])[1] == (0.0, 1.0)
    assert math.isnan(share_interval([])[0])
