"""Rows of unequal length in one batch: padded on a side, with the mask that leaves the padding out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Side = Literal["right", "left"]
SIDES: tuple[Side, ...] = ("right", "left")


@dataclass(frozen=True)
class Batch:
    """Rows that were padded to the longest.

    Attributes:
        ids: Tokens [row, position].
        mask: 1 where a token is real, else 0 [row, position].
    """

    ids: Tensor
    mask: Tensor

    def real(self, values: Tensor, row: int) -> Tensor:
        """What belongs to the real tokens of a row [real token, ...].

        Args:
            values: Something of every position [row, position, ...].
            row: Which row.
        """
        return values[row][self.mask[row].bool()]


def padded(rows: Sequence[Tensor], pad: int, side: Side) -> Batch:
    """Pad rows to the longest.

    Args:
        rows: Tokens [position] of each.
        pad: The token to pad with; it may be one that the rows have too.
        side: Where the padding stands.
    """
    longest = max(len(row) for row in rows)
    ids, mask = (torch.full((len(rows), longest), filler) for filler in (pad, 0))
    for at, row in enumerate(rows):
        here = slice(0, len(row)) if side == "right" else slice(longest - len(row), longest)
        ids[at, here], mask[at, here] = row, 1
    return Batch(ids, mask)
