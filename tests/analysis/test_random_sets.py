"""Random sets to hold a set against: as many, as strong, from where they may come."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tl_ext.analysis.random_sets import TOLERANCE, matched_sets
from tl_ext.errors import InputError


def world(seed: int, latents: int = 40, width: int = 24) -> np.ndarray:
    """Inner products of contributions of various lengths."""
    random = np.random.default_rng(seed)
    pieces = random.normal(size=(latents, width)) * np.exp(random.normal(size=(latents, 1)) / 2)
    return pieces @ pieces.T


def lengths(products: np.ndarray, sets: np.ndarray) -> np.ndarray:
    return np.array([np.sqrt(products[np.ix_(one, one)].sum()) for one in sets])


def chosen(*latents: int, size: int = 40) -> np.ndarray:
    return np.isin(np.arange(size), latents)


@given(seed=st.integers(0, 10**6), count=st.integers(1, 12))
def test_matched_sets_are_as_many_as_strong_and_of_the_pool(seed: int, count: int) -> None:
    products, mine = world(seed), chosen(*range(count))
    found = matched_sets(products, mine, ~mine, 15, seed=seed)
    there = found[found.any(1)]
    assert (there.sum(1) == count).all()
    assert not there[:, mine].any()
    assert (np.abs(lengths(products, there) / lengths(products, mine[None]) - 1) <= TOLERANCE).all()


def test_ordinary_sets_are_matched_and_differ() -> None:
    products, mine = world(0), chosen(3, 11, 17, 29)
    found = matched_sets(products, mine, ~mine, 50, seed=1)
    assert found.any(1).all()
    assert len(np.unique(found, axis=0)) > 25


def test_the_same_seed_gives_the_same_sets() -> None:
    products, mine = world(0), chosen(3, 11, 17)
    once, again = (matched_sets(products, mine, ~mine, 20, seed=(1, 2)) for _ in range(2))
    np.testing.assert_array_equal(once, again)
    assert (once != matched_sets(products, mine, ~mine, 20, seed=(1, 3))).any()


def test_members_that_point_one_way_are_matched_by_stronger_ones() -> None:
    # Four latents in one direction sum to twice what four orthogonal ones of their length do.
    products = np.diag(np.concatenate([np.ones(4), np.linspace(0.5, 3.0, 60) ** 2]))
    products[:4, :4] = 1.0
    mine = np.arange(64) < 4
    found = matched_sets(products, mine, ~mine, 20, seed=0)
    assert found.any(1).all()


def test_where_nothing_is_as_strong_nothing_is_given() -> None:
    products = np.diag([100.0, 1.0, 1.0, 2.0])
    mine = np.array([True, False, False, False])
    assert not matched_sets(products, mine, ~mine, 10, seed=0).any()
    assert not matched_sets(products, mine, np.zeros(4, dtype=bool), 10, seed=0).any()


def test_with_its_own_latents_in_the_pool_a_draw_can_be_the_set() -> None:
    products = np.diag([100.0, 1.0, 1.0, 2.0])
    mine = np.array([True, False, False, False])
    found = matched_sets(products, mine, np.ones(4, dtype=bool), 10, seed=0)
    np.testing.assert_array_equal(found, np.repeat(mine[None], 10, axis=0))


def test_counts_are_matched_too() -> None:
    products, mine = world(4), chosen(0, 1, 2, 3)
    counts = np.random.default_rng(0).choice([0.1, 0.5, 1.0], size=40)
    found = matched_sets(products, mine, ~mine, 30, seed=0, counts=counts)
    there = found[found.any(1)]
    assert len(there)
    assert (np.abs(there @ counts / counts[mine].sum() - 1) <= TOLERANCE).all()


def test_features_draw_latents_that_are_alike() -> None:
    products = np.eye(40)
    side = np.repeat([[0.0], [1.0]], 20, axis=0)
    mine = chosen(0, 1, 2)
    found = matched_sets(products, mine, ~mine, 40, seed=0, features=side)
    assert found[:, :20].sum() > 0.9 * found.sum()


def test_an_empty_set_is_told() -> None:
    with pytest.raises(InputError, match="nothing to match"):
        matched_sets(np.eye(3), np.zeros(3, dtype=bool), np.ones(3, dtype=bool), 4, seed=0)
