"""What one dictionary's latents did so far in a stream: counts, and the contexts of the highest peaks.

The memory is fixed when it is made (see `LatentTally.bytes`), whatever is read. A batch is taken
without a loop over latents: its activations above 0 are compared with each latent's n-th highest
peak, and the few that reach it are sorted together with what those latents hold.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tl_ext.activations.capture import CapturedBatch
from tl_ext.activations.stream import StreamedBatch
from tl_ext.dictionaries.dictionary import LATENTS_AT_ONCE, Dictionary
from tl_ext.dictionaries.reading import encode_cells
from tl_ext.dictionaries.sketch import BINS, bins

ROUNDED = 12
"""Bits of a peak's mantissa that are compared, so that the rounding of a matrix product, which depends
on what shares its batch, does not decide between equal contexts."""


@dataclass(frozen=True, eq=False)
class Piece:
    """Latents at all content tokens of some contexts of a batch.

    Attributes:
        latents: A row per token.
        context: For each row, which row of the batch it stands in.
        column: For each row, its column there.
    """

    latents: Float[Tensor, "row latent"]
    context: Int[Tensor, " row"]
    column: Int[Tensor, " row"]

    def of(self, latents: Int[Tensor, " latent"]) -> Piece:
        """Some of the latents."""
        return replace(self, latents=self.latents[:, latents.to(self.latents.device)])


def pieces(dictionary: Dictionary, part: CapturedBatch, device: torch.device) -> Iterator[Piece]:
    """Latents of whole contexts, as many at a time as `LATENTS_AT_ONCE` allows.

    A dictionary that needs context gets the batch as a whole.

    Args:
        dictionary: Reads `part`.
        part: A batch and its activations.
        device: Where the latents are wanted.
    """
    content = part.batch.content
    if dictionary.needs_context:
        groups = [list(range(len(content)))]
    else:
        groups = _groups(content.sum(1).tolist(), LATENTS_AT_ONCE // dictionary.d_latent)
    for group in groups:
        cells = torch.zeros_like(content)
        cells[group] = content[group]
        context, column = cells.nonzero(as_tuple=True)
        if len(context):
            latents = encode_cells(dictionary, part, cells).float().to(device)
            yield Piece(latents, context, column)


def _groups(lengths: list[int], most: int) -> list[list[int]]:
    """Neighbours with at most so many rows together, at least one each."""
    groups: list[list[int]] = []
    rows = 0
    for index, length in enumerate(lengths):
        if not groups or rows + length > most:
            groups.append([])
            rows = 0
        groups[-1].append(index)
        rows += length
    return groups


@dataclass(frozen=True, eq=False)
class _Places:
    """Places in a batch where latents peak, at most one per latent and context.

    Attributes:
        latent: Which latent.
        peak: Its activation.
        context: The row of the batch.
        column: The column.
    """

    latent: Int[Tensor, " place"]
    peak: Float[Tensor, " place"]
    context: Int[Tensor, " place"]
    column: Int[Tensor, " place"]


class LatentTally:
    """Counts and highest peaks of a dictionary's latents.

    Attributes:
        tensors: By name. `fired` [latent], `total` [latent], `largest` [latent], `histogram`
            [latent bin]; for the n best contexts of each latent, empty places last: `peak` [latent n],
            `text` [latent n] (-1: empty), `token` [latent n] (the peak's place in its text), `ids` and
            `activations` [latent n window] (-1 and NaN beyond the context; NaN too where a token is no
            content).
    """

    def __init__(
        self,
        d_latent: int,
        *,
        n: int,
        before: int,
        after: int,
        device: torch.device | str = "cpu",
    ) -> None:
        """An empty tally.

        Args:
            d_latent: How many latents are kept.
            n: How many contexts of each.
            before: How many tokens before a peak are kept with it.
            after: How many after it.
            device: Where it is kept.
        """
        self.n, self.before, self.after = n, before, after
        window = before + 1 + after

        def full(value: float, dtype: torch.dtype, *shape: int) -> Tensor:
            return torch.full((d_latent, *shape), value, dtype=dtype, device=device)

        self.tensors = {
            "fired": full(0, torch.int64),
            "total": full(0, torch.float64),
            "largest": full(0, torch.float32),
            "histogram": full(0, torch.int32, BINS),
            "peak": full(0, torch.float32, n),
            "text": full(-1, torch.int64, n),
            "token": full(-1, torch.int64, n),
            "ids": full(-1, torch.int32, n, window),
            "activations": full(torch.nan, torch.float32, n, window),
        }

    @property
    def bytes(self) -> int:
        """The memory it takes: per latent `20 + 768 + n (20 + 8 window)` bytes."""
        return sum(one.nbytes for one in self.tensors.values())

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take the tensors of an earlier tally of the same shape."""
        for name, mine in self.tensors.items():
            mine.copy_(tensors[name])

    def take(self, batch: StreamedBatch, piece: Piece) -> None:
        """Count a piece of a batch and keep its highest peaks."""
        row, latent = (piece.latents > 0).nonzero(as_tuple=True)
        value = piece.latents[row, latent]
        self._count(latent, value)
        enough = rounded(value) >= rounded(self.tensors["peak"][:, -1])[latent]
        row, latent, value = row[enough], latent[enough], value[enough]
        if len(row):
            places = _peaks(latent, value, piece.context[row], piece.column[row])
            self._keep(batch, piece, places)

    def _count(self, latent: Int[Tensor, " value"], value: Float[Tensor, " value"]) -> None:
        mine = self.tensors
        mine["fired"].index_add_(0, latent, torch.ones_like(latent))
        mine["total"].index_add_(0, latent, value.double())
        mine["largest"].scatter_reduce_(0, latent, value, "amax")
        counts = mine["histogram"].view(-1)
        counts.index_add_(
            0, latent * BINS + bins(value), torch.ones_like(latent, dtype=counts.dtype)
        )

    def _keep(self, batch: StreamedBatch, piece: Piece, places: _Places) -> None:
        """Sort new peaks among those held, and keep the n best of each latent."""
        mine, n = self.tensors, self.n
        tokens, start = batch.part.batch, batch.start.to(places.latent.device)
        changed, group = places.latent.unique(return_inverse=True)
        held = mine["text"][changed].flatten() >= 0
        groups = torch.arange(len(changed), device=group.device).repeat_interleave(n)
        numbers = batch.part.texts.to(group.device)[places.context]
        token = places.column - tokens.offset[places.context] + start[places.context]
        all_groups = torch.cat([groups[held], group])
        peak = torch.cat([mine["peak"][changed].flatten()[held], places.peak])
        text = torch.cat([mine["text"][changed].flatten()[held], numbers])
        place = torch.cat([mine["token"][changed].flatten()[held], token])
        order = _sorted(place, text, -rounded(peak), all_groups)
        rank = _rank(all_groups[order])
        order, rank = order[rank < n], rank[rank < n]
        latent = changed[all_groups[order]]

        came = order >= int(held.sum())
        ids, activations = mine["ids"][changed].flatten(0, 1), mine["activations"][changed]
        window_ids = torch.empty(len(order), ids.shape[1], dtype=ids.dtype, device=ids.device)
        window = torch.empty_like(window_ids, dtype=activations.dtype)
        window_ids[~came] = ids[held][order[~came]]
        window[~came] = activations.flatten(0, 1)[held][order[~came]]
        which = order[came] - int(held.sum())
        window_ids[came], window[came] = self._windows(
            batch, piece, places.latent[which], places.context[which], places.column[which]
        )
        mine["peak"][latent, rank] = peak[order]
        mine["text"][latent, rank] = text[order]
        mine["token"][latent, rank] = place[order]
        mine["ids"][latent, rank] = window_ids
        mine["activations"][latent, rank] = window

    def _windows(
        self,
        batch: StreamedBatch,
        piece: Piece,
        latent: Int[Tensor, " place"],
        context: Int[Tensor, " place"],
        column: Int[Tensor, " place"],
    ) -> tuple[Int[Tensor, "place window"], Float[Tensor, "place window"]]:
        """Tokens and activations around places."""
        tokens = batch.part.batch
        real = tokens.mask & (
            torch.arange(tokens.ids.shape[1], device=column.device) >= tokens.offset[:, None]
        )
        rows = torch.full_like(tokens.ids, -1)
        rows[piece.context, piece.column] = torch.arange(len(piece.context), device=rows.device)
        around = column[:, None] + torch.arange(-self.before, self.after + 1, device=column.device)
        inside = (around >= 0) & (around < tokens.ids.shape[1])
        around = around.clamp(0, tokens.ids.shape[1] - 1)
        inside &= real[context[:, None], around]
        ids = torch.where(inside, tokens.ids[context[:, None], around], -1).int()
        row = rows[context[:, None], around]
        read = inside & (row >= 0)
        values = piece.latents[row.clamp(min=0), latent[:, None]]
        return ids, torch.where(read, values, torch.nan)


def rounded(value: Float[Tensor, " value"]) -> Float[Tensor, " value"]:
    """Values to 12 bits of mantissa, the nearest: a relative change of at most 2**-13."""
    dropped = 23 - ROUNDED
    bits = value.float().contiguous().view(torch.int32)
    kept: Tensor = (bits + (1 << (dropped - 1))) >> dropped << dropped
    compared: Tensor = kept.view(torch.float32)
    return compared


def _peaks(
    latent: Int[Tensor, " value"],
    value: Float[Tensor, " value"],
    context: Int[Tensor, " value"],
    column: Int[Tensor, " value"],
) -> _Places:
    """The first of the highest values of each latent in each context."""
    order = _sorted(column, -rounded(value), context, latent)
    latent, value, context, column = (one[order] for one in (latent, value, context, column))
    first = torch.ones_like(latent, dtype=torch.bool)
    first[1:] = (latent[1:] != latent[:-1]) | (context[1:] != context[:-1])
    return _Places(latent[first], value[first], context[first], column[first])


def _sorted(*keys: Tensor) -> Int[Tensor, " item"]:
    """The order by the last key, then the one before it, and so on."""
    order = torch.arange(len(keys[0]), device=keys[0].device)
    for key in keys:
        order = order[torch.argsort(key[order], stable=True)]
    return order


def _rank(groups: Int[Tensor, " item"]) -> Int[Tensor, " item"]:
    """How many of its group come before each item, groups lying together in ascending order."""
    place = torch.arange(len(groups), device=groups.device)
    _, counts = groups.unique_consecutive(return_counts=True)
    first = counts.cumsum(0) - counts
    rank: Tensor = place - first.repeat_interleave(counts)
    return rank
