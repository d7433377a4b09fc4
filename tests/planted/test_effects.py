"""A planted set of latents that acts is found, and one that the reader does not see is not."""

from __future__ import annotations

import numpy as np
from tests.planted.effects import rank, rank_among_matched, sign_over_texts, world

SEEDS = range(20)


def test_a_set_that_acts_is_found() -> None:
    # Power: three worlds of four. In the others too many relabelled sets share most of the set.
    assert sum(rank(world(seed, planted=2.0)) <= 0.05 for seed in SEEDS) >= 15


def test_why_the_p_is_not_one_of_texts_or_of_matched_sets() -> None:
    # Both reject far more often than the level where the set is any of the latents.
    for naive in (sign_over_texts, rank_among_matched):
        assert np.mean([naive(seed) <= 0.05 for seed in SEEDS]) > 0.2
