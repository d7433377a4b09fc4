"""Latents of two languages and of one that are there are found, with the power stated."""

from __future__ import annotations

import pandas as pd
import pytest
import torch
from tests.planted.languages import (
    MEANT,
    WIDTH,
    any_shared_of_two_words,
    found_kind,
    own_words,
    rate_of,
    table,
)
from tests.planted.worlds import directions, turned

WORLDS = 20
LANGUAGES = ("en", "fr")


def planted(seed: int, degrees: float) -> pd.DataFrame:
    """Latent 0 at this angle to what both words mean, 1 and 2 to what one of them alone means."""
    means = torch.linalg.qr(directions(3, WIDTH, seed=seed).T).Q.T
    meant = {one: means[0] + means[place + 1] for place, one in enumerate(LANGUAGES)}
    latents = turned(means, degrees, seed=seed + 1)
    return table(latents, meant, seed=1000 * seed + 5).set_index("latent")


@pytest.mark.parametrize(("degrees", "least"), [(0, 0.95), (30, 0.8)])
def test_shared_and_private_directions_are_told_apart(degrees: float, least: float) -> None:
    tables = [planted(seed, degrees) for seed in range(WORLDS)]
    for latent, kind in enumerate(("shared", "private en", "private fr")):
        assert rate_of([one["kind"].get(latent) == kind for one in tables]) >= least
    if not degrees:  # one that is turned may be turned towards the other word
        assert not any((one["kind"].reindex([1, 2]) == "shared").any() for one in tables)


def test_a_direction_at_a_right_angle_is_of_no_word() -> None:
    tables = [planted(seed, 90) for seed in range(WORLDS)]
    assert rate_of([one["kind"].get(0, "not shown") == "shared" for one in tables]) <= 0.05


def test_what_words_mean_in_both_languages_shows_among_other_words() -> None:
    assert rate_of([own_words(seed, meant=MEANT).decision == "shown" for seed in range(12)]) >= 0.9


def test_texts_alone_take_two_unrelated_words_for_one_concept() -> None:
    """Why the question over words is asked: this is not a test of meaning."""
    assert rate_of([any_shared_of_two_words(seed) <= 0.05 for seed in range(WORLDS)]) > 0.1


def test_kinds_that_differ_are_told_apart_and_equal_ones_are_not() -> None:
    assert rate_of([found_kind(0.8, 0.2, seed=seed) == "A" for seed in range(12)]) >= 0.9
    assert rate_of([found_kind(0.2, 0.8, seed=seed) == "B" for seed in range(12)]) >= 0.9
    same = [found_kind(0.4, 0.4, seed=seed) for seed in range(WORLDS)]
    assert rate_of([one == "no difference shown" for one in same]) >= 0.85


def test_draws_are_the_same_for_a_seed() -> None:
    assert own_words(3).null.tolist() == own_words(3).null.tolist()
