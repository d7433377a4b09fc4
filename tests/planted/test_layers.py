"""Counterparts, trends and first layers that are there are found, with the power stated."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.planted.layers import (
    LAYERS,
    TOP,
    chance_p,
    closest,
    correlations,
    decoders,
    moved_p,
    noisy_copies,
    runs,
    top_at,
    trend_by_cells,
    trending,
)
from tests.planted.worlds import directions, turned

from tl_ext.analysis.counterparts import best, share_above
from tl_ext.analysis.layers import distance_trend, first_layer_test, first_less_alike

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


def test_a_concept_carried_across_layers_stands_out_among_words() -> None:
    """One word's latents have copies in every layer, the other words' have none.

    The dictionaries are large, as they must be: where more than one in a hundred of the words' latents
    are the concept's own, these stand above nothing.
    """
    found = []
    for seed in range(WORLDS // 2):
        words = directions(40, 64, seed=seed + 5000)
        carried = torch.stack([turned(words[0], 20, seed=seed + one) for one in range(TOP)])
        layers = [
            torch.cat([one, carried]) for one in decoders(3, seed=seed, latents=800, width=64)
        ]
        pairs = [(a, b) for a in range(3) for b in range(3) if a != b]
        groups = [[top_at(word, layer, seed=seed) for layer in layers] for word in words]
        values = np.stack(
            [[closest(layers[a][group[a]], layers[b]) for a, b in pairs] for group in groups]
        )
        found.append(share_above(values[0], values[1:]).p)
    assert power(found) >= 0.9


def test_a_trend_with_distance_is_found() -> None:
    random = np.random.default_rng(0)
    found = [distance_trend(trending(random, slope=-0.05), range(LAYERS)).p for _ in range(WORLDS)]
    assert power(found) >= 0.95


def test_a_first_layer_unlike_the_others_is_found_over_eight_concepts() -> None:
    random = np.random.default_rng(0)
    found = [
        first_layer_test(
            [
                first_less_alike(trending(random, slope=-0.05, first=-0.1), range(LAYERS))
                for _ in range(8)
            ]
        ).p
        for _ in range(WORLDS)
    ]
    assert power(found) >= 0.95


def test_permuting_cells_calls_layers_that_differ_a_trend() -> None:
    assert power([trend_by_cells(seed) for seed in range(100)]) > 0.1
