"""Trends with layer distance and the first layer: by hand, and what they cannot decide."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import linregress

from tl_ext.analysis.layers import (
    distance_profile,
    distance_slope,
    distance_trend,
    first_layer_test,
    first_less_alike,
    mean_defined,
)
from tl_ext.errors import InputError


def alike(seed: int, size: int, slope: float = 0.0) -> np.ndarray:
    noise = np.triu(np.random.default_rng(seed).normal(size=(size, size)), k=1)
    at = np.arange(size)
    return noise + noise.T + slope * abs(at[:, None] - at[None])


@given(st.integers(0, 999), st.integers(3, 5))
def test_the_trend_is_a_regression_and_its_p_counts_orders(seed: int, size: int) -> None:
    similarity = alike(seed, size)
    rows, columns = np.triu_indices(size, k=1)
    found = distance_trend(similarity, range(size))
    slopes = []
    for order in permutations(range(size)):
        apart = [abs(order[a] - order[b]) for a, b in zip(rows, columns, strict=True)]
        slopes.append(linregress(apart, similarity[rows, columns]).slope)
    assert (
        found.slope
        == pytest.approx(slopes[0])
        == pytest.approx(distance_slope(similarity, range(size)))
    )
    assert found.p == pytest.approx(np.mean(np.array(slopes) <= slopes[0] + 1e-12))
    assert found.smallest <= found.p <= 1


@pytest.mark.parametrize(
    ("layers", "smallest"), [(range(3), 2 / 6), (range(6), 2 / 720), ((0, 1, 5), 1 / 6)]
)
def test_the_smallest_p_counts_orders_with_the_same_distances(
    layers: range, smallest: float
) -> None:
    found = distance_trend(-abs(np.subtract.outer(layers, layers)) * 1.0, layers)
    assert found.p == pytest.approx(smallest) == pytest.approx(found.smallest)


def test_many_layers_are_drawn_and_by_seed() -> None:
    found = distance_trend(alike(0, 12, slope=-1.0), range(12), draws=199)
    assert found.p == found.smallest == pytest.approx(1 / 200)
    assert found == distance_trend(alike(0, 12, slope=-1.0), range(12), draws=199)


@given(st.integers(0, 999), st.floats(0.01, 100))
def test_positive_scale_and_reversing_the_layers_change_no_p(seed: int, scale: float) -> None:
    similarity = alike(seed, 5, slope=-0.2)
    p = distance_trend(similarity, range(5)).p
    assert distance_trend(similarity * scale + 1, range(5)).p == pytest.approx(p)
    assert distance_trend(similarity[::-1, ::-1], range(5)).p == pytest.approx(p)


def test_undefined_cells_are_left_out_and_too_few_decide_nothing() -> None:
    similarity = alike(0, 6, slope=-2.0)
    similarity[0, 3] = similarity[3, 0] = math.nan
    assert distance_trend(similarity, range(6)).p < 0.05
    for empty in (np.full((4, 4), math.nan), np.ones((2, 2))):
        found = distance_trend(empty, range(len(empty)))
        assert math.isnan(found.p) and found.smallest == 1
    with pytest.raises(InputError, match="for 3 layers"):
        distance_trend(similarity, range(3))


def test_the_profile_is_the_mean_at_each_distance_beside_permuted_layers() -> None:
    similarity = alike(0, 5, slope=-1.0)
    table = distance_profile(similarity, (0, 2, 4, 6, 8))
    assert table["distance"].tolist() == [2, 4, 6, 8]
    assert table["pairs"].tolist() == [4, 3, 2, 1]
    assert table["similarity"].iloc[1] == pytest.approx(np.diag(similarity, 2).mean())
    assert (table["null_low"] <= table["null_high"]).all()


def test_the_first_layer_is_held_against_pairs_as_far_apart() -> None:
    at = np.arange(5)
    similarity = 1.0 - 0.1 * abs(at[:, None] - at[None])
    assert first_less_alike(similarity, range(5)) == pytest.approx(0)
    similarity[0, 1:] -= 0.3
    similarity[1:, 0] -= 0.3
    assert first_less_alike(similarity, range(5)) == pytest.approx(-0.3)
    order = [3, 0, 4, 1, 2]
    moved = similarity[np.ix_(order, order)]
    assert first_less_alike(moved, order) == pytest.approx(-0.3)
    assert math.isnan(first_less_alike(similarity[:2, :2], range(2)))


def test_three_concepts_cannot_decide_and_eight_can() -> None:
    few, many = (first_layer_test([-0.1, -0.2, -0.3, -0.2] * n) for n in (1, 2))
    assert first_layer_test([-0.1, -0.2, -0.3, math.nan]).smallest == 1 / 8
    assert few.smallest == 1 / 16 and many.p == pytest.approx(1 / 256)
    assert many.interval.high < 0 and many.units == 8
    assert first_layer_test([0.1, 0.2, 0.3, 0.2] * 2).p == 1
    assert math.isnan(first_layer_test([]).p)


def test_the_mean_of_nothing_defined_is_undefined() -> None:
    found = mean_defined(np.array([[1.0, math.nan], [3.0, math.nan]]), axis=0)
    assert found.tolist() == pytest.approx([2.0, math.nan], nan_ok=True)
