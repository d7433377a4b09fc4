"""Whether nearby layers are more alike, and whether the first is less alike than the others.

The unit of a layer-by-layer matrix is the layer, not the cell: a layer that is unlike all others makes
a whole row low. So layers are permuted, rows and columns together, never cells.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from numpy.typing import NDArray

from tl_ext.analysis.intervals import Interval, mean_interval
from tl_ext.analysis.nulls import rank_p, sign_flip, smallest_p
from tl_ext.errors import InputError

EXACT = 8
"""Up to so many layers all their orders are tried."""


class Trend(NamedTuple):
    """Similarity against the distance of layers.

    Attributes:
        slope: Change of similarity for one layer more between the two; below 0 where nearby layers are
            more alike.
        p: Of a slope at least as low when whole layers are permuted.
        smallest: The smallest p there is. An order of the layers and its reverse have the same
            distances, so it is 2 / n! for n evenly spaced layers.
    """

    slope: float
    p: float
    smallest: float


def distance_trend(
    similarity: Float[np.ndarray, "layer layer"],
    layers: Sequence[int],
    *,
    draws: int = 9999,
    seed: int = 0,
) -> Trend:
    """Whether nearby layers are more alike: a Mantel test of similarity against distance.

    Args:
        similarity: Symmetric; its diagonal is not read, NaN where undefined.
        layers: The layer of each row.
        draws: Orders tried where there are more than 8 layers; up to 8 all are.
        seed: Of the orders.

    Raises:
        InputError: The matrix is not square or not as long as the layers.

    Source: Mantel 1967, The detection of disease clustering and a generalized regression approach.
    """
    cells = _cells(similarity, layers)
    slopes = slope_under(cells, orders(len(layers), draws=draws, seed=seed))
    observed = float(slopes[0])
    if math.isnan(observed):
        return Trend(math.nan, math.nan, 1.0)
    p = rank_p(observed, slopes[1:], alternative="less")
    if len(layers) > EXACT:
        return Trend(observed, p, smallest_p(len(slopes) - 1))
    same = (cells.distances(orders(len(layers))) == cells.distances(None)).all(axis=1)
    return Trend(observed, p, float(same.mean()))


def distance_slope(similarity: Float[np.ndarray, "layer layer"], layers: Sequence[int]) -> float:
    """The slope of `distance_trend` alone."""
    return float(slope_under(_cells(similarity, layers), np.arange(len(layers))[None])[0])


def mean_defined(values: Float[np.ndarray, "..."], axis: int) -> Float[np.ndarray, "..."]:
    """The mean of what is defined along an axis, NaN where nothing is."""
    defined = ~np.isnan(values)
    count = defined.sum(axis=axis)
    total = np.where(defined, values, 0.0).sum(axis=axis)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


@dataclass(frozen=True, eq=False)
class Cells:
    """The defined cells above the diagonal.

    Attributes:
        values: Their similarity.
        rows: Their row.
        columns: Their column.
        layers: The layer of each row of the matrix.
    """

    values: NDArray[np.float64]
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    layers: NDArray[np.int64]

    def distances(
        self, order: Int[np.ndarray, "*draw layer"] | None
    ) -> Int[np.ndarray, "*draw cell"]:
        """How far apart the two layers of each cell are, once the layers stand in another order."""
        layers = self.layers if order is None else self.layers[order]
        apart: NDArray[np.int64] = abs(layers[..., self.rows] - layers[..., self.columns])
        return apart


def orders(size: int, *, draws: int = 9999, seed: int = 0) -> Int[np.ndarray, "order layer"]:
    """Orders of the layers, the given one first: all there are up to 8 layers, else so many drawn."""
    if size <= EXACT:
        return np.array(list(permutations(range(size))), dtype=np.int64).reshape(-1, size)
    random = np.random.default_rng(seed)
    drawn = random.permuted(np.tile(np.arange(size), (draws, 1)), axis=1)
    return np.concatenate([np.arange(size)[None], drawn])


def slope_under(cells: Cells, order: Int[np.ndarray, "order layer"]) -> Float[np.ndarray, " order"]:
    """The slope of similarity on distance with the layers in each order; NaN where distances are all
    the same or fewer than two cells are defined."""
    if len(cells.values) < 2:
        return np.full(len(order), np.nan)
    distance = cells.distances(order).astype(float)
    distance -= distance.mean(axis=1, keepdims=True)
    spread = (distance**2).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        slopes: NDArray[np.float64] = distance @ (cells.values - cells.values.mean()) / spread
    return np.where(spread > 0, slopes, np.nan)


def distance_profile(
    similarity: Float[np.ndarray, "layer layer"],
    layers: Sequence[int],
    *,
    draws: int = 9999,
    seed: int = 0,
) -> pd.DataFrame:
    """The mean similarity at each distance, and what it is when whole layers are permuted.

    Returns:
        A row per distance: `distance`, `pairs` (of layers), `similarity`, `null_low`, `null_high` (2.5
        and 97.5 % of the permutations).
    """
    cells = _cells(similarity, layers)
    order = orders(len(layers), draws=draws, seed=seed)
    permuted, own = cells.distances(order), cells.distances(None)
    rows = []
    for distance in np.unique(own):
        there = permuted == distance
        with np.errstate(invalid="ignore"):
            means = (there @ cells.values) / there.sum(axis=1)
        means = means[~np.isnan(means)]
        low, high = np.quantile(means, [0.025, 0.975])
        at = own == distance
        rows.append(
            {
                "distance": int(distance),
                "pairs": int(at.sum()),
                "similarity": float(cells.values[at].mean()),
                "null_low": float(low),
                "null_high": float(high),
            }
        )
    columns = ["distance", "pairs", "similarity", "null_low", "null_high"]
    return pd.DataFrame(rows, columns=columns)


def first_less_alike(similarity: Float[np.ndarray, "layer layer"], layers: Sequence[int]) -> float:
    """How much more alike the first layer is to the later ones than these are among themselves.

    Held against pairs of layers the same distance apart: at each distance the similarity of the first
    layer to the one so far on, less the mean of all other pairs so far apart; then the mean over
    distances at which there are both.

    Returns:
        Below 0 where the first layer is less alike; NaN where no distance has both, as for fewer than
        three layers.
    """
    cells = _cells(similarity, layers)
    first = cells.layers.min() if len(cells.layers) else 0
    at = cells.layers
    touches = (at[cells.rows] == first) | (at[cells.columns] == first)
    own = cells.distances(None)
    differences = [
        cells.values[touches & (own == distance)].mean()
        - cells.values[~touches & (own == distance)].mean()
        for distance in np.unique(own)
        if (touches & (own == distance)).any() and (~touches & (own == distance)).any()
    ]
    return float(np.mean(differences)) if differences else math.nan


class First(NamedTuple):
    """Whether the first layer is less alike, over units.

    Attributes:
        difference: The mean over units.
        interval: Of it, 95 %, by Student's t.
        units: How many had a value.
        p: Of a mean at least as low if each unit's sign were a coin's.
        smallest: The smallest p that this many units could give.
    """

    difference: float
    interval: Interval
    units: int
    p: float
    smallest: float


def first_layer_test(differences: Sequence[float], *, seed: int = 0) -> First:
    """Whether the first layer is less alike, from one number a concept.

    Args:
        differences: What `first_less_alike` gives; a concept said in several languages is one unit, so
            average over its languages first. NaN is left out.
        seed: Of the signs, where not all patterns are tried.
    """
    known = [one for one in differences if not math.isnan(one)]
    mean, interval = mean_interval(known)
    p, smallest = sign_flip(known, seed=seed, alternative="less")
    return First(mean, interval, len(known), p, smallest)


def _cells(similarity: Float[np.ndarray, "layer layer"], layers: Sequence[int]) -> Cells:
    size = len(layers)
    if similarity.shape != (size, size):
        raise InputError(
            f"The similarities have shape {similarity.shape} for {size} layers; [layer layer] is "
            "expected."
        )
    rows, columns = np.triu_indices(size, k=1)
    values = np.asarray(similarity, dtype=float)[rows, columns]
    defined = ~np.isnan(values)
    return Cells(
        values[defined], rows[defined], columns[defined], np.asarray(layers, dtype=np.int64)
    )
