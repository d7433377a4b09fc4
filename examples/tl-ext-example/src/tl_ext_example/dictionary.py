"""A dictionary source: `example://HOOK_POINT/WIDTH` is a dictionary whose reconstruction is exact."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from tl_ext.dictionaries.dictionary import Normalisation, Statistics
from tl_ext.errors import DictionaryError
from tl_ext.models.loading import Processing


@dataclass(frozen=True, eq=False)
class SignedIdentity:
    """Two latents per dimension, its positive and its negative part."""

    id: str
    hook_in: str
    d_in: int
    normalisation: Normalisation = "none"
    processing: Processing | None = None
    needs_context: bool = False
    release: str | None = None
    neuronpedia_id: str | None = None
    directions: Float[Tensor, "d_latent d_out"] = field(init=False)
    bias: Float[Tensor, " d_out"] = field(init=False)

    def __post_init__(self) -> None:
        identity = torch.eye(self.d_in)
        object.__setattr__(self, "directions", torch.cat([identity, -identity]))
        object.__setattr__(self, "bias", torch.zeros(self.d_in))

    @property
    def hook_out(self) -> str:
        return self.hook_in

    @property
    def d_latent(self) -> int:
        return 2 * self.d_in

    def encode(self, x: Float[Tensor, "*row d_in"]) -> Float[Tensor, "*row d_latent"]:
        return torch.cat([x, -x], dim=-1).relu()

    def statistics(self, x: Float[Tensor, "*row d_in"]) -> Statistics | None:
        return None

    def decode(
        self, latents: Float[Tensor, "*row d_latent"], statistics: Statistics | None = None
    ) -> Float[Tensor, "*row d_out"]:
        return latents @ self.directions.to(latents)

    def reconstruct(self, x: Float[Tensor, "*row d_in"]) -> Float[Tensor, "*row d_out"]:
        return self.decode(self.encode(x), self.statistics(x))


def open_example(
    rest: str,
    *,
    hook_points: Iterable[str] | None = None,
    ids: Iterable[str] | None = None,
    device: str | torch.device | None = None,
) -> list[SignedIdentity]:
    """Open what follows `example://`.

    Args:
        rest: `HOOK_POINT/WIDTH`, such as `blocks.0.hook_resid_pre/8`.
        hook_points: Only dictionaries that read these; tl_ext checks again.
        ids: Only these; tl_ext checks again.
        device: Where the weights go; this one has none worth moving.

    Raises:
        DictionaryError: `rest` has another form.
    """
    hook_point, slash, width = rest.rpartition("/")
    if not (slash and hook_point and width.isdecimal() and int(width) > 0):
        raise DictionaryError(
            f"example://{rest} is not example://HOOK_POINT/WIDTH, "
            "such as example://blocks.0.hook_resid_pre/8."
        )
    return [SignedIdentity(id=f"example-{hook_point}", hook_in=hook_point, d_in=int(width))]
