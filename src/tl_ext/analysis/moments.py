"""Correlations over more tokens than fit in memory: sums are kept, activations are not.

Sums, sums of squares and products are kept in float64. A column that is the same on every token has no
correlation, and gives NaN.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tl_ext.errors import InputError

_CONSTANT = 1e-10  # of the sum of squares; what is left of a constant column after rounding


class CrossMoments:
    """The correlation of every column of one matrix with every column of another.

    Example:
        ```python
        moments = CrossMoments(3, 24576)
        for few, many in batches:
            moments.add(few, many)
        moments.correlation()
        ```
    """

    def __init__(self, first: int, second: int) -> None:
        """Begin with no rows.

        Args:
            first: Columns of the one.
            second: Columns of the other.
        """
        self._size = (first, second)
        self._rows = 0
        self._products: Tensor | None = None
        self._sides: tuple[Tensor, Tensor] | None = None

    def add(self, first: Float[Tensor, "row a"], second: Float[Tensor, "row b"]) -> None:
        """Add rows of both, the same tokens.

        Raises:
            InputError: Another number of rows or of columns.
        """
        _check(first, second, self._size)
        a, b = _double(first), _double(second)
        if self._products is None or self._sides is None:
            self._products = a.new_zeros(self._size)
            self._sides = (a.new_zeros(2, self._size[0]), b.new_zeros(2, self._size[1]))
        self._rows += len(a)
        self._products.addmm_(a.T, b)
        for side, values in zip(self._sides, (a, b), strict=True):
            side += _sums(values)

    def correlation(self) -> Float[Tensor, "a b"]:
        """Pearson correlations of what was added, in [-1, 1]; NaN where a column is constant."""
        if self._products is None or self._sides is None:
            return torch.full(self._size, float("nan"), dtype=torch.float64)
        first, second = self._sides
        return _correlation(self._rows, self._products, first[:, :, None], second[:, None, :])


class PairedMoments:
    """The correlation of column with column, pair by pair, and what it is by chance.

    By chance: the rows of the first side are moved along the text by a random offset, around the end of
    each batch. A moved column fires as often as before, for as long, and knows nothing of the other
    side. An offset is at least a quarter of the batch, since activations of neighbouring tokens are
    alike; it is one for all pairs, so that what depends on one another still does.
    """

    def __init__(self, pairs: int, *, draws: int = 0, seed: int = 0) -> None:
        """Begin with no rows.

        Args:
            pairs: How many pairs of columns.
            draws: How many times the first side is moved.
            seed: Of the offsets. Two of one seed that are given batches of the same lengths move alike.
        """
        self._pairs = pairs
        self._draws = draws
        self._generator = torch.Generator().manual_seed(seed)
        self._rows = 0
        self._products: Tensor | None = None
        self._sides: tuple[Tensor, Tensor] | None = None

    def add(self, first: Float[Tensor, "row pair"], second: Float[Tensor, "row pair"]) -> None:
        """Add rows of both, the same tokens.

        Raises:
            InputError: Another number of rows or of columns.
        """
        _check(first, second, (self._pairs, self._pairs))
        a, b = _double(first), _double(second)
        if self._products is None or self._sides is None:
            self._products = a.new_zeros(1 + self._draws, self._pairs)
            self._sides = (a.new_zeros(2, self._pairs), a.new_zeros(2, self._pairs))
        offsets = random_offsets(len(a), self._draws, self._generator)
        self._rows += len(a)
        self._products[0] += (a * b).sum(0)
        if self._draws and self._pairs:  # some transforms refuse to transform nothing
            self._products[1:] += shifted_products(a, b, offsets)
        for side, values in zip(self._sides, (a, b), strict=True):
            side += _sums(values)

    def correlation(self) -> Float[Tensor, " pair"]:
        """Pearson correlations of what was added; NaN where a column is constant."""
        return self._all()[0]

    def by_chance(self) -> Float[Tensor, "draw pair"]:
        """The same with the first side moved, a row a draw."""
        return self._all()[1:]

    def _all(self) -> Float[Tensor, "draw pair"]:
        if self._products is None or self._sides is None:
            shape = (1 + self._draws, self._pairs)
            return torch.full(shape, float("nan"), dtype=torch.float64)
        # Moving a column around changes neither its sum nor its sum of squares.
        return _correlation(self._rows, self._products, *(side[:, None] for side in self._sides))


def random_offsets(rows: int, draws: int, generator: torch.Generator) -> Int[Tensor, " draw"]:
    """By how many rows to move, at least a quarter of them and at most three."""
    least = max(1, rows // 4)
    beyond = max(1, rows - 2 * least + 1)
    return (least + torch.randint(beyond, (draws,), generator=generator)) % max(rows, 1)


def shifted_products(
    first: Float[Tensor, "row pair"],
    second: Float[Tensor, "row pair"],
    offsets: Int[Tensor, " draw"],
) -> Float[Tensor, "draw pair"]:
    """Sums of products of two columns after the first is moved around by each offset.

    Args:
        first: Columns to move, float64.
        second: Columns that stay.
        offsets: By how many rows, each at least 0 and below their number.
    """
    # All offsets at once: a product of Fourier transforms is a correlation around the circle.
    rows = len(first)
    transforms = torch.fft.rfft(first, dim=0).conj() * torch.fft.rfft(second, dim=0)
    around: Tensor = torch.fft.irfft(transforms, n=rows, dim=0)
    return around[offsets.to(first.device)]


def _correlation(
    rows: int, products: Tensor, first: Float[Tensor, "2 ..."], second: Float[Tensor, "2 ..."]
) -> Tensor:
    covariance: Tensor = rows * products - first[0] * second[0]
    return (covariance / torch.sqrt(_spread(rows, first) * _spread(rows, second))).clamp(-1, 1)


def _spread(rows: int, side: Float[Tensor, "2 ..."]) -> Tensor:
    spread = rows * side[1] - side[0] ** 2
    return torch.where(spread > _CONSTANT * rows * side[1], spread, float("nan"))


def _sums(values: Float[Tensor, "row n"]) -> Float[Tensor, "2 n"]:
    return torch.stack([values.sum(0), values.square().sum(0)])


def _double(values: Tensor) -> Tensor:
    """As float64, on the CPU where the device has none."""
    return (values.cpu() if values.device.type == "mps" else values).double()


def _check(first: Tensor, second: Tensor, expected: tuple[int, int]) -> None:
    if len(first) != len(second) or (first.shape[-1], second.shape[-1]) != expected:
        raise InputError(
            f"The two sides have shapes {tuple(first.shape)} and {tuple(second.shape)}; "
            f"[row {expected[0]}] and [row {expected[1]}] of the same rows are expected."
        )
