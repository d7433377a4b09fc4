"""Small worlds whose truth is known: planted directions, dictionaries made of them, activations.

A world is made from a seed in a millisecond or so, so that a test can look at hundreds of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


def directions(count: int, width: int, *, seed: int) -> Float[Tensor, "count width"]:
    """Random directions of length 1."""
    drawn = torch.randn(count, width, generator=generator(seed))
    return torch.nn.functional.normalize(drawn, dim=-1)


def generator(seed: int) -> torch.Generator:
    """Random numbers of this seed alone."""
    return torch.Generator().manual_seed(seed)


def turned(
    rows: Float[Tensor, "row width"], degrees: float, *, seed: int
) -> Float[Tensor, "row width"]:
    """Each row of length 1 turned by an angle, towards a random direction of its own."""
    other = torch.randn(rows.shape, generator=generator(seed), dtype=rows.dtype)
    other = torch.nn.functional.normalize(
        other - (other * rows).sum(-1, keepdim=True) * rows, dim=-1
    )
    angle = math.radians(degrees)
    return math.cos(angle) * rows + math.sin(angle) * other


def near(
    axis: Float[Tensor, " width"], degrees: float, count: int, *, seed: int
) -> Float[Tensor, "count width"]:
    """Directions of length 1 at this angle from an axis, otherwise random."""
    unit = torch.nn.functional.normalize(axis, dim=-1)
    return turned(unit.expand(count, -1), degrees, seed=seed)


@dataclass(frozen=True, eq=False)
class PlantedDictionary:
    """A dictionary whose latents read what they write: `relu(x @ directions.T - threshold)`.

    With random directions nothing is there to be found, and yet the latents that answer most to one
    vector point alike: all of them point towards that vector.

    Attributes:
        directions: Decoder directions, of length 1.
        threshold: What a latent's reading must exceed for it to fire.
    """

    directions: Float[Tensor, "d_latent width"]
    threshold: float = 0.0

    def encode(self, x: Float[Tensor, "row width"]) -> Float[Tensor, "row d_latent"]:
        """Latents of activations."""
        return torch.relu(x @ self.directions.T - self.threshold)


def random_dictionary(
    d_latent: int, width: int, *, seed: int, threshold: float = 0.0
) -> PlantedDictionary:
    """A dictionary in which nothing is planted."""
    return PlantedDictionary(directions(d_latent, width, seed=seed), threshold)


def texts_at(
    word: Float[Tensor, " width"], texts: int, *, noise: float, seed: int
) -> Float[Tensor, "text width"]:
    """Activations at a word in several texts: its own vector, and noise of this length on average."""
    drawn = torch.randn(texts, len(word), generator=generator(seed))
    return word + noise / math.sqrt(len(word)) * drawn


def sparse_activations(
    rows: int, latents: int, *, rate: float, seed: int
) -> Float[Tensor, "row latent"]:
    """Latents that fire independently of one another, each on this share of rows."""
    source = generator(seed)
    fires = torch.rand(rows, latents, generator=source) < rate
    return fires * (0.2 + torch.rand(rows, latents, generator=source))
