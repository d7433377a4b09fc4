"""Directions reflected at random, so that nothing is left of where each points but what all share.

Directions of one model share a mean and a few wide axes, which alone bring them near to one another. A
null of no counterparts must keep both.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

_NOTHING = 1e-12  # a variance along the mean that is none but for rounding


class Axes(NamedTuple):
    """How a cloud of directions, each at length 1, spreads.

    Attributes:
        mean: Of the directions.
        along: The direction of the mean, of length 1; 0 where the mean is.
        slope: How a direction changes with its length along the mean.
        axes: Orthogonal columns: the principal axes of what that leaves.
    """

    mean: Float[Tensor, " d"]
    along: Float[Tensor, " d"]
    slope: Float[Tensor, " d"]
    axes: Float[Tensor, "d d"]


class Parts(NamedTuple):
    """Directions in two parts that are uncorrelated over their cloud.

    Attributes:
        kept: What a direction's length along the mean foretells of it.
        rest: The coordinates of the rest along the cloud's axes, with mean 0.
    """

    kept: Float[Tensor, "row d"]
    rest: Float[Tensor, "row d"]


def unit(rows: Float[Tensor, "row d"]) -> Float[Tensor, "row d"]:
    """Rows at length 1, float32; NaN where a row is zero or not finite."""
    rows = rows.float()
    rows = rows / rows.abs().amax(-1, keepdim=True)
    norms: Tensor = torch.linalg.vector_norm(rows, dim=-1, keepdim=True)
    return rows / norms


def principal_axes(directions: Float[Tensor, "row d"]) -> Axes:
    """How directions spread; rows that are zero or not finite are left out."""
    rows = unit(directions)
    rows = rows[rows.isfinite().all(1)]
    count = max(len(rows), 1)
    # Apple's GPUs have no float64.
    total, square = rows.sum(0).cpu().double(), (rows.T @ rows).cpu().double()
    mean = total / count
    covariance = square / count - mean.outer(mean)
    along = torch.nn.functional.normalize(mean, dim=0)
    shared = covariance @ along
    variance = float(along @ shared)
    slope = shared / variance if variance > _NOTHING else torch.zeros_like(shared)
    axes = torch.linalg.eigh(covariance - variance * slope.outer(slope)).eigenvectors
    return Axes(*(each.to(rows) for each in (mean, along, slope, axes)))


def parts(directions: Float[Tensor, "row d"], axes: Axes) -> Parts:
    """Directions of a cloud, at length 1, in what is kept and what is reflected."""
    rows = unit(directions)
    kept = axes.mean + ((rows - axes.mean) @ axes.along)[:, None] * axes.slope
    return Parts(kept, (rows - kept) @ axes.axes)


def signs(draws: int, width: int, *, seed: int) -> Float[Tensor, "draw d"]:
    """1 or -1 for each axis, by coin; the same on every device."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(2, (draws, width), generator=generator) * 2.0 - 1


def reflected(
    directions: Float[Tensor, "row d"], axes: Axes, *, draws: int, seed: int
) -> Float[Tensor, "draw row d"]:
    """Directions reflected at random along the axes of their cloud, apart from what goes along its mean.

    All rows are reflected alike. The whole cloud so reflected has exactly its own mean and covariance,
    and nearly the same distances among its rows; but nothing is left of where each pointed.

    Args:
        directions: Some of the cloud.
        axes: Of the cloud, see `principal_axes`.
        draws: How many reflections.
        seed: Of the reflections.

    Returns:
        Not quite of length 1.
    """
    kept, rest = parts(directions, axes)
    coins = signs(draws, directions.shape[1], seed=seed).to(rest)
    return kept + (rest * coins[:, None]) @ axes.axes.T
