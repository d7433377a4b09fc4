"""Two dictionaries without counterparts, and with counterparts planted at an angle."""

from __future__ import annotations

from functools import lru_cache

import torch
from tests.planted.worlds import directions, generator, turned

from tl_ext.analysis.matching import against_null, mutual
from tl_ext.analysis.nulls import rank_p

DRAWS = 19
SIZE, WIDTH = 100, 16


def unrelated(seed: int, *, mean: float = 0.3) -> tuple[torch.Tensor, torch.Tensor]:
    """Two sets with one mean and one uneven covariance, and nothing else in common."""
    source = generator(seed)
    shape = torch.linspace(2.5, 0.3, WIDTH)
    first, second = (torch.randn(SIZE, WIDTH, generator=source) for _ in range(2))
    return (first + mean) * shape, (second + mean) * shape


def planted(
    seed: int, *, degrees: float, share: float, size: int = SIZE, width: int = WIDTH
) -> tuple[torch.Tensor, torch.Tensor]:
    """Two sets of which a share of the second are rows of the first, turned by an angle."""
    first, second = directions(size, width, seed=seed), directions(size, width, seed=seed + 10**6)
    order = torch.randperm(size, generator=generator(seed))
    chosen = order[: int(share * size)]
    second[: len(chosen)] = turned(first[chosen], degrees, seed=seed + 2 * 10**6)
    return first, second


@lru_cache(maxsize=256)
def _by_chance(seed: int) -> dict[str, float]:
    """The p of each statistic in one world without counterparts."""
    table = against_null(*unrelated(seed), draws=DRAWS, seed=seed + 10**7).table
    return dict(zip(table["statistic"], table["p"], strict=True))


def mutual_share(seed: int) -> float:
    return _by_chance(seed)["mutual_share"]


def mean_cosine(seed: int) -> float:
    return _by_chance(seed)["mean_cosine"]


def above_share(seed: int) -> float:
    return _by_chance(seed)["above_share"]


@lru_cache(maxsize=64)
def _with_counterparts(seed: int) -> dict[str, float]:
    """The p of each statistic where half of the latents have a counterpart at 30 degrees."""
    pair = planted(seed, degrees=30, share=0.5)
    table = against_null(*pair, draws=DRAWS, seed=seed + 10**7).table
    return dict(zip(table["statistic"], table["p"], strict=True))


def planted_mutual_share(seed: int) -> float:
    """Half of 100 latents have a counterpart at 30 degrees."""
    return _with_counterparts(seed)["mutual_share"]


def planted_mean_cosine(seed: int) -> float:
    """Half of 100 latents have a counterpart at 30 degrees."""
    return _with_counterparts(seed)["mean_cosine"]


def planted_above_share(seed: int) -> float:
    """Half of 100 latents have a counterpart at 30 degrees."""
    return _with_counterparts(seed)["above_share"]


def gaussian_of_sample_covariance(seed: int) -> float:
    """What nobody should do: draw chance from the covariance of the sample, which puts its own sampling
    error on top of the sample's."""
    first, second = unrelated(seed, mean=0)
    unit = torch.nn.functional.normalize(second, dim=1)
    shape = torch.linalg.cholesky(unit.T.cov() + 1e-6 * torch.eye(WIDTH))
    source = generator(seed + 10**7)  # not the numbers the world was made of
    drawn = [
        unit.mean(0) + torch.randn(SIZE, WIDTH, generator=source) @ shape.T for _ in range(DRAWS)
    ]
    told = [float(mutual(first, rows).forward.cosine.mean()) for rows in (second, *drawn)]
    return rank_p(told[0], told[1:])
