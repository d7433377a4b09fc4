"""Correlations over batches equal those over everything at once."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.planted.worlds import generator, sparse_activations

from tl_ext.analysis.moments import CrossMoments, PairedMoments, random_offsets, shifted_products
from tl_ext.analysis.similarity import correlation
from tl_ext.errors import InputError


def activations(seed: int, rows: int = 60, latents: int = 5) -> torch.Tensor:
    return sparse_activations(rows, latents, rate=0.4, seed=seed)


@given(st.integers(0, 999), st.integers(1, 59), st.floats(1e-3, 1e3))
def test_cross_correlations_equal_those_at_once_whatever_the_batches_and_scale(
    seed: int, cut: int, scale: float
) -> None:
    first, second = activations(seed), activations(seed + 1, latents=7)
    moments = CrossMoments(5, 7)
    moments.add(first[:cut] * scale, second[:cut])
    moments.add(first[cut:] * scale, second[cut:])
    expected = correlation(torch.cat([first, second], 1))[:5, 5:]
    torch.testing.assert_close(moments.correlation(), expected, rtol=1e-5, atol=1e-6)


def test_a_constant_column_has_no_correlation_and_neither_has_nothing() -> None:
    first = activations(0)
    first[:, 1] = 0
    first[:, 2] = 1e4
    moments = CrossMoments(5, 5)
    assert moments.correlation().isnan().all()
    moments.add(first, activations(1))
    undefined = moments.correlation().isnan()
    assert undefined.all(1).tolist() == [False, True, True, False, False]
    assert not undefined[[0, 3, 4]].any()


def test_pairs_are_the_diagonal_of_the_cross() -> None:
    first, second = activations(0), activations(1)
    cross, paired = CrossMoments(5, 5), PairedMoments(5)
    for rows in (slice(0, 20), slice(20, None)):
        cross.add(first[rows], second[rows])
        paired.add(first[rows], second[rows])
    torch.testing.assert_close(paired.correlation(), cross.correlation().diagonal())
    assert paired.by_chance().shape == (0, 5)


def test_no_pairs_are_no_correlations() -> None:
    paired = PairedMoments(0, draws=3)
    paired.add(torch.zeros(9, 0), torch.zeros(9, 0))
    assert paired.by_chance().shape == (3, 0)


@given(st.integers(0, 999), st.integers(2, 40))
def test_moving_by_transform_is_rolling(seed: int, rows: int) -> None:
    first, second = (activations(seed + one, rows=rows).double() for one in (0, 1))
    offsets = torch.arange(rows)
    expected = torch.stack([(first.roll(int(one), 0) * second).sum(0) for one in offsets])
    torch.testing.assert_close(shifted_products(first, second, offsets), expected)


def test_chance_moves_within_each_batch_and_alike_for_one_seed() -> None:
    first, second = activations(0), activations(1)
    moved = []
    for _ in range(2):
        paired = PairedMoments(5, draws=9, seed=3)
        paired.add(first[:32], second[:32])
        paired.add(first[32:], second[32:])
        moved.append(paired.by_chance())
    assert torch.equal(moved[0], moved[1])
    source = generator(3)
    parts = []
    for rows in (slice(0, 32), slice(32, None)):
        offset = int(random_offsets(len(first[rows]), 9, source)[0])
        parts.append(first[rows].roll(offset, 0))
    expected = PairedMoments(5)
    expected.add(torch.cat(parts), second)
    torch.testing.assert_close(moved[0][0], expected.correlation())


@given(st.integers(1, 500))
def test_offsets_are_far_from_none(rows: int) -> None:
    offsets = random_offsets(rows, 50, generator(0))
    assert ((offsets >= 0) & (offsets < rows)).all()
    if rows > 3:
        assert (offsets >= rows // 4).all() and (offsets <= rows - rows // 4).all()


def test_sides_of_other_lengths_are_refused() -> None:
    with pytest.raises(InputError, match=r"\[row 5\] and \[row 7\]"):
        CrossMoments(5, 7).add(activations(0), activations(1))
    with pytest.raises(InputError, match="same rows"):
        PairedMoments(5).add(activations(0), activations(1, rows=3))
