"""How far a number can be trusted: intervals over the units that were sampled.

The unit is what was drawn: a text, a prompt, a concept. Latents are not: they were chosen.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import ArrayLike, NDArray
from scipy.stats import t
from torch import Tensor

from tl_ext.errors import InputError

DRAWS = 999
"""Resamples behind an interval where no other number is named."""

_ALIKE = 1e-9  # shares that differ by less are one


class Interval(NamedTuple):
    """The two ends of an interval; NaN where there is none to be had.

    Attributes:
        low: Its lower end.
        high: Its upper end.
    """

    low: float
    high: float

    def excludes(self, value: float = 0.0) -> bool:
        """Whether a value lies outside; an undefined interval excludes nothing."""
        return self.low > value or self.high < value

    def __str__(self) -> str:
        return f"{self.low:.3g} to {self.high:.3g}"


UNDEFINED = Interval(math.nan, math.nan)


def mean_interval(values: ArrayLike, *, level: float = 0.95) -> tuple[float, Interval]:
    """The mean over units and its interval, by Student's t.

    Args:
        values: One a unit; NaN, a unit without a value, is left out.
        level: Of the interval.

    Returns:
        The mean and the interval; the interval is undefined for fewer than two units.
    """
    known = _column(values, "values")
    known = known[~np.isnan(known)]
    if not len(known):
        return math.nan, UNDEFINED
    mean = float(known.mean())
    if len(known) < 2:
        return mean, UNDEFINED
    half = float(t.ppf((1 + level) / 2, len(known) - 1) * known.std(ddof=1) / math.sqrt(len(known)))
    return mean, Interval(mean - half, mean + half)


def share_interval(shares: ArrayLike, *, level: float = 0.95) -> tuple[float, Interval]:
    """The mean of shares over units and its interval, within 0 and 1.

    Args:
        shares: One a unit, each from 0 to 1; NaN, a unit without a value, is left out.
        level: Of the interval.

    Returns:
        The mean and Student's interval. Where every unit's share is 0 (or 1) there is no spread to tell
        an interval from; then it reaches to the largest (smallest) mean under which that happens in one
        of two tails: no shares with a mean beyond m are all 0 with a higher chance than (1 - m)^units.
        Undefined for units that are all alike otherwise.
    """
    known = _column(shares, "shares")
    known = known[~np.isnan(known)]
    mean, found = mean_interval(known, level=level)
    if not len(known):
        return mean, found
    if np.ptp(known) < _ALIKE:
        reach = ((1 - level) / 2) ** (1 / len(known))
        if mean < _ALIKE:
            return mean, Interval(0.0, 1 - reach)
        return mean, Interval(reach, 1.0) if mean > 1 - _ALIKE else UNDEFINED
    return mean, Interval(max(found.low, 0.0), min(found.high, 1.0))


def bootstrap(
    statistic: Callable[[NDArray[np.int64]], float],
    size: int,
    *,
    draws: int = DRAWS,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """The percentile interval of a statistic over resampled units.

    Args:
        statistic: Of the indices of the units drawn, `size` of them with replacement. Whatever was
            selected with the units' help is selected anew inside it.
        size: How many units there are.
        draws: How many resamples.
        seed: Of the resamples.
        level: Of the interval.

    Returns:
        The interval over the resamples with a defined value; undefined for fewer than two units, or
        where fewer than half of the resamples gave a value.
    """
    if size < 2:
        return UNDEFINED
    random = np.random.default_rng(seed)
    return percentiles(
        [statistic(random.integers(0, size, size)) for _ in range(draws)], level=level
    )


def resamples(size: int, draws: int, *, seed: int) -> Float[Tensor, "draw unit"]:
    """How often each resample holds each unit; first the units themselves, each once.

    The same number of units gives the same resamples, so that what is measured on the same texts is
    resampled together.

    Args:
        size: How many units there are.
        draws: How many resamples, with replacement.
        seed: Of the resamples.

    Returns:
        Whole numbers in float64, `1 + draws` rows.
    """
    if not size:
        return torch.zeros(1 + draws, 0, dtype=torch.float64)
    drawn = np.random.default_rng(seed).multinomial(size, np.full(size, 1 / size), size=draws)
    return torch.from_numpy(np.concatenate([np.ones((1, size), dtype=int), drawn])).double()


def percentiles(found: ArrayLike, *, level: float = 0.95) -> Interval:
    """The percentile interval of a statistic from its values over resamples.

    Args:
        found: One a resample; NaN where it was undefined there.
        level: Of the interval.

    Returns:
        The interval over the defined values; undefined where fewer than half are.
    """
    values = _column(found, "found")
    known = values[~np.isnan(values)]
    if not len(known) or 2 * len(known) < len(values):
        return UNDEFINED
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def fieller(
    numerator: ArrayLike, denominator: ArrayLike, *, level: float = 0.95
) -> Interval | None:
    """The interval of a ratio of two means over the same units.

    Args:
        numerator: One value a unit.
        denominator: One value a unit, of the same units in the same order.
        level: Of the interval.

    Returns:
        The interval; None where the denominator's own interval holds 0, for then every ratio is
        compatible with the data, or there are fewer than two units.

    Raises:
        InputError: Two numbers of units, or values that are not finite.

    Source: Fieller 1954, Some problems in interval estimation, J. R. Stat. Soc. B 16.
    """
    above, below = _column(numerator, "numerator"), _column(denominator, "denominator")
    if len(above) != len(below):
        raise InputError(
            f"{len(above)} values stand above and {len(below)} below; one pair a unit is expected."
        )
    if not (np.isfinite(above).all() and np.isfinite(below).all()):
        raise InputError(
            "A ratio's values hold NaN or infinity; leave such units out of both sides."
        )
    size = len(above)
    if size < 2:
        return None
    covariance = np.cov(above, below) / size
    square = float(t.ppf((1 + level) / 2, size - 1)) ** 2
    top, bottom = float(above.mean()), float(below.mean())
    # The ratios r for which the mean of (above - r below) is compatible with 0: a r^2 - 2 b r + c <= 0.
    a = bottom**2 - square * covariance[1, 1]
    b = top * bottom - square * covariance[0, 1]
    c = top**2 - square * covariance[0, 0]
    if a <= 0:
        return None
    root = math.sqrt(max(b * b - a * c, 0.0))
    return Interval((b - root) / a, (b + root) / a)


def _column(values: ArrayLike, name: str) -> NDArray[np.float64]:
    column = np.asarray(values, dtype=float)
    if column.ndim != 1:
        raise InputError(f"{name} has shape {column.shape}; one value a unit, [unit], is expected.")
    return column
