"""The choice of latents: the strongest, and others that fire as often."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.planted.worlds import sparse_activations

from tl_ext.analysis.features import activation_table
from tl_ext.analysis.selection import candidates, matched_on_rate, resampled_top


@given(st.integers(0, 999))
def test_the_top_of_all_texts_is_the_activation_table_s(seed: int) -> None:
    latents = sparse_activations(6, 20, rate=0.3, seed=seed)
    top = resampled_top(latents, 3, draws=20, seed=seed)
    expected = activation_table(latents)["latent"].head(3).tolist()
    assert top[0].tolist() == expected + [-1] * (3 - len(expected))
    assert top.shape == (21, 3)
    for row in top:
        kept = row[row >= 0].tolist()
        assert len(set(kept)) == len(kept)


def test_redrawn_texts_are_the_same_for_every_dictionary() -> None:
    latents = sparse_activations(6, 20, rate=0.3, seed=0)
    order = torch.randperm(20)
    top, moved = (resampled_top(one, 3, draws=9, seed=4) for one in (latents, latents[:, order]))
    assert torch.equal(torch.where(moved >= 0, order[moved.clamp(min=0)], -1), top)


def test_matches_fire_about_as_often_and_are_others() -> None:
    rate = torch.tensor([0.5, 0.11, 0.0, 0.1, 0.09, 0.4, 0.001, 0.6])
    found = matched_on_rate(rate, torch.tensor([3, 0, -1, 2]), 2, seed=0)
    assert found[0].tolist() in ([1, 4], [4, 1])
    assert set(found[1].tolist()) == {7, 5}
    assert found[2].tolist() == [-1, -1]
    assert found[3, 0] == 6  # one that never fired is matched with the rarest
    few = matched_on_rate(rate, torch.tensor([3]), 99, seed=0)[0]
    assert sorted(few[few >= 0].tolist()) == [0, 1, 4, 5, 6, 7]
    assert matched_on_rate(torch.zeros(3), torch.tensor([0]), 2, seed=0).tolist() == [[-1, -1]]


def test_equal_latents_are_kept_in_their_order() -> None:
    latents, values = candidates(torch.tensor([[1.0, 2.0, 1.0, 0.0, 2.0]]), 4)
    assert latents.tolist() == [1, 4, 0, 2]
    assert values.tolist() == [[2.0, 2.0, 1.0, 1.0]]
    latents, values = candidates(torch.tensor([[0.0, 3.0, 0.0]]), 2)
    assert latents.tolist() == [1, -1] and values.tolist() == [[3.0, 0.0]]
