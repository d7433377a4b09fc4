"""Nearest neighbours equal brute force, whatever the tiles, types, ties and rows that point nowhere."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tl_ext.analysis import neighbours
from tl_ext.analysis.neighbours import MOST, STEP, Neighbours, nearest, nearest_both
from tl_ext.analysis.similarity import cosine
from tl_ext.errors import InputError


def brute(first: Tensor, second: Tensor, k: int) -> Neighbours:
    """All cosines in float64, sorted; of equal ones the lowest index first."""
    told = (cosine(first, second).cpu() / STEP).round() * STEP
    told, index = told.nan_to_num(-9).sort(dim=1, descending=True, stable=True)
    told = torch.nn.functional.pad(told, (0, MOST), value=-9)[:, :k]
    index = torch.nn.functional.pad(index, (0, MOST))[:, :k]
    nothing = told == -9
    return Neighbours(index.masked_fill(nothing, -1), told.masked_fill(nothing, torch.nan).float())


def same(found: Neighbours, expected: Neighbours) -> None:
    assert found.index.dtype == torch.int64 and found.cosine.dtype == torch.float32
    assert torch.equal(found.index, expected.index)
    torch.testing.assert_close(found.cosine, expected.cosine, rtol=0, atol=0, equal_nan=True)


@st.composite
def directions(draw: st.DrawFn, width: int) -> Tensor:
    """Rows with ties and repetitions, some of them zero, NaN or infinite, of any length."""
    size = draw(st.integers(1, 150))
    source = torch.Generator().manual_seed(draw(st.integers(0, 2**30)))
    rows = torch.randn(size, width, generator=source)
    if draw(st.booleans()):
        rows = rows.round()
    if draw(st.booleans()):
        rows = rows[torch.randint(size, (size,), generator=source)]
    if draw(st.booleans()):
        rows = rows * 2.0 ** torch.randint(-60, 60, (size, 1), generator=source)
    for value in (0.0, torch.nan, torch.inf):
        for row in draw(st.lists(st.integers(0, size - 1), max_size=2)):
            rows[row] = value
    return rows


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(1, 6), st.integers(1, MOST), st.sampled_from([64, 1000, 2**26]))
def test_it_equals_brute_force_whatever_the_tiles(
    data: st.DataObject, width: int, k: int, size: int
) -> None:
    first, second = data.draw(directions(width)), data.draw(directions(width))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbours, "TILE", {"cpu": size})
        patch.setattr(neighbours, "GATHERED", {"cpu": size})
        patch.setattr(neighbours, "MAXIMA", size)
        patch.setattr(neighbours, "KEYS", size)
        forward, backward = nearest_both(first, second, k)
        same(nearest(first, second, k), forward)
    same(forward, brute(first, second, k))
    same(backward, brute(second, first, k))


def test_of_equal_cosines_the_lowest_index_comes_first() -> None:
    row = torch.tensor([[0.3, -1.2, 0.7]])
    second = torch.cat([-row, row.expand(500, -1) * torch.arange(1, 501)[:, None]])
    found = nearest(row.expand(3, -1), second, 5)
    assert found.index.tolist() == [[1, 2, 3, 4, 5]] * 3
    assert found.cosine.eq(1).all()


def test_rows_without_direction_have_no_neighbour_and_are_nobodys() -> None:
    first = torch.tensor([[1.0, 0], [0, 0], [torch.nan, 1], [0, -1]])
    second = torch.tensor([[0.0, 0], [-1, 0.1], [torch.inf, 0]])
    found = nearest(first, second, 2)
    assert found.index.tolist() == [[1, -1], [-1, -1], [-1, -1], [1, -1]]
    assert found.cosine.isnan().tolist() == [
        [False, True],
        [True, True],
        [True, True],
        [False, True],
    ]
    assert nearest(first, torch.zeros(3, 2)).index.eq(-1).all()
    assert nearest(first[:0], second).index.shape == (0, 1)
    assert nearest(first, second[:0], 3).index.tolist() == [[-1] * 3] * 4


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_every_floating_type_is_compared_by_what_it_holds(dtype: torch.dtype) -> None:
    source = torch.Generator().manual_seed(0)
    first = torch.randn(200, 48, generator=source).to(dtype)
    second = torch.randn(300, 48, generator=source).to(dtype)
    same(nearest(first, second, 4), brute(first, second, 4))


def test_huge_and_tiny_rows_point_where_they_point() -> None:
    tiny = torch.tensor([[1e-300, 0], [0, 5e-324]], dtype=torch.float64)
    huge = torch.tensor([[0, 1e300], [1.7e308, 0]], dtype=torch.float64)
    assert nearest(tiny, huge).index.flatten().tolist() == [1, 0]
    single = torch.tensor([[3e38, 3e38], [1e-45, 0]])
    assert nearest(single, single).index.flatten().tolist() == [0, 1]


def test_neighbours_too_close_for_float32_are_told_apart_by_the_true_cosine() -> None:
    source = torch.Generator().manual_seed(1)
    axis = torch.randn(768, generator=source)
    near = axis + 1e-3 * torch.randn(400, 768, generator=source)
    same(nearest(axis[None], near, MOST), brute(axis[None], near, MOST))


def test_a_less_precise_product_is_allowed_for() -> None:
    source = torch.Generator().manual_seed(2)
    first, second = (torch.randn(300, 64, generator=source) for _ in range(2))
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = nearest(first, second, 3)
    finally:
        torch.set_float32_matmul_precision(before)
    same(found, brute(first, second, 3))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_gpu_finds_the_same() -> None:
    source = torch.Generator().manual_seed(3)
    first, second = (torch.randn(1000, 96, generator=source) for _ in range(2))
    same(nearest(first.cuda(), second.cuda(), 5), brute(first, second, 5))


def test_what_cannot_be_compared_is_told() -> None:
    rows = torch.ones(2, 3)
    with pytest.raises(InputError, match="width 3 and 2"):
        nearest(rows, rows[:, :2])
    with pytest.raises(InputError, match="k is 11; 1 to 10"):
        nearest(rows, rows, 11)
    with pytest.raises(InputError, match="floating type"):
        nearest(rows.int(), rows)
    with pytest.raises(InputError, match="shape"):
        nearest(rows[0], rows)
    with pytest.raises(InputError, match="first lies on cpu"):
        nearest(rows, rows.to("meta"))
