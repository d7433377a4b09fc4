"""The null of similarity finds what is planted, and the null it replaces finds what is not there."""

from __future__ import annotations

import torch
from tests.planted import nulls


def test_against_random_latents_whatever_is_chosen_at_one_word_is_alike() -> None:
    """Of 100 worlds without anything to be found, 28 or more would be called a finding."""
    assert sum(nulls.chosen_against_random(seed) <= 0.05 for seed in range(100)) >= 28


def test_chosen_latents_are_alike_though_nothing_is_planted() -> None:
    values = torch.cat([nulls.alike(seed)["cosine"] for seed in range(3)])
    assert float(values.mean()) > 0.02
