"""Counterparts: the choice, the nulls they are held against, and p-values that keep to their rules."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tl_ext.analysis.counterparts import (
    Share,
    best,
    counterpart_tests,
    percentile,
    share_above,
    share_above_matched,
    simes,
)
from tl_ext.errors import InputError

NAN = math.nan


def test_the_best_is_never_an_undefined_one() -> None:
    found = best(torch.tensor([[NAN, 0.2, 0.2], [NAN, NAN, NAN], [-0.5, NAN, -0.9]]))
    assert found.latent.tolist() == [1, -1, 0]
    assert found.similarity.tolist() == pytest.approx([0.2, NAN, -0.5], nan_ok=True)
    assert best(torch.zeros(2, 0)).latent.tolist() == [-1, -1]


def values(seed: int, *shape: int) -> np.ndarray:
    found = np.random.default_rng(seed).beta(2, 3, size=shape)
    found[np.random.default_rng(seed + 1).random(shape) < 0.05] = NAN
    return found


def by_hand(observed: np.ndarray, null: np.ndarray) -> float:
    """The p of `share_above`, group by group, pair by pair."""
    groups = np.concatenate([observed[None], null])
    shares = []
    for group in range(len(groups)):
        above = []
        for pair in range(groups.shape[1]):
            others = np.delete(groups[:, pair], group, axis=0)
            for value in groups[group, pair]:
                reach = np.nansum(others >= value)
                above.append(not math.isnan(value) and reach <= math.floor(0.01 * others.size))
        shares.append(np.mean(above))
    return (1 + sum(one >= shares[0] for one in shares[1:])) / len(groups)


@given(st.integers(0, 999))
def test_the_share_is_what_counting_by_hand_gives(seed: int) -> None:
    observed, null = values(seed, 2, 3), values(seed + 5, 40, 2, 3)
    observed[0] += 0.4
    found = share_above(observed, null)
    assert found.p == pytest.approx(by_hand(observed, null))
    assert 0 < found.p <= 1
    bounds = [percentile(null[:, pair]) for pair in range(2)]
    assert found.share == pytest.approx(np.mean(observed > np.array(bounds)[:, None]))


@given(st.integers(0, 999), st.floats(0.1, 10))
def test_order_and_positive_scale_change_nothing(seed: int, scale: float) -> None:
    observed, null = values(seed, 2, 3), values(seed + 5, 40, 2, 3)
    latents, groups = np.random.default_rng(seed).permutation(3), slice(None, None, -1)
    moved = share_above(observed[:, latents] * scale, null[groups][:, :, latents] * scale)
    assert moved[:2] + moved[3:] == pytest.approx(
        share_above(observed, null)[:2] + share_above(observed, null)[3:]
    )


def test_matches_give_the_same_bound_and_a_finer_p() -> None:
    matched = np.random.default_rng(0).random((3, 40))
    found = share_above_matched(np.array([2.0, 2.0, 2.0]), matched)
    assert found.share == 1 and found.percentile == percentile(matched)
    assert found.p < 0.01 and found.smallest == pytest.approx(0.001)
    assert share_above_matched(np.array([-1.0, -1.0, -1.0]), matched).p == 1


def test_undefined_latents_lie_above_nothing_and_all_undefined_decide_nothing() -> None:
    null = values(0, 40, 1, 3)
    assert share_above(np.array([[NAN, 5.0, NAN]]), null).share == pytest.approx(1 / 3)
    assert math.isnan(share_above(np.full((1, 3), NAN), null).p)
    nothing = share_above(np.ones((1, 3)), np.empty((0, 1, 3)))
    assert math.isnan(nothing.p) and nothing.smallest == 1
    assert math.isnan(share_above_matched(np.array([1.0]), np.full((1, 4), NAN)).percentile)


def test_shapes_that_do_not_fit_are_told() -> None:
    with pytest.raises(InputError, match="group pair k"):
        share_above(np.ones((1, 3)), np.ones((5, 1, 2)))
    with pytest.raises(InputError, match="k match"):
        share_above_matched(np.ones(3), np.ones((2, 9)))


def test_simes_is_the_smallest_adjusted_p() -> None:
    tests = [Share(0.5, 0.01, 0.4, p, 0.001) for p in (0.01, 0.02, 0.9)]
    assert simes(tests).p == pytest.approx(0.03)
    assert simes(tests).smallest == 0.001
    assert math.isnan(simes([Share(NAN, NAN, NAN, NAN, 1.0)]).p)


def test_the_tests_of_a_concept_have_a_row_per_null_and_pair_and_one_for_all() -> None:
    observed = np.full((4, 3), 0.99)
    table = counterpart_tests(
        observed,
        chance=values(0, 99, 4, 3),
        matched=values(1, 4, 3, 40),
        words=np.concatenate([observed[None], values(2, 60, 4, 3)]),
        resampled=np.stack([observed, observed - 0.9] * 10),
    )
    assert table.groupby("null", sort=False)["pair"].apply(list).to_dict() == {
        name: [0, 1, 2, 3, -1] for name in ("chance", "firing rate", "words")
    }
    assert (table["decision"] == "shown").all()
    assert (table["low"] < table["share"]).all() and (table["high"] == 1).all()
    assert (table["p_adjusted"] >= table["p"]).all()


def test_without_words_their_null_cannot_decide() -> None:
    observed = np.full((2, 3), 0.5)
    table = counterpart_tests(
        observed,
        chance=values(0, 99, 2, 3),
        matched=values(1, 2, 3, 40),
        words=observed[None],
        resampled=observed[None],
    )
    mine = table[table["null"] == "words"]
    assert (mine["decision"] == "cannot decide").all() and mine["p"].isna().all()
