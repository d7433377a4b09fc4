"""Drawing tokens: the same noise for a prompt and sample whatever stands beside it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Sampler:
    """Draws one token a row.

    Attributes:
        temperature: Divides the logits; above 0 where there is noise.
        top_k: Draw from this many most likely tokens; None: from all.
    """

    temperature: float
    top_k: int | None

    def __call__(
        self, logits: Float[Tensor, "row vocabulary"], uniform: Float[Tensor, " row"] | None
    ) -> tuple[Int[Tensor, " row"], Float[Tensor, " row"]]:
        """Tokens, and the log-probability of each at temperature 1 over the whole vocabulary.

        Without `uniform` the most likely token; else the one at which the cumulative probability
        passes it. Logits that are NaN or infinite give a log-probability that is not finite.
        """
        total = logits.logsumexp(-1, keepdim=True)
        if uniform is None:
            token = logits.argmax(-1, keepdim=True)
        elif self.temperature == 1 and self.top_k is None:
            token = _drawn((logits - total).exp_(), uniform)
        else:
            chance = (logits / self.temperature).softmax(-1)
            if self.top_k is not None and self.top_k < chance.shape[-1]:
                least = chance.topk(self.top_k).values[:, -1:]
                chance = chance.masked_fill(chance < least, 0)
            token = _drawn(chance, uniform)
        return token.squeeze(-1), (logits.gather(-1, token) - total).squeeze(-1)


def _drawn(
    chance: Float[Tensor, "row vocabulary"], uniform: Float[Tensor, " row"]
) -> Int[Tensor, "row 1"]:
    cumulative = chance.cumsum(-1)
    total = cumulative[:, -1:]
    # Rounding must not carry the target to the very end, past the last token with a chance.
    target = torch.minimum(uniform[:, None] * total, total.nextafter(torch.zeros_like(total)))
    found = torch.searchsorted(cumulative, target, right=True)
    # Only where the chances are NaN, which the caller tells of.
    return found.clamp(max=chance.shape[-1] - 1)


def noise_of(
    prompts: Sequence[str], samples: int, max_new_tokens: int, seed: int
) -> np.ndarray[Any, np.dtype[np.float32]]:
    """One number in [0, 1) for each row and new token, from the seed, prompt and sample alone."""
    uniform = np.empty((len(prompts) * samples, max_new_tokens), dtype=np.float32)
    times: Counter[str] = Counter()
    for number, prompt in enumerate(prompts):
        digest = int.from_bytes(
            hashlib.sha256(prompt.encode("utf-8", "replace")).digest()[:8], "big"
        )
        for sample in range(samples):
            generator = np.random.Generator(np.random.PCG64([seed, digest, times[prompt], sample]))
            uniform[number * samples + sample] = generator.random(max_new_tokens, dtype=np.float32)
        times[prompt] += 1
    return uniform
