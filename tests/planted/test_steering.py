"""A steering vector that moves the words is found, with the power stated; one that does not, is not."""

from __future__ import annotations

import pytest
from tests.planted.steering import verdict_on

SEEDS = range(20)


def share(verdict: str, slope: float, *, even: float = 0.0) -> float:
    """In what share of the worlds this is the verdict."""
    return sum(verdict_on(seed, slope, even=even) == verdict for seed in SEEDS) / len(SEEDS)


# In nats at strength 1, where random vectors' slopes spread by 0.2; eight prompts are reported on.
# Power: 97 %, 65 % and 28 % (194, 130 and 55 of 200 worlds).
@pytest.mark.parametrize(("slope", "least"), [(0.6, 0.95), (0.4, 0.45), (0.3, 0.15)])
def test_a_vector_that_raises_the_words_is_shown(slope: float, least: float) -> None:
    assert share("raises", slope) >= least


@pytest.mark.parametrize("slope", [0.0, -1.0])
def test_one_that_does_not_raise_them_is_not(slope: float) -> None:
    assert share("raises", slope) <= 0.05


# A push without a direction, and a direction within a stronger push: 200 of 200 worlds each.
@pytest.mark.parametrize(("slope", "even"), [(0.0, 1.5), (1.0, 2.5)])
def test_one_whose_reverse_raises_them_too_is_no_direction(slope: float, even: float) -> None:
    assert share("not a direction", slope, even=even) >= 0.95
