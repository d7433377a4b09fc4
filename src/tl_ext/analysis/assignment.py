"""The best one-to-one assignment between two sets of directions, exact where memory allows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_array
from scipy.sparse.csgraph import min_weight_full_bipartite_matching
from torch import Tensor

from tl_ext.analysis.neighbours import MOST, STEP, Directions, Neighbours, check, nearest_both
from tl_ext.analysis.similarity import cosine
from tl_ext.errors import InputError

MEMORY = 2 * 2**30
"""Bytes that an exact assignment may take where nothing else is said."""
BYTES = 8
"""What the exact method holds for every pair of rows: one float64. scipy copies a matrix that it is to
maximise or that has more rows than columns, so it is given neither."""
ROWS = 1024
"""Rows of that matrix that are made at a time."""
LEAST = 2**20
"""Bytes that are taken to assign what the sparse method left, where less is allowed."""


@dataclass(frozen=True, eq=False)
class Assignment:
    """Which row of the second set each row of the first is given, none of them twice.

    Attributes:
        index: `[a]` int64; -1 for rows that got none: those that are no direction, and where `first`
            has more directions than `second`, those left over.
        cosine: `[a]` float64; NaN for those.
        total: The sum of the cosines.
        bound: No assignment has a larger total; `total` itself for the exact method.
        method: "exact", or "sparse": among each row's and each column's nearest.
    """

    index: Int[Tensor, " a"]
    cosine: Float[Tensor, " a"]
    total: float
    bound: float
    method: Literal["exact", "sparse"]

    @property
    def gap(self) -> float:
        """How far `total` may be from the largest possible, as a share of the bound."""
        return (self.bound - self.total) / abs(self.bound) if self.bound else 0.0


@dataclass(frozen=True, eq=False)
class _Found:
    """An assignment of every row of the smaller set."""

    column: NDArray[Any]
    cosine: NDArray[Any]
    bound: float
    method: Literal["exact", "sparse"]

    @property
    def total(self) -> float:
        return float(self.cosine.sum())


class _Pairs(NamedTuple):
    """Pairs of rows with their cosines."""

    row: NDArray[Any]
    column: NDArray[Any]
    cosine: NDArray[Any]


@torch.no_grad()
def assign(
    first: Float[Tensor, "a d"], second: Float[Tensor, "b d"], memory: int = MEMORY
) -> Assignment:
    """Give every row of the smaller set one of the other, so that the sum of cosines is largest.

    The exact method holds a float64 cosine for every pair, 8 bytes: in 2 GiB two sets of 16,384 rows,
    which take it a minute or so. Where that is more than `memory`, only pairs are considered of which
    one is among the other's 10 nearest. Rows that fit in none of them are assigned to what is left
    at the end, so that every row of the smaller set still gets one.

    A bound comes with it: no pair that was not considered exceeds the 10th nearest of its row, so the
    best assignment in which a row may also take that cosine without taking a column is at least as
    good as any. The sum of the largest cosine of every row, and of the largest of the columns, bound
    it too; the least of the three is told.

    Args:
        first: Directions, one a row, on any device.
        second: Directions in the same space, on the same device.
        memory: Bytes that the cosines of all pairs may take for the exact method.

    Returns:
        On the CPU, rows in the order of `first`.

    Raises:
        InputError: Widths or devices differ, or the memory is negative.

    Source: Jonker and Volgenant 1987, A shortest augmenting path algorithm for dense and sparse linear
    assignment problems, Computing 38, as scipy has it.
    """
    check(first, second)
    if memory < 0:
        raise InputError(f"memory is {memory} bytes; 0 or more are expected.")
    mine, theirs = Directions(first).kept, Directions(second).kept
    a, b = first.detach()[mine], second.detach()[theirs]
    turned = len(a) > len(b)
    found = _assigned(b, a, memory) if turned else _assigned(a, b, memory)
    rows = np.arange(len(found.column))
    rows, columns = (found.column, rows) if turned else (rows, found.column)
    index, told = np.full(len(first), -1), np.full(len(first), np.nan)
    index[mine.cpu().numpy()[rows]] = theirs.cpu().numpy()[columns]
    told[mine.cpu().numpy()[rows]] = found.cosine
    return Assignment(
        torch.from_numpy(index),
        torch.from_numpy(told),
        total=found.total,
        bound=max(found.bound, found.total),
        method=found.method,
    )


def _assigned(few: Tensor, many: Tensor, memory: int) -> _Found:
    if BYTES * len(few) * len(many) <= memory:
        column, told = _exact(few, many)
        return _Found(column, told, float(told.sum()), "exact")
    near, back = nearest_both(few, many, min(MOST, len(many)))
    pairs = _candidates(near, back)
    # Half a step below the last neighbour: where the two tie, a column is taken.
    last = near.cosine[:, -1].double().numpy() - STEP / 2
    column, told = _solve(pairs, last)
    largest = back.cosine[:, 0].double().sort(descending=True).values[: len(few)]
    least = min(told.sum(), float(near.cosine[:, 0].double().sum()), float(largest.sum()))
    bound = least + STEP * len(few)  # as cosines are told in steps
    outside = column < 0
    column, told = _completed(column, told, few, many, memory)
    if outside.any():
        # What those outside earned in the end is a better price of staying there than its bound.
        earned = np.minimum(last, told[outside].mean())
        again = _completed(*_solve(pairs, earned), few, many, memory)
        column, told = max((column, told), again, key=lambda one: float(one[1].sum()))
    return _Found(column, told, bound, "sparse")


def _exact(few: Tensor, many: Tensor) -> tuple[NDArray[Any], NDArray[Any]]:
    """The best column of each row, and its cosine."""
    cost = np.empty((len(few), len(many)))
    for start in range(0, len(few), ROWS):
        part = cosine(few[start : start + ROWS], many)
        cost[start : start + ROWS] = part.neg_().cpu().numpy()
    rows, columns = linear_sum_assignment(cost)
    return columns, -cost[rows, columns]


def _candidates(near: Neighbours, back: Neighbours) -> _Pairs:
    """Pairs of which one is among the other's nearest, each once."""
    (few, k), (many, other) = near.index.shape, back.index.shape
    row = torch.cat([torch.arange(few).repeat_interleave(k), back.index.flatten()]).numpy()
    column = torch.cat([near.index.flatten(), torch.arange(many).repeat_interleave(other)]).numpy()
    told = torch.cat([near.cosine.flatten(), back.cosine.flatten()]).double().numpy()
    there = np.flatnonzero((row >= 0) & (column >= 0))
    _, once = np.unique(row[there] * many + column[there], return_index=True)
    chosen = there[once]
    return _Pairs(row[chosen], column[chosen], told[chosen])


def _solve(pairs: _Pairs, outside: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The best assignment of pairs in which any row may stay outside for a price of its own.

    Args:
        pairs: What may be assigned.
        outside: `[row]`, what a row earns that is given no column.

    Returns:
        The column of each row, -1 where it stays outside, and what it earns.
    """
    few = len(outside)
    own = np.arange(few)
    many = int(pairs.column.max()) + 1
    # A column of its own for every row makes each instance feasible. scipy reads a stored 0 as a pair
    # that is not there; every row gets one column, so costs are moved to where none is 0.
    costs = csr_array(
        (
            2 - np.concatenate([pairs.cosine, outside]),
            (np.concatenate([pairs.row, own]), np.concatenate([pairs.column, many + own])),
        ),
        shape=(few, many + few),
    )
    _, column = min_weight_full_bipartite_matching(costs)
    earned = 2 - np.asarray(costs[own, column]).ravel()
    return np.where(column < many, column, -1), earned


def _completed(
    column: NDArray[Any], earned: NDArray[Any], few: Tensor, many: Tensor, memory: int
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Assign the rows that stayed outside to columns that nobody took, in parts that fit in memory."""
    column, earned = column.copy(), earned.copy()
    outside = np.flatnonzero(column < 0)
    free = np.setdiff1d(np.arange(len(many)), column)
    if not len(outside):
        return column, earned
    parts = math.ceil(math.sqrt(BYTES * len(outside) * len(free) / max(memory, LEAST)))
    parts = min(parts, len(outside))
    for rows, columns in zip(
        np.array_split(outside, parts), np.array_split(free, parts), strict=True
    ):
        chosen, earned[rows] = _exact(few[_index(rows, few)], many[_index(columns, many)])
        column[rows] = columns[chosen]
    return column, earned


def _index(places: NDArray[Any], of: Tensor) -> Tensor:
    return torch.from_numpy(places).to(of.device)
