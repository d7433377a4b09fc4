"""Mutual neighbours, and what chance gives of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.planted.worlds import directions, generator, turned

from tl_ext.analysis import matching
from tl_ext.analysis.matching import STATISTICS, against_null, mutual, verdict
from tl_ext.analysis.similarity import cosine
from tl_ext.errors import InputError


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 8), st.integers(0, 2**30))
def test_mutual_neighbours_are_each_others_nearest(a: int, b: int, width: int, seed: int) -> None:
    first, second = directions(a, width, seed=seed), directions(b, width, seed=seed + 1)
    table = mutual(first, second).table
    told = cosine(first, second)
    if width > 1:  # on a line all cosines are 1 or -1
        expected = [
            (i, int(told[i].argmax()))
            for i in range(a)
            if int(told[:, told[i].argmax()].argmax()) == i
        ]
        assert list(table[["latent_a", "latent_b"]].itertuples(index=False, name=None)) == expected
    assert table["latent_b"].is_unique
    turned_around = mutual(second, first)
    assert turned_around.share == mutual(first, second).share


def test_about_half_of_random_rows_are_mutual_neighbours() -> None:
    size = 1500
    share = mutual(directions(size, 300, seed=0), directions(size, 300, seed=1)).share
    assert share == pytest.approx(size / (2 * size - 1), abs=0.04)


def test_scale_and_order_of_latents_change_nothing() -> None:
    first, second = directions(80, 9, seed=0), turned(directions(80, 9, seed=0), 40, seed=1)
    order = torch.randperm(80, generator=generator(2))
    length = torch.rand(80, 1, generator=generator(3)) + 0.1
    plain, changed = mutual(first, second), mutual(first[order] * length, second)
    assert plain.share == changed.share
    assert np.sort(plain.table["cosine"]) == pytest.approx(np.sort(changed.table["cosine"]))


def test_reflections_keep_mean_covariance_and_length() -> None:
    shape = torch.linspace(2, 0.2, 24)
    second = (torch.randn(4000, 24, generator=generator(0)) + 0.5) * shape
    unit = torch.nn.functional.normalize(second, dim=1)
    drawn = next(matching._drawn(second, "reflected", 1, 0))
    torch.testing.assert_close(drawn.mean(0), unit.mean(0), atol=1e-5, rtol=0)
    torch.testing.assert_close(drawn.T.cov(), unit.T.cov(), atol=1e-5, rtol=0)
    assert (drawn * unit).sum(1).abs().mean() < 0.7  # and yet they point elsewhere
    assert drawn.norm(dim=1).sub(1).abs().mean() < 0.15


def test_rotations_keep_angles() -> None:
    second = directions(50, 6, seed=0)
    drawn = list(matching._drawn(second, "rotated", 2, 0))
    torch.testing.assert_close(drawn[0] @ drawn[0].T, second @ second.T, atol=1e-5, rtol=0)
    assert not torch.allclose(drawn[0], drawn[1], atol=0.1)


def test_each_set_is_judged_by_the_99th_percentile_of_the_others() -> None:
    random = np.random.default_rng(0)
    sets = random.normal(size=(12, 150))
    sets[0] += 1
    shares, threshold = matching._above(sets)
    for one in range(12):
        others = np.sort(np.delete(sets, one, axis=0).ravel())[::-1]
        limit = others[int(0.01 * len(others))]
        assert shares[one] == (sets[one] > limit).mean()
    assert threshold == np.sort(sets[1:].ravel())[::-1][int(0.01 * 11 * 150)]


def test_a_shared_mean_is_no_counterpart_but_no_rotation_keeps_it() -> None:
    first, second = directions(200, 16, seed=0) + 0.3, directions(200, 16, seed=1) + 0.3
    reflected = against_null(first, second, draws=39).table.set_index("statistic")
    rotated = against_null(first, second, null="rotated", draws=39).table.set_index("statistic")
    assert set(reflected["decision"]) == {"not shown"}
    assert rotated.loc["mean_cosine", "decision"] == "shown"


def test_few_draws_cannot_decide_and_draws_depend_on_the_seed_alone() -> None:
    first = directions(60, 12, seed=0)
    second = turned(first, 20, seed=1)
    few = against_null(first, second, draws=18)
    assert set(few.table["decision"]) == {"cannot decide"}
    again = against_null(first, second, draws=18)
    assert few.statistics.equals(again.statistics)
    assert not few.statistics.equals(against_null(first, second, draws=18, seed=1).statistics)
    assert list(few.table["statistic"]) == list(STATISTICS)
    assert few.table["p"].between(0, 1, inclusive="right").all()


def test_the_verdict_says_the_numbers_of_the_table() -> None:
    first = directions(60, 12, seed=0)
    found = against_null(first, turned(first, 20, seed=1), draws=19)
    said = verdict(found, "A", "B")
    assert said.startswith("60 latents of A against B.")
    for row in found.table.itertuples():
        told = f"{row.observed:.3f}" if row.statistic == "mean_cosine" else f"{row.observed:.1%}"
        assert told in said
    assert said.count("shown") == 3


def test_sets_without_directions_decide_nothing() -> None:
    found = against_null(torch.zeros(5, 3), directions(4, 3, seed=0), draws=19)
    assert math.isnan(found.observed.share)
    assert set(found.table["decision"]) == {"cannot decide"}
    empty = against_null(directions(4, 3, seed=0), torch.zeros(5, 3), draws=19)
    assert set(empty.table["decision"]) == {"cannot decide"}
    alone = against_null(directions(4, 3, seed=0), directions(1, 3, seed=1), draws=19)
    assert alone.table["p"].between(0, 1, inclusive="right").all()


def test_bad_input_is_told() -> None:
    rows = directions(4, 3, seed=0)
    with pytest.raises(InputError, match=r"no null 'rotate'.*rotated"):
        against_null(rows, rows, null="rotate")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="0 draws"):
        against_null(rows, rows, draws=0)
