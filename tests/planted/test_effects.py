"""A planted set of latents that acts is found, and one that the reader does not see is not."""

from __future__ import annotations

from tests.planted.effects import rank, world

SEEDS = range(20)


def test_a_set_that_acts_is_found() -> None:
    # Power: 88 of 100 worlds. In the others too many relabelled sets share most of the set.
    assert sum(rank(world(seed, planted=2.0)) <= 0.05 for seed in SEEDS) >= 15
