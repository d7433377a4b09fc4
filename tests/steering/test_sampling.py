"""The sampler: the distribution it is asked for, and never a token without a chance."""

from __future__ import annotations

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from tl_ext.steering.sampling import Sampler


@given(st.integers(0, 10**6), st.integers(1, 12), st.floats(0, 1, exclude_max=True, width=32))
def test_the_sampler_never_picks_a_token_without_a_chance(
    seed: int, k: int, uniform: float
) -> None:
    logits = 5 * torch.randn(1, 12, generator=torch.Generator().manual_seed(seed))
    logits[0, torch.randperm(12, generator=torch.Generator().manual_seed(seed))[:6]] = -math.inf
    token, log_prob = Sampler(0.5, k)(logits, torch.tensor([uniform]))
    best = logits[0].topk(min(k, 6)).indices.tolist()
    assert int(token) in best
    torch.testing.assert_close(log_prob[0], logits.log_softmax(-1)[0, int(token)])


def test_the_sampler_draws_from_the_distribution() -> None:
    logits = torch.tensor([[0.0, 1.0, -math.inf, 2.0]])
    uniform = (torch.arange(1000) + 0.5) / 1000
    tokens, _ = Sampler(2.0, None)(logits.expand(1000, 4), uniform)
    drawn = torch.bincount(tokens, minlength=4) / 1000
    torch.testing.assert_close(drawn, (logits[0] / 2).softmax(-1), atol=2e-3, rtol=0)
