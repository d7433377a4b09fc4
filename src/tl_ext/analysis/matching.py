"""Which latents of two whole dictionaries belong together: nearest neighbours, mutual ones, the best
one-to-one assignment."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from tl_ext.analysis.assignment import Assignment, assign
from tl_ext.analysis.neighbours import Neighbours, nearest, nearest_both

__all__ = ["Assignment", "Mutual", "Neighbours", "assign", "mutual", "nearest", "nearest_both"]


@dataclass(frozen=True, eq=False)
class Mutual:
    """Pairs of directions each of which is the other's nearest.

    Attributes:
        table: A row per pair, by `latent_a`: `latent_a`, `latent_b`, `cosine`.
        forward: The nearest of each row of the first set.
        backward: The nearest of each row of the second.
    """

    table: pd.DataFrame
    forward: Neighbours
    backward: Neighbours

    @property
    def share(self) -> float:
        """Pairs as a share of the directions of the smaller set; NaN where one has none."""
        smaller = min(int((one.index[:, 0] >= 0).sum()) for one in (self.forward, self.backward))
        return len(self.table) / smaller if smaller else float("nan")


def mutual(
    first: Float[Tensor, "a d"], second: Float[Tensor, "b d"], *, progress: str | None = None
) -> Mutual:
    """Pairs that are each other's nearest.

    About half of all random directions are: of n and n, n / (2n - 1) where cosines are independent. So
    the share says nothing beside no null.

    Args:
        first: Directions, one a row.
        second: Directions in the same space, on the same device.
        progress: The label of a progress bar; None shows none.

    Raises:
        InputError: Widths or devices differ.
    """
    forward, backward = nearest_both(first, second, progress=progress)
    there, back = forward.index[:, 0], backward.index[:, 0]
    a = torch.nonzero(there >= 0).flatten()
    a = a[back[there[a]] == a]
    table = pd.DataFrame(
        {"latent_a": a, "latent_b": there[a], "cosine": forward.cosine[a, 0].double()}
    )
    return Mutual(table, forward, backward)
