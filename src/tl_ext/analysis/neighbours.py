"""Nearest neighbours by cosine between two sets of directions, without their matrix of cosines.

The cosines are made a tile at a time by a float32 matrix product, and of every tile only the largest
of each group of columns (and of each group of rows) is kept. That a group's largest is below the k-th
largest of all groups, by more than the product can be wrong, rules the whole group out. Of the few
groups left every cosine is taken anew in float64, so the answer does not depend on the tiles.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from tqdm.auto import tqdm

from tl_ext.errors import InputError

MOST = 10
"""The most neighbours that are looked for."""
GROUP = 64
"""Cosines that one maximum stands for."""
STEP = 2.0**-24
"""Cosines are told in steps of this, what float32 tells apart below 1; those alike then are tied."""

TILE = {"cpu": 2**26, "cuda": 2**28}
"""Cosines held at a time in float32."""
MAXIMA = 2**27
"""Group maxima held at a time in float32, of rows and columns together."""
GATHERED = {"cpu": 2**20, "cuda": 2**25}
"""Numbers held at a time in float64 to take cosines anew; on a CPU they stay in its cache."""
KEYS = 2**23
"""Candidates held at a time."""
ROWS = 2**24
"""Numbers of the rows whose neighbours are settled together, in float64."""
NOTHING = torch.iinfo(torch.int64).min


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The nearest directions of each direction, the nearest first.

    Attributes:
        index: `[a k]` int64, rows of the other set; -1 where there is none: the row itself or the k-th
            neighbour is not a direction (zero, or not finite).
        cosine: `[a k]` float32 in [-1, 1], in steps of 2**-24; NaN where there is none.
    """

    index: Int[Tensor, "a k"]
    cosine: Float[Tensor, "a k"]


def nearest(
    first: Float[Tensor, "a d"],
    second: Float[Tensor, "b d"],
    k: int = 1,
    *,
    progress: str | None = None,
) -> Neighbours:
    """For every row of `first` the `k` rows of `second` with the largest cosine.

    Nothing of size `[a b]` is held: beside copies of the rows, memory is bounded by constants. Cosines
    are taken in float64 and told in steps of 2**-24; of equal ones the lowest index comes first.

    Args:
        first: Directions, one a row, in any floating type, on any device.
        second: Directions in the same space, on the same device.
        k: How many neighbours, 1 to 10.
        progress: The label of a progress bar; None shows none.

    Returns:
        On the CPU, rows in the order of `first`.

    Raises:
        InputError: Widths or devices differ, or k is not 1 to 10.
    """
    return _search(first, second, k, columns=False, progress=progress)[0]


def nearest_both(
    first: Float[Tensor, "a d"],
    second: Float[Tensor, "b d"],
    k: int = 1,
    *,
    progress: str | None = None,
) -> tuple[Neighbours, Neighbours]:
    """`nearest(first, second, k)` and `nearest(second, first, k)` from one matrix product.

    Args:
        first: Directions, one a row.
        second: Directions in the same space, on the same device.
        k: How many neighbours, 1 to 10.
        progress: The label of a progress bar; None shows none.

    Raises:
        InputError: Widths or devices differ, or k is not 1 to 10.
    """
    rows, columns = _search(first, second, k, columns=True, progress=progress)
    assert columns is not None
    return rows, columns


class Directions:
    """The rows that point somewhere, at unit length.

    Attributes:
        size: How many rows were given.
        kept: Which of them are finite and not zero, in rising order.
        unit: Those in float32, the last repeated until their number is a multiple of `GROUP`.
    """

    def __init__(self, rows: Float[Tensor, "row d"]) -> None:
        rows = rows.detach()
        if rows.device.type == "mps":  # ties are told by float64, which Apple's GPUs do not have
            rows = rows.cpu()
        if rows.dtype == torch.float64 and rows.numel():  # squares of what is huge or tiny
            rows = rows / rows.abs().amax(1, keepdim=True)
        self.size, width = rows.shape
        length = rows.new_empty(self.size, dtype=torch.float64)
        parts = list(_slices(self.size, max(1, _gathered(rows.device) // max(width, 1))))
        for part in parts:
            torch.linalg.vector_norm(rows[part].double(), dim=1, out=length[part])
        self.kept = torch.nonzero(length.isfinite() & (length > 0)).flatten()
        self._rows = rows if len(self.kept) == self.size else rows[self.kept]
        self._scale = 1 / length[self.kept]
        padded = -(-len(self.kept) // GROUP) * GROUP
        self.unit = torch.empty(padded, width, dtype=torch.float32, device=rows.device)
        for part in parts:
            self.unit[: len(self.kept)][part] = self._rows[part] * self._scale[part, None]
        if padded:
            self.unit[len(self.kept) :] = self.unit[len(self.kept) - 1]

    def __len__(self) -> int:
        return len(self.kept)

    @property
    def groups(self) -> int:
        """How many groups `unit` has."""
        return len(self.unit) // GROUP

    def rows(self, places: Int[Tensor, "*n"]) -> Float[Tensor, "*n d"]:
        """Rows as they were given but in float64, by their place among those kept."""
        chosen = self._rows.index_select(0, places.flatten())
        return chosen.double().view(*places.shape, -1)

    def scale(self, places: Int[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """What brings those rows to unit length."""
        return self._scale[places]


@torch.no_grad()
def _search(
    first: Tensor, second: Tensor, k: int, *, columns: bool, progress: str | None
) -> tuple[Neighbours, Neighbours | None]:
    check(first, second, k)
    a, b = Directions(first), Directions(second)
    device = a.unit.device
    found_a = torch.full((len(a), k), NOTHING, device=device)
    found_b = torch.full((len(b), k), NOTHING, device=device)
    # A stripe of rows of `first` at a time, so that the group maxima stay within bounds.
    tall = max(GROUP, MAXIMA // 2 // max(b.groups, 1) // GROUP * GROUP)
    with (
        torch.autocast(device.type, enabled=False),
        tqdm(total=len(a.unit), desc=progress, disable=progress is None, unit="row") as bar,
    ):
        for stripe in _slices(len(a.unit) if len(b) else 0, tall):
            by_row, by_column = _maxima(a.unit[stripe], b.unit, columns=columns, bar=bar)
            _settle(found_a, a, b, by_row, at=stripe.start, offset=0)
            if by_column is not None:
                _settle(found_b, b, a, by_column.T, at=0, offset=stripe.start)
    return _told(found_a, a, b), _told(found_b, b, a) if columns else None


def check(first: Float[Tensor, "a d"], second: Float[Tensor, "b d"], k: int = 1) -> None:
    """Refuse what cannot be compared.

    Raises:
        InputError: Not matrices of a floating type, widths or devices differ, or k is not 1 to 10.
    """
    for name, rows in (("first", first), ("second", second)):
        if rows.ndim != 2 or not rows.is_floating_point():
            raise InputError(
                f"{name} has shape {tuple(rows.shape)} and type {rows.dtype}; directions "
                "[row d] of a floating type are expected."
            )
    if first.shape[1] != second.shape[1]:
        raise InputError(
            f"Directions of width {first.shape[1]} and {second.shape[1]} share no space; map "
            "them to the residual stream first."
        )
    if first.device != second.device:
        raise InputError(
            f"first lies on {first.device} and second on {second.device}; move one to the other."
        )
    if not 1 <= k <= MOST:
        raise InputError(f"k is {k}; 1 to {MOST} neighbours can be looked for.")


def _maxima(
    first: Float[Tensor, "a d"], second: Float[Tensor, "b d"], *, columns: bool, bar: Any
) -> tuple[Float[Tensor, "a group_b"], Float[Tensor, "group_a b"] | None]:
    """The largest cosine of each row with each group of `second`; and of each group of rows with each
    row of `second`, where `columns` are wanted."""
    wide = len(second)
    by_row = first.new_empty(len(first), wide // GROUP)
    by_column = first.new_empty(len(first) // GROUP, wide) if columns else None
    tall = max(GROUP, _tile(first.device) // wide // GROUP * GROUP)
    buffer = first.new_empty(min(tall, len(first)), wide)
    for rows in _slices(len(first), tall):
        tile = buffer[: rows.stop - rows.start]
        torch.mm(first[rows], second.T, out=tile)
        torch.amax(tile.view(len(tile), -1, GROUP), dim=2, out=by_row[rows])
        if by_column is not None:
            groups = slice(rows.start // GROUP, rows.stop // GROUP)
            torch.amax(tile.view(-1, GROUP, wide), dim=1, out=by_column[groups])
        bar.update(len(tile))
    return by_row, by_column


def _tile(device: torch.device) -> int:
    """How many cosines are held at a time."""
    most = TILE.get(device.type, TILE["cpu"])
    if device.type == "cuda":
        return min(most, torch.cuda.mem_get_info(device)[0] // 16)
    return most


def _gathered(device: torch.device) -> int:
    """How many numbers are held in float64 at a time."""
    return GATHERED.get(device.type, GATHERED["cpu"])


def _slack(device: torch.device, width: int) -> float:
    """How far apart two cosines can seem in the product that are tied in truth.

    Each is wrong by at most width + 2 roundings of float32 (Higham, Accuracy and Stability of Numerical
    Algorithms, section 3.1), and tied cosines lie within a step.
    """
    error = (width + 4) * STEP
    try:
        precise = torch.get_float32_matmul_precision() == "highest"
    except RuntimeError:  # it was set by an interface that this one cannot read
        precise = False
    if not precise:  # bfloat16 at worst: 8 bits of either factor
        error += 2.0**-7
    return 2 * error + STEP


def _settle(
    found: Int[Tensor, "row k"],
    mine: Directions,
    others: Directions,
    maxima: Float[Tensor, "some group"],
    *,
    at: int,
    offset: int,
) -> None:
    """Put the k nearest of some rows into `found`, beside what other stripes found for them.

    Args:
        found: Keys of every row of `mine`, the largest first.
        mine: The rows whose neighbours are looked for.
        others: Where they are looked for.
        maxima: The largest cosine of each row with each group of `others`, as the product gave it.
        at: Which row of `mine` the first row of `maxima` is.
        offset: Which row of `others` its first column begins with.
    """
    maxima = maxima[: max(0, len(mine) - at)]
    k = found.shape[1]
    least = maxima.topk(min(k, maxima.shape[1]), dim=1).values[:, -1:]
    if maxima.shape[1] < k:
        least = torch.full_like(least, -torch.inf)
    possible = maxima >= least - _slack(maxima.device, mine.unit.shape[1])
    counts = possible.sum(1)
    order = counts.argsort(descending=True)
    start = 0
    while start < len(order):
        # Rows with about as many possible groups together, so that little is padded.
        most = int(counts[order[start]])
        together = min(KEYS // (most * k), ROWS // max(mine.unit.shape[1], 1))
        rows = order[start : start + max(1, together)]
        start += len(rows)
        row, group = possible[rows].nonzero(as_tuple=True)
        keys = _keys(mine, others, rows + at, row, group, k, offset)
        place = torch.arange(len(row), device=row.device)
        place -= (counts[rows].cumsum(0) - counts[rows])[row]
        dense = keys.new_full((len(rows), most, k), NOTHING)
        dense[row, place] = keys
        known = torch.cat([dense.flatten(1), found[rows + at]], dim=1)
        found[rows + at] = known.topk(k, dim=1).values


def _keys(
    mine: Directions,
    others: Directions,
    places: Int[Tensor, " row"],
    rows: Int[Tensor, " pair"],
    groups: Int[Tensor, " pair"],
    k: int,
    offset: int,
) -> Int[Tensor, "pair k"]:
    """Of each pair of a row and a group the k nearest, as numbers that sort by cosine, then index.

    `rows` count among `places`, which count among the rows of `mine`.
    """
    width = mine.unit.shape[1]
    found = torch.full((len(rows), k), NOTHING, device=rows.device)
    own, scale = (
        mine.rows(places),
        mine.scale(places),
    )  # once: a row is in a pair for each neighbour
    order = groups.argsort(stable=True)
    counts = torch.bincount(groups)
    starts = counts.cumsum(0) - counts
    sizes, names = counts.sort(descending=True)
    listed = sizes.tolist()
    at = 0
    while at < len(listed) and listed[at]:
        # Groups that about as many rows ask for together, so that little is padded.
        most = listed[at]
        part = slice(at, at + max(1, _gathered(rows.device) // ((most + GROUP) * width)))
        at = part.stop
        step = torch.arange(most, device=rows.device)
        asked = step < sizes[part, None]  # [group row]
        pairs = order[(starts[names[part], None] + step).clamp_(max=len(order) - 1)]
        mates = rows[pairs]
        named = names[part, None] * GROUP + torch.arange(GROUP, device=rows.device) + offset
        members = named.clamp(max=len(others) - 1)
        chosen = own.index_select(0, mates.flatten()).view(*mates.shape, width)
        cosine = torch.bmm(chosen, others.rows(members).mT)
        cosine *= scale[mates][:, :, None]
        cosine *= others.scale(members)[:, None, :]
        steps = cosine.clamp_(-1, 1).div_(STEP).round_().long()
        keys = (steps << 32) | (2**32 - 1 - members[:, None, :])
        # The last row is repeated to fill the last group; a repetition is nobody's neighbour.
        keys.masked_fill_((named >= len(others))[:, None, :], NOTHING)
        found[pairs[asked]] = keys.topk(k, dim=2).values[asked]
    return found


def _told(found: Int[Tensor, "row k"], mine: Directions, others: Directions) -> Neighbours:
    """Keys as indices and cosines, in the order the rows were given."""
    there = found != NOTHING
    place = (2**32 - 1 - (found & (2**32 - 1))).masked_fill(~there, 0)
    kept = others.kept if len(others) else place.new_zeros(1)
    shape = (mine.size, found.shape[1])
    index = torch.full(shape, -1, device=found.device)
    index[mine.kept] = kept[place].masked_fill(~there, -1)
    cosine = torch.full(shape, torch.nan, dtype=torch.float32, device=found.device)
    cosine[mine.kept] = ((found >> 32).double() * STEP).float().masked_fill(~there, torch.nan)
    return Neighbours(index.cpu(), cosine.cpu())


def _slices(length: int, step: int) -> Iterator[slice]:
    for start in range(0, length, step):
        yield slice(start, min(start + step, length))
