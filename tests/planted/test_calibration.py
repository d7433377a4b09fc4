"""Every registered test keeps its level where nothing is there."""

from __future__ import annotations

import pytest
from tests.planted.calibration import CLAIMS, DRAWS, Claim, most_rejections, observed


def test_the_band_is_the_binomial_one() -> None:
    assert most_rejections(200, 0.05) == 17


@pytest.mark.parametrize(
    "claim", [one for one in CLAIMS if not one.naive], ids=lambda one: one.name
)
def test_level_is_kept(claim: Claim) -> None:
    assert observed(claim, DRAWS) <= most_rejections(DRAWS, claim.level)
