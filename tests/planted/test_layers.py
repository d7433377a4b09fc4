"""Counterparts, trends and first layers that are there are found, with the power stated."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.planted.layers import (
    TOP,
    chance_p,
    correlations,
    decoders,
    first_of_many_unlike,
    moved_p,
    noisy_copies,
    runs,
    trend_by_cells,
)
from tests.planted.worlds import turned

from tl_ext.analysis.counterparts import best

WORLDS = 40


def power(p: list[float]) -> float:
    return float(np.mean([one <= 0.05 for one in p]))


@pytest.mark.parametrize(("degrees", "least"), [(15, 0.95), (25, 0.9)])
def test_directions_turned_a_little_are_found(degrees: float, least: float) -> None:
    found = []
    for seed in range(WORLDS):
        first, second = decoders(2, seed=seed)
        planted = torch.cat([second, turned(first[:TOP], degrees, seed=seed)])
        found.append(chance_p(first[:TOP], first, planted, seed=seed))
    assert power(found) >= least


def test_activations_that_are_noisy_copies_are_found_at_their_place() -> None:
    found, right = [], []
    for seed in range(WORLDS):
        mine = runs(seed, latents=TOP)
        theirs = noisy_copies(mine, missing=0.3, seed=seed)
        found.append(moved_p(mine, theirs, seed=seed))
        latents = best(correlations(mine, theirs)).latent
        right += [one >= theirs.shape[1] - TOP for one in latents.tolist()]
    assert power(found) >= 0.95
    assert np.mean(right) >= 0.99


def test_permuting_cells_calls_layers_that_differ_a_trend() -> None:
    assert power([trend_by_cells(seed) for seed in range(100)]) > 0.1


def test_a_first_layer_unlike_the_others_need_not_be_so_for_being_first() -> None:
    """Where every layer is unlike the others in its own way, about half of first layers are less alike."""
    assert 0.3 < power([first_of_many_unlike(seed) for seed in range(100)]) < 0.6
