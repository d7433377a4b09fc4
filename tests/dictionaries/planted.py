"""A dictionary whose latents fire on known tokens, by known amounts."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from tests.tiny import VOCABULARY, WIDTH, tiny_model
from torch import Tensor

LATENTS = 7


@dataclass
class Planted:
    """Latent `token % 7` is `1 + token // 7` at every token, and no other fires.

    It knows tokens by their embeddings, which Llama's first residual stream holds as they are.
    """

    id: str = "planted"
    hook_in: str = "blocks.0.hook_resid_pre"
    hook_out: str = "blocks.0.hook_resid_pre"
    d_in: int = WIDTH
    d_latent: int = LATENTS
    normalisation: str = "none"
    processing: None = None
    needs_context: bool = False
    release: None = None
    neuronpedia_id: str | None = None
    directions: Tensor = field(default_factory=lambda: torch.eye(LATENTS, WIDTH))
    bias: Tensor = field(default_factory=lambda: torch.zeros(WIDTH))

    def encode(self, x: Float[Tensor, "*row d_in"]) -> Float[Tensor, "*row d_latent"]:
        embeddings = tiny_model("llama").W_E.detach()
        token = torch.cdist(x.reshape(-1, WIDTH), embeddings).argmin(-1)
        latents = torch.zeros(len(token), LATENTS)
        latents[torch.arange(len(token)), token % LATENTS] = 1.0 + (token // LATENTS)
        return latents.reshape(*x.shape[:-1], LATENTS)

    def statistics(self, x: Tensor) -> None:
        return None

    def decode(self, latents: Tensor, statistics: object = None) -> Tensor:
        return latents @ self.directions + self.bias

    def reconstruct(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x))


def planted(token: int) -> tuple[int, float]:
    """Which latent fires on a token, and how much."""
    return token % LATENTS, 1.0 + token // LATENTS


def words(*tokens: int) -> str:
    """A text of these tokens of the tiny tokenizer, 4 to 60."""
    assert all(4 <= token < VOCABULARY for token in tokens)
    return " ".join(f"w{token}" for token in tokens)
