"""How latents are selected: the strongest at a word, and others that fire as often."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tl_ext.analysis.intervals import resamples


def resampled_top(
    latents: Float[Tensor, "text d_latent"], k: int, *, draws: int, seed: int
) -> Int[Tensor, "draw k"]:
    """The strongest latents of a concept, and what they are when its texts are drawn again.

    Args:
        latents: One row a text.
        k: How many.
        draws: How many times as many texts are drawn with replacement.
        seed: Of the draws: one seed draws the same texts for every dictionary.

    Returns:
        The first row from all texts, the others from a draw each; strongest first, the lower index of
        two that are equal. -1 where fewer than `k` fired.
    """
    weights = resamples(len(latents), draws, seed=seed)
    # Only what fires on some text can be among the strongest, and there are few such latents.
    live = torch.nonzero((latents > 0).any(0)).flatten()
    means = weights @ latents[:, live].double()
    value, place = means.sort(dim=1, descending=True, stable=True)
    top = torch.full((1 + draws, k), -1)
    count = min(k, len(live))
    top[:, :count] = torch.where(value[:, :count] > 0, live[place[:, :count]], -1)
    return top


def candidates(
    latents: Float[Tensor, "frame d_latent"], count: int
) -> tuple[Int[Tensor, " candidate"], Float[Tensor, "frame candidate"]]:
    """The latents that fire most at a word, by their mean over its frames.

    Args:
        latents: At the word, one row a frame.
        count: How many to keep.

    Returns:
        Their indices, the strongest first (of equal ones the first; -1 and zeros where fewer fire), and
        their activations.
    """
    found = resampled_top(latents, count, draws=0, seed=0)[0]
    return found, latents[:, found.clamp(min=0)].masked_fill(found < 0, 0)


def matched_on_rate(
    firing_rate: Float[Tensor, " d_latent"],
    latents: Int[Tensor, " n"],
    count: int,
    *,
    seed: int,
) -> Int[Tensor, "n count"]:
    """For each latent others that fire about as often.

    Args:
        firing_rate: Share of background tokens on which each latent fires.
        latents: The ones to match; none of them is taken for another. -1 has no match.
        count: How many for each.
        seed: Decides among equally near ones.

    Returns:
        Those nearest in the logarithm of the rate, nearest first; -1 where there are no more.
    """
    found = torch.full((len(latents), count), -1)
    others = firing_rate > 0
    others[latents[latents >= 0]] = False
    live = torch.nonzero(others).flatten()
    live = live[torch.randperm(len(live), generator=torch.Generator().manual_seed(seed))]
    if not len(live):
        return found
    rates = firing_rate[live].double()
    # A latent that never fired is matched with the rarest.
    wanted = firing_rate[latents.clamp(min=0)].double().clamp(min=float(rates.min()))
    distance = (rates.log()[None] - wanted.log()[:, None]).abs()
    order = distance.argsort(dim=1, stable=True)[:, :count]
    found[:, : order.shape[1]] = live[order]
    found[latents < 0] = -1
    return found
