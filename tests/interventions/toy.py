"""A small random dictionary with every kind of normalisation, and comparison by bits."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tl_ext.dictionaries.sparse import ReLU, SparseDictionary

WIDTH = 24
LATENTS = 40
POINT = "blocks.1.hook_resid_pre"

_BITS = {torch.float32: torch.int32, torch.float64: torch.int64, torch.bfloat16: torch.int16}


def toy_dictionary(*, hook_in: str = POINT, hook_out: str = POINT, **changes: Any) -> Any:
    """A dictionary whose reconstruction is far from its input."""
    generator = torch.Generator().manual_seed(0)
    W_dec = torch.randn(LATENTS, WIDTH, generator=generator) / WIDTH**0.5
    fields: dict[str, Any] = {
        "id": "toy",
        "architecture": "standard",
        "hook_in": hook_in,
        "hook_out": hook_out,
        "W_enc": W_dec.T + 0.1 * torch.randn(WIDTH, LATENTS, generator=generator),
        "W_dec": W_dec,
        "b_dec": torch.randn(WIDTH, generator=generator),
        "activation": ReLU(torch.randn(LATENTS, generator=generator)),
    }
    return SparseDictionary(**{**fields, **changes})


def activation(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    """Random numbers with some zeros of either sign."""
    generator = torch.Generator().manual_seed(seed)
    values = 3 * torch.randn(*shape, generator=generator)
    kind = torch.randint(0, 10, shape, generator=generator)
    return torch.where(kind == 0, -0.0, torch.where(kind == 1, 0.0, values)).to(dtype)


def same_bits(one: Tensor, other: Tensor) -> bool:
    """Equal to the bit, the sign of zero included."""
    assert one.dtype == other.dtype
    return torch.equal(one.view(_BITS[one.dtype]), other.view(_BITS[other.dtype]))
