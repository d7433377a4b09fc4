"""Random sets of latents to hold a set against: as many, active at the same place, and as strong.

The strength of a set is the norm of what it contributes: its latents' activations times their decoder
directions, summed over the set, over the tokens of a word. Sets are drawn member by member, each
member giving way to a latent that is like it, and kept where their sums are of one length; nothing is
ever rescaled to fit.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray

from tl_ext.errors import InputError

TOLERANCE = 0.1
"""By what share the norm of a matched set may differ."""

TRIES = 40
"""Candidates for each draw; a draw none of whose candidates matches is given up."""

_ALIKE = 0.3  # the kernel's width, in the features' own units: a third of a log norm, or of a share
_SHIFTS = 1.5  # in log norm: members may give way to latents up to 4.5 times stronger or weaker
_STEPS = 6

Floats = NDArray[np.float64]
Booleans = NDArray[np.bool_]


def matched_sets(
    products: Float[Floats, "latent latent"],
    chosen: Bool[Booleans, " latent"],
    pool: Bool[Booleans, " latent"],
    draws: int,
    *,
    seed: int | tuple[int, ...],
    features: Float[Floats, "latent feature"] | None = None,
    counts: Float[Floats, " latent"] | None = None,
    tolerance: float = TOLERANCE,
) -> Bool[Booleans, "draw latent"]:
    """Random sets from a pool, as many latents as the chosen ones and together as strong.

    Args:
        products: Inner products of the latents' contributions: in one text, or averaged over texts.
        chosen: The set.
        pool: The latents to draw from. With the set's own among them a draw is a relabelling; without
            them it is a set of others.
        draws: How many sets.
        seed: Of the draws.
        features: What else a latent that stands in should be like, such as the share of its norm that
            lies at the last token; the log norm is always among it.
        counts: How much each latent counts towards the number of active ones, such as the share of
            texts it is active in; None: each as one.
        tolerance: By what share the norm, and the count, may differ.

    Returns:
        A row per draw; a row without any latent where no candidate matched.

    Raises:
        InputError: The chosen set is empty here.
    """
    size = int(chosen.sum())
    if not size:
        raise InputError("The set has no active latent here, so there is nothing to match.")
    found = np.zeros((draws, len(chosen)), dtype=bool)
    if pool.sum() < size:
        return found
    norms = np.sqrt(np.clip(np.diag(products), 1e-24, None))
    described = np.log(norms)[:, None]
    if features is not None:
        described = np.concatenate([described, features], axis=1)
    members = np.flatnonzero(chosen)[np.argsort(-norms[chosen], kind="stable")]
    drawing = _Drawing(products, described, members, np.flatnonzero(pool))
    random = np.random.default_rng(seed)
    weights = drawing.weights(drawing.shift(random))
    target = drawing.length(members[None])[0]
    number = float(size if counts is None else counts[chosen].sum())
    waiting = np.arange(draws)
    for _ in range(TRIES):
        candidates = drawing.draw(weights, len(waiting), random)
        fits = np.abs(drawing.length(candidates) / target - 1) <= tolerance
        if counts is not None:
            fits &= np.abs(counts[candidates].sum(1) / number - 1) <= tolerance
        found[waiting[fits][:, None], candidates[fits]] = True
        waiting = waiting[~fits]
        if not len(waiting):
            break
    return found


class _Drawing:
    """Draws of latents in place of members, strongest member first, none twice."""

    def __init__(
        self,
        products: Floats,
        described: Floats,
        members: NDArray[np.int64],
        pool: NDArray[np.int64],
    ) -> None:
        self.products = products
        self.described = described
        self.members = members
        self.pool = pool

    def weights(self, shift: float) -> Float[Floats, "member pool"]:
        """Log-weight of each latent of the pool for each member, members taken as stronger by `shift`."""
        wanted = self.described[self.members].copy()
        wanted[:, 0] += shift
        apart = (self.described[self.pool][None] - wanted[:, None]) / _ALIKE
        weights: Floats = -0.5 * np.square(apart).sum(-1)
        return weights

    def draw(self, weights: Floats, draws: int, random: np.random.Generator) -> NDArray[np.int64]:
        """Sets `[draw member]`, as indices of latents."""
        free = np.zeros((draws, len(self.pool)))
        taken = np.empty((draws, len(self.members)), dtype=np.int64)
        rows = np.arange(draws)
        for place, liked in enumerate(weights):
            # The largest of log-weight plus Gumbel noise is a draw with these weights.
            taken[:, place] = (liked + free + random.gumbel(size=free.shape)).argmax(1)
            free[rows, taken[:, place]] = -np.inf
        return self.pool[taken]

    def length(self, sets: NDArray[np.int64]) -> Float[Floats, " set"]:
        """Norms of the summed contributions."""
        square = self.products[sets[:, :, None], sets[:, None, :]].sum((1, 2))
        lengths: Floats = np.sqrt(np.clip(square, 0.0, None))
        return lengths

    def shift(self, random: np.random.Generator) -> float:
        """How much stronger those who stand in must be: the members may point one way, they need not."""
        target = self.length(self.members[None])[0]
        low, high = -_SHIFTS, _SHIFTS
        for _ in range(_STEPS):
            middle = (low + high) / 2
            usual = np.median(self.length(self.draw(self.weights(middle), 32, random)))
            low, high = (middle, high) if usual < target else (low, middle)
        return (low + high) / 2
