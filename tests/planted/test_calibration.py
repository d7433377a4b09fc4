"""Every registered test keeps its level where nothing is there, and its power where something is."""

from __future__ import annotations

import pytest
from tests.planted.calibration import (
    CLAIMS,
    DRAWS,
    POWERS,
    Claim,
    Power,
    found,
    most_rejections,
    observed,
)


def test_the_band_is_the_binomial_one() -> None:
    assert most_rejections(200, 0.05) == 17


@pytest.mark.parametrize(
    "claim", [one for one in CLAIMS if not one.naive], ids=lambda one: one.name
)
def test_level_is_kept(claim: Claim) -> None:
    assert observed(claim, DRAWS) <= most_rejections(DRAWS, claim.level)


@pytest.mark.parametrize("power", POWERS, ids=lambda one: one.name)
def test_power_is_as_stated(power: Power) -> None:
    assert found(power) >= power.least


def test_powers_are_those_of_claims_and_say_what_is_planted() -> None:
    assert {one.name for one in POWERS} <= {one.name for one in CLAIMS if not one.naive}
