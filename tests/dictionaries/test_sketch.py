"""Quantiles of streams: off by no more than is said, whatever the distribution."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tl_ext.dictionaries.sketch import BINS, ERROR, NormSketch, bins, edges, quantiles
from tl_ext.errors import InputError

between = st.floats(2**-10, 2**14, exclude_max=True, width=32)
shares = st.lists(st.floats(0, 1), min_size=1, max_size=4)


def counted(values: torch.Tensor) -> torch.Tensor:
    return bins(values).bincount(minlength=BINS)[None]


@given(st.lists(between, min_size=1, max_size=60), shares)
def test_quantiles_are_off_by_no_more_than_is_said(
    values: list[float], wanted: list[float]
) -> None:
    found = quantiles(counted(torch.tensor(values)), wanted)[0].double().numpy()
    exact = np.quantile(np.array(values), wanted, method="inverted_cdf")
    assert (np.abs(found / exact - 1) <= ERROR + 1e-5).all()
    assert pytest.approx(0.0443, abs=1e-4) == ERROR


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
@pytest.mark.parametrize("spread", [0.1, 1.0, 2.0])
def test_quantiles_of_long_streams(share: float, spread: float) -> None:
    values = torch.randn(100_000, generator=torch.Generator().manual_seed(0)).mul(spread).exp()
    exact = np.quantile(values.numpy(), share, method="inverted_cdf")
    assert abs(float(quantiles(counted(values), [share])) / exact - 1) <= ERROR + 1e-5


def test_beyond_the_ends_is_in_the_last_bin_on_its_side() -> None:
    assert bins(torch.tensor([1e-30, 2**-10, 1e-3, 16383.0, 1e30])).tolist() == [
        0,
        0,
        0,
        BINS - 1,
        BINS - 1,
    ]
    assert float(edges()[0]) == 2**-10 and float(edges()[-1]) == 2**14


def test_what_never_fired_has_no_quantile() -> None:
    assert torch.isnan(quantiles(torch.zeros(2, BINS), [0.5])).all()
    with pytest.raises(InputError, match="from 0 to 1"):
        quantiles(torch.zeros(1, BINS), [1.5])


@given(st.lists(st.floats(2.0**-100, 2.0**100, width=32), min_size=1, max_size=40))
def test_the_median_length_is_off_by_a_thousandth(values: list[float]) -> None:
    sketch, given_ = NormSketch(), torch.tensor(values)
    for part in given_.split(7):
        sketch.add(part)
    assert sketch.median() == pytest.approx(float(given_.median()), rel=1e-3)


def test_nothing_has_no_median_length() -> None:
    assert math.isnan(NormSketch().median())
