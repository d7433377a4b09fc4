"""p-values against a null that could have gone the other way, and what they allow to be decided.

Every p here lies in (0, 1]: the observed value counts as one draw of its own null, so no test claims
more than its number of draws can show. A test whose smallest reachable p exceeds its level can never
reject; it is called "cannot decide" and not "not shown".

Source: Phipson and Smyth 2010, Permutation p-values should never be zero (arXiv 1603.05766).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import false_discovery_control

from tl_ext.errors import InputError

LEVEL = 0.05
"""The level of every test where none is named."""

Alternative = Literal["greater", "less", "two-sided"]
Decision = Literal["shown", "not shown", "cannot decide"]

_CLOSE = 1e-12  # relative; sums in another order must not break ties


class SignFlip(NamedTuple):
    """What a sign-flip test found.

    Attributes:
        p: In (0, 1].
        smallest: The smallest p that this many differences could have given.
    """

    p: float
    smallest: float


def rank_p(observed: float, null: ArrayLike, *, alternative: Alternative = "greater") -> float:
    """How often the null gives a value as extreme as the observed one, itself included.

    Args:
        observed: The statistic.
        null: The same statistic, drawn under the null. A draw that is NaN counts as extreme, so that
            leaving values undefined never makes a p smaller.
        alternative: Which values are extreme: high ones, low ones, or both (twice the smaller tail).

    Returns:
        `(1 + extreme draws) / (1 + draws)`, in (0, 1]; NaN where the observed value is NaN.

    Raises:
        InputError: The null is not a list of numbers, or no such alternative.
    """
    draws = np.asarray(null, dtype=float)
    if draws.ndim != 1:
        raise InputError(f"The null has shape {draws.shape}; a list of draws, [draw], is expected.")
    _check(alternative)
    if math.isnan(observed):
        return math.nan
    if alternative == "two-sided":
        tails = (rank_p(observed, draws, alternative=side) for side in ("greater", "less"))
        return min(1.0, 2 * min(tails))
    sign = 1 if alternative == "greater" else -1
    # Not `draw >= observed`: NaN compares false, and must count.
    below = sign * draws < sign * observed - _slack(draws, observed)
    return float((1 + (~below).sum()) / (1 + len(draws)))


def smallest_p(draws: int, *, alternative: Alternative = "greater") -> float:
    """The smallest p that this many draws of a null can give."""
    _check(alternative)
    return min(1.0, (2 if alternative == "two-sided" else 1) / (1 + draws))


def decision(p: float, smallest: float, *, level: float = LEVEL) -> Decision:
    """What a p allows to be said.

    Args:
        p: The p-value, adjusted where several tests are made.
        smallest: The smallest p the test could have given, see `smallest_p`.
        level: Of the test.

    Returns:
        "cannot decide" where the test could not have rejected or has no p; else "shown" or "not shown".
    """
    if math.isnan(p) or math.isnan(smallest) or smallest > level:
        return "cannot decide"
    return "shown" if p <= level else "not shown"


def benjamini_hochberg(p: ArrayLike) -> NDArray[np.float64]:
    """p-values adjusted for being many: at most a share `level` of what is called shown is false.

    Args:
        p: One a test; NaN for a test that was not made, which is not counted.

    Returns:
        Adjusted values in the same order; NaN stays NaN.

    Source: Benjamini and Hochberg 1995.
    """
    given = np.asarray(p, dtype=float)
    adjusted = np.full(given.shape, np.nan)
    made = ~np.isnan(given)
    if made.any():
        adjusted[made] = false_discovery_control(given[made], method="bh")
    return adjusted


def sign_flip(
    differences: Sequence[float] | ArrayLike,
    *,
    seed: int = 0,
    most: int = 2**14,
    alternative: Alternative = "greater",
) -> SignFlip:
    """Whether paired differences have a mean beyond 0: under the null each sign is a coin's.

    Args:
        differences: One a unit (a text, a prompt, a concept); the units are independent.
        seed: Of the draws, where not all sign patterns are tried.
        most: All patterns are tried where there are at most this many; else this many are drawn.
        alternative: Which means are extreme.

    Returns:
        The p and the smallest reachable one; p is NaN without differences or where one is NaN.

    Raises:
        InputError: The differences are not a list of numbers, or no such alternative.
    """
    values = np.asarray(differences, dtype=float)
    if values.ndim != 1:
        raise InputError(f"The differences have shape {values.shape}; one a unit is expected.")
    _check(alternative)
    size = len(values)
    if not size or np.isnan(values).any():
        return SignFlip(math.nan, 1.0)
    if 2.0**size > most:
        signs = np.random.default_rng(seed).integers(0, 2, (most, size)) * 2.0 - 1
        p = rank_p(float(values.mean()), signs @ values / size, alternative=alternative)
        return SignFlip(p, smallest_p(most, alternative=alternative))
    bits = np.arange(2**size)[:, None] >> np.arange(size) & 1
    flipped = (1 - 2.0 * bits) @ values / size
    # The observed signs are one of the patterns: pattern 0.
    p = rank_p(float(values.mean()), flipped[1:], alternative=alternative)
    return SignFlip(p, smallest_p(2**size - 1, alternative=alternative))


def _slack(draws: NDArray[np.float64], observed: float) -> float:
    finite = np.abs(draws[np.isfinite(draws)])
    return _CLOSE * max(abs(observed), float(finite.max()) if len(finite) else 0.0)


def _check(alternative: str) -> None:
    known = ("greater", "less", "two-sided")
    if alternative not in known:
        raise InputError(f"alternative is {alternative!r}; one of {', '.join(known)} is expected.")
