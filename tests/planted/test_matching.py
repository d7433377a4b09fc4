"""Counterparts that were planted are found, at the power stated."""

from __future__ import annotations

import itertools

import torch
from tests.planted.worlds import directions, turned

from tl_ext.analysis.matching import assign, nearest


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
