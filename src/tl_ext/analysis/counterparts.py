"""The counterpart of a latent in another dictionary, and when it is more than a largest of many.

A counterpart is the most similar of all latents of the other dictionary, so its similarity is a
maximum and high by itself. Three nulls say how high:

- `chance`: what has no counterpart at all. Directions reflected at random along the principal axes of
  their layer's, see `reflections`; activations moved along the text.
- `firing rate`: other latents of the same layer that fire about as often. They may have counterparts
  too: this asks whether the concept's latents have better ones. It knows nothing of how the concept's
  latents were selected and takes layers as independent, so it is the weaker null.
- `words`: the top latents at other words of the same kind, in every layer: the selection is repeated.

A correlation over few firings is noisy, and the largest of many noisy ones is high. So the counterpart
is chosen on one half of the texts and its correlation measured on the other, and the nulls fire as
often as what they are compared with.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from tl_ext.analysis.nulls import benjamini_hochberg, decision, rank_p, smallest_p
from tl_ext.errors import InputError

PERCENTILE = 0.99
"""Of the null, above which a counterpart is more than a largest of many."""


class Best(NamedTuple):
    """The most similar column of each row.

    Attributes:
        latent: Which; -1 where the row has no defined similarity.
        similarity: To it; NaN there.
    """

    latent: Int[Tensor, " row"]
    similarity: Float[Tensor, " row"]


def best(similarity: Float[Tensor, "row column"]) -> Best:
    """The most similar column of each row; the first of several that are equally so.

    Args:
        similarity: NaN where undefined, which is never the best.
    """
    if not similarity.shape[1]:
        rows = len(similarity)
        return Best(torch.full((rows,), -1), similarity.new_full((rows,), math.nan))
    value, index = similarity.nan_to_num(nan=-math.inf).max(1)
    found = value > -math.inf
    return Best(torch.where(found, index, -1), torch.where(found, value, math.nan))


class Share(NamedTuple):
    """How many of a group's latents have a counterpart above the null's 99th percentile.

    Attributes:
        share: Of the group.
        null_share: Mean over the null's groups.
        percentile: The null's 99th percentile, NaN where the null is undefined; over several pairs of
            layers the mean.
        p: Of a share at least as high.
        smallest: The smallest p that this many groups could give.
    """

    share: float
    null_share: float
    percentile: float
    p: float
    smallest: float


def share_above(
    observed: Float[np.ndarray, "pair k"], null: Float[np.ndarray, "group pair k"]
) -> Share:
    """The share of latents whose counterpart lies above the null's 99th percentile, with its p.

    Every group, the observed one and each of the null, is held against the 99th percentile of all
    others: so the observed one is treated as any other, and p is exact where groups can be exchanged.

    Args:
        observed: Similarity of the counterpart, for pairs of layers and the group's latents; NaN where
            undefined, which lies above nothing.
        null: The same of other groups, each in every pair of layers.

    Raises:
        InputError: Shapes that do not fit.
    """
    if null.ndim != 3 or observed.shape != null.shape[1:]:
        raise InputError(
            f"The observed values have shape {observed.shape} and the null {null.shape}; [pair k] and "
            "[group pair k] are expected."
        )
    values = np.concatenate([observed[None], null])
    above = [_above_rest(values[:, pair], values[:, pair]) for pair in range(observed.shape[0])]
    return _share(above, observed, [percentile(null[:, pair]) for pair in range(len(observed))])


def share_above_matched(
    observed: Float[np.ndarray, " k"],
    matched: Float[np.ndarray, "k match"],
    *,
    draws: int = 999,
    seed: int = 0,
) -> Share:
    """The same against groups made of one match of each latent.

    Args:
        observed: Similarity of the counterpart of each latent of the group.
        matched: Of each latent's matches; NaN where undefined.
        draws: How many groups are drawn, each latent or one of its matches in each place.
        seed: Of the draws.

    Raises:
        InputError: Shapes that do not fit.
    """
    if matched.ndim != 2 or observed.shape != matched.shape[:1]:
        raise InputError(
            f"The observed values have shape {observed.shape} and the matches {matched.shape}; [k] and "
            "[k match] are expected."
        )
    pool = np.concatenate([observed[:, None], matched], axis=1)
    random = np.random.default_rng(seed)
    chosen = random.integers(0, pool.shape[1], (draws, len(pool)))
    groups = np.concatenate([observed[None], pool[np.arange(len(pool)), chosen]])
    return _share([_above_rest(groups, pool)], observed[None], [percentile(matched)])


def percentile(null: Float[np.ndarray, "*draw"]) -> float:
    """The value that at most one in a hundred of the null's exceeds; undefined ones exceed nothing."""
    known = np.sort(null[~np.isnan(null)])
    allowed = _allowed(null.size)
    return float(known[-1 - allowed]) if len(known) > allowed else math.nan


def _share(
    above: list[NDArray[np.bool_]], observed: NDArray[np.float64], null: list[float]
) -> Share:
    """From what of each group lies above, a matrix [group k] for each pair of layers."""
    draws = len(above[0]) - 1 if above else 0
    if not draws or not observed.size or np.isnan(observed).all():
        return Share(math.nan, math.nan, math.nan, math.nan, smallest_p(draws))
    shares = np.mean(above, axis=0).mean(axis=1)
    known = [one for one in null if not math.isnan(one)]
    return Share(
        share=float(shares[0]),
        null_share=float(shares[1:].mean()),
        percentile=float(np.mean(known)) if known else math.nan,
        p=rank_p(float(shares[0]), shares[1:]),
        smallest=smallest_p(draws),
    )


def _above_rest(
    groups: Float[np.ndarray, "group k"], pool: Float[np.ndarray, "..."]
) -> NDArray[np.bool_]:
    """For each value of a group whether at most 1 % of the pool outside its group reach it.

    Each group is part of the pool.
    """
    values = np.where(np.isnan(groups), -np.inf, groups)
    ranked = np.sort(np.where(np.isnan(pool), -np.inf, pool), axis=None)
    reach = ranked.size - np.searchsorted(ranked, values, side="left")
    own = (values[:, None, :] >= values[:, :, None]).sum(-1)
    above: NDArray[np.bool_] = reach - own <= _allowed(ranked.size - groups.shape[1])
    return above & (values > -np.inf)


def _allowed(size: int) -> int:
    return math.floor((1 - PERCENTILE) * size + 1e-9)


def counterpart_tests(
    observed: Float[np.ndarray, "pair k"],
    *,
    chance: Float[np.ndarray, "draw pair k"],
    matched: Float[np.ndarray, "pair k match"],
    words: Float[np.ndarray, "group pair k"],
    resampled: Float[np.ndarray, "draw pair k"],
) -> pd.DataFrame:
    """Whether a concept's latents have counterparts, for each pair of layers and for all together.

    Args:
        observed: Similarity of the counterpart of each of the concept's latents.
        chance: Of the same latents when nothing corresponds.
        matched: Of other latents that fire about as often.
        words: Of the concept's top latents in the frames that all words share, then of the top latents
            at each other word in them.
        resampled: Of the top latents after the concept's texts are drawn again.

    Returns:
        A row per null ("chance", "firing rate", "words") and pair, the last of each null for all pairs
        together: `null`, `pair` (-1 for all), `share`, `null_share`, `percentile`, `p`, `smallest` (see
        [`Share`][tl_ext.analysis.counterparts.Share]), `low`, `high` (of the share, 95 % over texts),
        `p_adjusted` (Benjamini-Hochberg over pairs), `decision`. All pairs together are one test where
        the null draws all layers at once; against firing rate the p is Simes' over pairs.
    """
    pairs = range(len(observed))
    alone: dict[str, list[Share]] = {
        "chance": [share_above(observed[[pair]], chance[:, [pair]]) for pair in pairs],
        "firing rate": [
            share_above_matched(observed[pair], matched[pair], seed=pair) for pair in pairs
        ],
        "words": [share_above(words[0, [pair]], words[1:, [pair]]) for pair in pairs],
    }
    together = {
        "chance": share_above(observed, chance),
        "firing rate": simes(alone["firing rate"]),
        "words": share_above(words[0], words[1:]),
    }
    tables = []
    for null, tests in alone.items():
        above = np.array([one.percentile for one in tests])
        spread = _spread(resampled > above[:, None])
        table = pd.DataFrame([one._asdict() for one in [*tests, together[null]]])
        table.insert(0, "null", null)
        table.insert(1, "pair", [*pairs, -1])
        table["low"] = (table["share"] - 1.96 * spread).clip(lower=0)
        table["high"] = (table["share"] + 1.96 * spread).clip(upper=1)
        table["p_adjusted"] = [*benjamini_hochberg([one.p for one in tests]), together[null].p]
        table["decision"] = [
            decision(p, smallest)
            for p, smallest in zip(table["p_adjusted"], table["smallest"], strict=True)
        ]
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def _spread(above: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The standard deviation over draws [draw pair k] of the share above, for each pair and for all.

    The spread of the draws is used and not their place: a selection from fewer distinct texts is noisier,
    so shares of redrawn texts lie off the share of all texts.
    """
    if len(above) < 2:
        return np.full(above.shape[1] + 1, np.nan)
    shares = above.mean(axis=2)
    shares = np.concatenate([shares, shares.mean(axis=1, keepdims=True)], axis=1)
    spread: NDArray[np.float64] = shares.std(axis=0, ddof=1)
    # A spread of zero is no certainty: the draws selected the same latents.
    return np.where(spread > 1e-9, spread, np.nan)


def simes(tests: list[Share]) -> Share:
    """Several tests as one: the mean share, and the smallest of the adjusted p.

    Source: Simes 1986, An improved Bonferroni procedure, Biometrika 73.
    """
    p = benjamini_hochberg([one.p for one in tests])
    known = [one for one in tests if not math.isnan(one.p)]
    if not known:
        return Share(math.nan, math.nan, math.nan, math.nan, 1.0)
    return Share(
        share=float(np.mean([one.share for one in known])),
        null_share=float(np.mean([one.null_share for one in known])),
        percentile=float(np.mean([one.percentile for one in known])),
        p=float(np.nanmin(p)),
        smallest=max(one.smallest for one in known),
    )
