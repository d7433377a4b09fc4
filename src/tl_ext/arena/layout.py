"""Where the panels stand, in inches, and how far their axes reach."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tl_ext.arena.arrays import Array, Features
from tl_ext.errors import InputError

PANEL = 2.0  # inches, the side of a panel
_MOST_IN_A_ROW = 8
_ROOM = 1.12  # how much further than the longest coordinate the axes reach


@dataclass(frozen=True)
class Grid:
    """Panels in rows.

    Attributes:
        rows: How many panels each row has.
    """

    rows: tuple[int, ...]

    @property
    def n_columns(self) -> int:
        """The length of the longest row."""
        return max(self.rows)

    def places(self) -> list[tuple[int, int]]:
        """Row and column of each panel, in reading order."""
        return [(row, column) for row, n in enumerate(self.rows) for column in range(n)]

    def is_lowest(self, row: int, column: int) -> bool:
        """Whether no panel stands below a place."""
        return row + 1 == len(self.rows) or column >= self.rows[row + 1]


def grid(n_instances: int, n_rows: Any) -> Grid:
    """Spread instances over rows; where they do not divide, the first rows have one more.

    Args:
        n_instances: How many panels there are.
        n_rows: How many rows; None makes them at most 8 panels long.

    Returns:
        The rows.

    Raises:
        InputError: It is no number of rows, or there are more rows than panels.
    """
    if n_rows is None:
        n_rows = math.ceil(n_instances / _MOST_IN_A_ROW)
    try:
        rows = operator.index(n_rows)
    except TypeError:
        rows = 0
    if isinstance(n_rows, bool) or not 1 <= rows <= n_instances:
        raise InputError(
            f"n_rows is {n_rows!r}; a whole number from 1 to {n_instances}, the number of instances, "
            "is expected."
        )
    short, longer = divmod(n_instances, rows)
    return Grid((short + 1,) * longer + (short,) * (rows - longer))


def reaches(features: Features, limits: Any) -> tuple[float, ...]:
    """How far the axes of each panel reach from the origin, so that nothing is cut off at any time.

    Args:
        features: What is drawn.
        limits: `"shared"`: as far as the longest coordinate of all; `"own"`: of the instance; or a
            number.

    Returns:
        One number per instance.

    Raises:
        InputError: It is something else, or vectors reach further than the number.
    """
    longest = [
        max(_longest(instances[i]) for instances in features.vectors)
        for i in range(features.n_instances)
    ]
    if limits == "shared":
        longest = [max(longest)] * len(longest)
    elif limits != "own":
        return _fixed(limits, features, max(longest))
    if max(longest) > 1e280:
        raise InputError(
            f"{features} reaches {max(longest):g}, too far to be drawn. Scale it down."
        )
    # What is this short would be drawn as a point under any limits.
    return tuple(one * _ROOM if one > 1e-280 else 1.0 for one in longest)


def ticks(reach: float) -> tuple[float, float, float]:
    """Three round numbers on an axis that reaches a little further."""
    reach *= 0.93  # the numbers of two panels must not meet at the edge between them
    power = 10.0 ** math.floor(math.log10(reach))
    step = max(digit * power for digit in (1, 2, 5) if digit * power <= reach)
    return -step, 0.0, step


def _longest(vectors: Array) -> float:
    return float(np.abs(vectors).max(initial=0.0))


def _fixed(limits: Any, features: Features, longest: float) -> tuple[float, ...]:
    """The same number for every panel, where everything is within it."""
    number = isinstance(limits, int | float | np.number) and not isinstance(limits, bool)
    if not number or not 0 < float(limits) < math.inf:
        raise InputError(f'limits is {limits!r}; "shared", "own" or a number above 0 is expected.')
    if longest > float(limits):
        raise InputError(
            f"limits is {limits:g}, and vectors of {features} reach {longest:g}: they would be cut "
            'off. Give a larger number, or "shared" or "own".'
        )
    return (float(limits),) * features.n_instances
