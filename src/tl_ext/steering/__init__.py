"""Steering: directions with a unit, generation under edits, scores of what was generated."""

from __future__ import annotations

from tl_ext.steering.generation import Generations, steer
from tl_ext.steering.vectors import (
    SteeringVector,
    combine,
    diff_of_means,
    hook_point_norm,
    latent_vector,
    tensor_vector,
)

__all__ = [
    "Generations",
    "SteeringVector",
    "combine",
    "diff_of_means",
    "hook_point_norm",
    "latent_vector",
    "steer",
    "tensor_vector",
]
