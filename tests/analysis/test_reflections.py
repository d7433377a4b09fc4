"""Reflections keep what the directions of a layer share, and nothing else."""

from __future__ import annotations

import torch
from tests.planted.worlds import directions, generator

from tl_ext.analysis.reflections import parts, principal_axes, reflected, unit


def cloud(rows: int = 300, width: int = 8) -> torch.Tensor:
    """Directions with a mean, spread unevenly, whose length along the mean foretells the rest."""
    drawn = torch.randn(rows, width, generator=generator(0)) * torch.linspace(2, 0.3, width)
    return drawn + torch.linspace(0.2, 1.5, width)


def test_the_cloud_keeps_its_mean_and_covariance() -> None:
    rows = unit(cloud())
    for drawn in reflected(rows, principal_axes(rows), draws=5, seed=1):
        torch.testing.assert_close(drawn.mean(0), rows.mean(0), rtol=0, atol=1e-6)
        torch.testing.assert_close(drawn.T.cov(), rows.T.cov(), rtol=0, atol=1e-6)
        assert not torch.allclose(drawn, rows, atol=0.1)
    assert not torch.allclose(*reflected(rows, principal_axes(rows), draws=2, seed=1), atol=0.1)


def test_a_layer_with_a_mean_of_its_own_keeps_it() -> None:
    """One that neighbouring layers share would else be taken for a counterpart."""
    first, other = cloud(), -cloud()
    axes = principal_axes(first)
    drawn = reflected(first, axes, draws=3, seed=0)
    assert (unit(drawn.mean(1)) @ unit(unit(first).mean(0)[None])[0] > 0.999).all()
    assert principal_axes(other).along @ axes.along < 0


def test_parts_add_up_and_are_uncorrelated() -> None:
    rows = unit(cloud())
    axes = principal_axes(rows)
    kept, rest = parts(rows, axes)
    torch.testing.assert_close(kept + rest @ axes.axes.T, rows, rtol=0, atol=1e-6)
    torch.testing.assert_close(rest.mean(0), torch.zeros(8), rtol=0, atol=1e-6)
    together = torch.cat([kept, rest], 1).T.cov()[:8, 8:]
    torch.testing.assert_close(together, torch.zeros(8, 8), rtol=0, atol=1e-6)


def test_directions_without_a_mean_are_reflected_too() -> None:
    rows = unit(torch.cat([cloud(20), -cloud(20)]))
    drawn = reflected(rows, principal_axes(rows), draws=1, seed=0)[0]
    torch.testing.assert_close(drawn.T.cov(), rows.T.cov(), rtol=0, atol=1e-6)
    assert not torch.allclose(drawn, rows, atol=0.1)


def test_a_zero_direction_has_no_part_in_the_axes() -> None:
    rows = directions(20, 4, seed=0)
    with_zero = torch.cat([rows, torch.zeros(1, 4)])
    torch.testing.assert_close(principal_axes(with_zero).mean, principal_axes(rows).mean)
    assert reflected(with_zero, principal_axes(with_zero), draws=2, seed=0)[:, -1].isnan().all()


def test_one_direction_stays_where_it_is() -> None:
    rows = directions(1, 4, seed=0)
    torch.testing.assert_close(reflected(rows, principal_axes(rows), draws=2, seed=0)[1], rows)
