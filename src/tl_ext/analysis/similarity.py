"""How alike latents are: by where they point, by when they fire, by both.

What cannot be said is NaN and shown as empty: a zero direction points nowhere, a latent that never
fires has no correlation.
"""

from __future__ import annotations

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tl_ext.errors import InputError


def cosine(
    first: Float[Tensor, "a d"], second: Float[Tensor, "b d"] | None = None
) -> Float[Tensor, "a b"]:
    """Cosine of every row of `first` with every row of `second` (or of `first` itself).

    Returns:
        Values in [-1, 1] in float64; NaN where a row is zero or not finite.

    Raises:
        InputError: The two live in spaces of different width.
    """
    second = first if second is None else second
    if first.shape[-1] != second.shape[-1]:
        raise InputError(
            f"Directions of width {first.shape[-1]} and {second.shape[-1]} share no space; map "
            "them to the residual stream first."
        )
    return (_unit(first) @ _unit(second).T).clamp(-1, 1)


def correlation(activations: Float[Tensor, "row latent"]) -> Float[Tensor, "latent latent"]:
    """Pearson correlation of latents' activations over tokens.

    Returns:
        Values in [-1, 1] in float64; NaN where a latent's activation is the same on every token, as
        on a single one.
    """
    if len(activations) < 2:
        size = activations.shape[1]
        return torch.full((size, size), float("nan"), dtype=torch.float64)
    values = activations.double()
    # The mean of equal numbers is not always that number, and what is left would have a direction.
    constant = values.amax(0) == values.amin(0)
    return cosine((values - values.mean(0)).masked_fill(constant, 0.0).T)


def contribution_similarity(
    activations: Float[Tensor, "row latent"], directions: Float[Tensor, "latent d"]
) -> Float[Tensor, "latent latent"]:
    """How alike the latents' contributions are over a text.

    A latent's contribution at a token is its activation times its decoder direction. Over a text it is
    a matrix [token d]; this is the cosine of those matrices, which is the cosine of the directions
    times the (uncentred) cosine of the activations.

    Returns:
        Values in [-1, 1] in float64; NaN where a latent contributes nothing.

    Raises:
        InputError: The number of latents differs.
    """
    if activations.shape[1] != len(directions):
        raise InputError(
            f"{activations.shape[1]} latents have activations and {len(directions)} have "
            "directions."
        )
    return cosine(directions) * cosine(activations.double().T)


def measures(
    directions: Float[Tensor, "latent d"], activations: Float[Tensor, "row latent"] | None = None
) -> dict[str, Float[Tensor, "latent latent"]]:
    """Every measure by name: "cosine" and, where activations over text are given, "correlation" and
    "contributions"."""
    found = {"cosine": cosine(directions)}
    if activations is not None:
        found["correlation"] = correlation(activations)
        found["contributions"] = contribution_similarity(activations, directions)
    return found


def random_live(
    firing_rate: Float[Tensor, " d_latent"], count: int, *, seed: int, leave_out: Int[Tensor, " n"]
) -> Int[Tensor, " chosen"]:
    """Latents to contrast a group with: drawn at random from those that fire at all.

    Args:
        firing_rate: Share of background tokens on which each latent fires.
        count: How many to draw.
        seed: Of the draw.
        leave_out: Latents not to draw, the group itself.

    Returns:
        Up to `count` latents in rising order; fewer where fewer are live.
    """
    live = firing_rate > 0
    live[leave_out] = False
    candidates = torch.nonzero(live).flatten()
    order = torch.randperm(len(candidates), generator=torch.Generator().manual_seed(seed))
    return candidates[order[:count]].sort().values


def pair_table(
    labels: pd.DataFrame, measures: dict[str, Float[Tensor, "latent latent"]]
) -> pd.DataFrame:
    """Square matrices as one long table.

    Args:
        labels: A row per latent, in the matrices' order; its columns are repeated with `_a` and `_b`.
        measures: By name, each symmetric.

    Returns:
        A row per unordered pair of two latents, with the columns of both and one per measure.
    """
    size = len(labels)
    for name, matrix in measures.items():
        if tuple(matrix.shape) != (size, size):
            raise InputError(f"{name} has shape {tuple(matrix.shape)} for {size} labelled latents.")
    rows, columns = torch.triu_indices(size, size, offset=1)
    table: pd.DataFrame = pd.concat(
        [
            labels.iloc[rows.numpy()].reset_index(drop=True).add_suffix("_a"),
            labels.iloc[columns.numpy()].reset_index(drop=True).add_suffix("_b"),
        ],
        axis=1,
    )
    for name, matrix in measures.items():
        table[name] = matrix[rows, columns].numpy()
    return table


def _unit(rows: Float[Tensor, "row d"]) -> Float[Tensor, "row d"]:
    rows = rows.double()
    # Scaling by the largest entry first keeps tiny and huge rows from under- and overflowing.
    rows = rows / rows.abs().amax(-1, keepdim=True)
    norms: Tensor = torch.linalg.vector_norm(rows, dim=-1, keepdim=True)
    return rows / norms
