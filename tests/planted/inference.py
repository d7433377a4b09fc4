"""Null draws for the tests everything else is built on."""

from __future__ import annotations

import numpy as np

from tl_ext.analysis.nulls import benjamini_hochberg, rank_p, sign_flip


def sign_flip_exact(seed: int) -> float:
    return sign_flip(np.random.default_rng(seed).standard_t(3, size=8)).p


def sign_flip_drawn(seed: int) -> float:
    return sign_flip(np.random.default_rng(seed).standard_t(3, size=40), most=999).p


def differences_of_one_spread(seed: int) -> float:
    """Eight differences whose mean is one and a half times their spread."""
    return sign_flip(np.random.default_rng(seed).normal(1.5, size=8)).p


def differences_of_half_a_spread(seed: int) -> float:
    """Forty differences whose mean is half their spread."""
    return sign_flip(np.random.default_rng(seed).normal(0.5, size=40), most=999).p


def rank_among_draws(seed: int) -> float:
    drawn = np.random.default_rng(seed).exponential(size=40)
    return rank_p(float(drawn[0]), drawn[1:])


def beyond_its_draws(seed: int) -> float:
    """A value four spreads above its null's mean."""
    drawn = np.random.default_rng(seed).normal(size=40)
    return rank_p(float(drawn[0]) + 4, drawn[1:])


def any_of_many(seed: int) -> float:
    """The smallest adjusted p of 20 true nulls: where all are null, the family's level is the test's."""
    random = np.random.default_rng(seed)
    p = [rank_p(float(one[0]), one[1:]) for one in random.normal(size=(20, 400))]
    return float(benjamini_hochberg(p).min())


def three_of_many(seed: int) -> float:
    """Three of 20 lie four spreads above their null's mean; the third smallest of the adjusted p."""
    random = np.random.default_rng(seed)
    values = random.normal(size=(20, 400))
    values[:3, 0] += 4
    p = [rank_p(float(one[0]), one[1:]) for one in values]
    return float(np.sort(benjamini_hochberg(p))[2])
