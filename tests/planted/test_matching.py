"""Counterparts that were planted are found, at the power stated."""

from __future__ import annotations

import itertools

import torch
from tests.planted.matching import planted
from tests.planted.worlds import directions, turned

from tl_ext.analysis.matching import STATISTICS, against_null, assign, nearest


def test_counterparts_at_30_degrees_are_shown_in_nine_of_ten_worlds() -> None:
    """Half of 100 latents have one; each of the statistics shows it."""
    shown = dict.fromkeys(STATISTICS, 0)
    for seed in range(10):
        found = against_null(*planted(seed, degrees=30, share=0.5), draws=19, seed=seed)
        for row in found.table.itertuples():
            shown[row.statistic] += row.decision == "shown"
    assert min(shown.values()) >= 9


def test_a_chain_of_layers_is_followed_from_the_first_to_the_last() -> None:
    layers = [directions(300, 64, seed=0)]
    for seed in range(1, 5):
        layers.append(turned(layers[-1], 25, seed=seed))
    for first, second in itertools.pairwise(layers):
        assert nearest(first, second).index.flatten().tolist() == list(range(300))
    # Turned four times by 25 degrees, cos(25)^4 = 0.67 of a direction is left.
    last = nearest(layers[0], layers[-1])
    assert (last.index.flatten() == torch.arange(300)).float().mean() > 0.95
    assert (assign(layers[0], layers[-1]).index == torch.arange(300)).float().mean() > 0.97
