"""How much of what belongs to a concept in two languages belongs to both: against other words, and
between kinds of hook points.

The share is of latents that belong to both among those that belong to either (by size, see
`crosslingual`), summed over dictionaries and concepts. Its interval resamples texts and selects anew.
Whether it is more than chance is a question over words: with another word of the second language in
the place of the concept's own, two unrelated words share what any two words share.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from tl_ext.analysis.crosslingual import Said
from tl_ext.analysis.intervals import DRAWS, UNDEFINED, Interval, percentiles, resamples
from tl_ext.analysis.nulls import Decision, decision, rank_p, smallest_p
from tl_ext.errors import InputError

LEAST_EITHER = 10  # latents; a share of fewer says little, and its interval is too narrow

NO_DIFFERENCE, NOT_TESTED, TOO_FEW = "no difference shown", "not tested", "cannot decide"


class Counts(NamedTuple):
    """How many latents belong, in each resample of the texts; the first is the texts themselves.

    Attributes:
        both: To the concept in every language.
        either: In at least one.
    """

    both: NDArray[np.float64]
    either: NDArray[np.float64]


@dataclass(frozen=True)
class Share:
    """A share of latents with its interval over texts.

    Attributes:
        both: How many latents belong in every language.
        either: How many in at least one.
        value: Their ratio; NaN where none belongs.
        interval: Of the ratio, over resampled texts.
        both_interval: Of the number of both.
        either_interval: Of the number of either.
    """

    both: int
    either: int
    value: float
    interval: Interval
    both_interval: Interval
    either_interval: Interval


@dataclass(frozen=True)
class Difference:
    """How two kinds of hook points differ in what languages share.

    Attributes:
        first: Share in the first kind, over the layers that both have.
        second: Share in the second kind.
        value: The first less the second.
        interval: Over resampled texts, the same for both.
        layers: The layers that both kinds have dictionaries at.
        verdict: The name of the kind with the larger share; or "no difference shown", "cannot decide"
            (fewer than ten latents belong to either language in one of the kinds), "not tested" (no
            layer has dictionaries of both).
    """

    first: Share
    second: Share
    value: float
    interval: Interval
    layers: tuple[int, ...]
    verdict: str


@dataclass(frozen=True, eq=False)
class Pairing:
    """Whether two languages' words for one thing share more latents than other pairs of words.

    Attributes:
        share: The share with the concepts' own words.
        null: The share with other words in their places, a value per draw.
        p: One-sided, by rank; NaN where no latent belongs to either word.
        smallest: The smallest p that so many words could have given.
        decision: What p allows to be said.
    """

    share: float
    null: NDArray[np.float64]
    p: float
    smallest: float
    decision: Decision

    @property
    def null_mean(self) -> float:
        """The mean of the null, over the draws in which it is defined."""
        known = self.null[~np.isnan(self.null)]
        return float(known.mean()) if len(known) else math.nan


def overlap(said: Mapping[str, Said], *, draws: int = DRAWS, seed: int = 0) -> Counts:
    """How many latents belong to the concept in every language and in any, in each resample of texts.

    Args:
        said: By language; all of one dictionary.
        draws: How many resamples.
        seed: Of the resamples.
    """
    # What fires nowhere belongs in no resample; leaving it out changes no count.
    fires = torch.stack([(one.concept > 0).any(0) for one in said.values()]).any(0)
    belongs = torch.stack(
        [
            Said(one.concept[:, fires], one.controls[:, fires], one.chance[:, fires]).belongs(
                resamples(len(one), draws, seed=seed)
            )
            for one in said.values()
        ]
    )
    both, either = belongs.all(0).sum(-1), belongs.any(0).sum(-1)
    return Counts(both.double().numpy(), either.double().numpy())


def pooled(counts: Sequence[Counts]) -> Share:
    """The share of latents that belong to every language among those that belong to any.

    Args:
        counts: Of dictionaries and concepts, resampled alike; summed before the ratio is taken.
    """
    if not counts:
        return Share(0, 0, math.nan, UNDEFINED, UNDEFINED, UNDEFINED)
    ratios, total = _ratios(counts), _total(counts)
    return Share(
        both=int(total.both[0]),
        either=int(total.either[0]),
        value=float(ratios[0]),
        interval=percentiles(ratios[1:]),
        both_interval=percentiles(total.both[1:]),
        either_interval=percentiles(total.either[1:]),
    )


def compare_kinds(
    first: Mapping[int, Sequence[Counts]],
    second: Mapping[int, Sequence[Counts]],
    *,
    names: tuple[str, str],
) -> Difference:
    """Whether one kind of hook point shares more between languages than another, layer for layer.

    Args:
        first: By layer, the counts of one kind's dictionaries, of all concepts.
        second: The same of the other kind.
        names: What the kinds are called.
    """
    layers = tuple(sorted(set(first) & set(second)))
    sides = [[one for layer in layers for one in kind[layer]] for kind in (first, second)]
    shares = [pooled(side) for side in sides]
    difference = _ratios(sides[0]) - _ratios(sides[1])
    interval = percentiles(difference[1:]) if len(difference) else UNDEFINED
    if not layers:
        verdict = NOT_TESTED
    elif min(one.either for one in shares) < LEAST_EITHER:
        verdict = TOO_FEW
    elif interval.excludes(0.0):
        verdict = names[0] if interval.low > 0 else names[1]
    else:
        verdict = NO_DIFFERENCE
    value = float(difference[0]) if len(difference) else math.nan
    return Difference(shares[0], shares[1], value, interval, layers, verdict)


def word_counts(
    concepts: Float[Tensor, "concept d_latent"], words: Float[Tensor, "word d_latent"]
) -> tuple[Float[Tensor, "concept word"], Float[Tensor, "concept word"]]:
    """How many latents belong to both of two words and to either, for every pair.

    Args:
        concepts: 1 where a latent belongs to a concept's word in the one language.
        words: The same for words of the other language.

    Returns:
        Counts of both and of either.
    """
    both = concepts.double() @ words.double().T
    either = concepts.double().sum(-1, keepdim=True) + words.double().sum(-1) - both
    return both, either


def pairing(
    both: Float[Tensor, "concept word"],
    either: Float[Tensor, "concept word"],
    own: Sequence[int],
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> Pairing:
    """Whether concepts share more latents with their own words of another language than with others.

    Under the null it does not matter which of the words stands beside which concept, so that each draw
    gives the concepts other words, a different one each, at random (all of them in turn, for one
    concept).

    Args:
        both: How many latents belong to a concept and to a word of the other language, summed over
            dictionaries, see `word_counts`.
        either: How many belong to one of them.
        own: For each concept, which of the words is its own.
        draws: How many draws, for several concepts.
        seed: Of the draws.

    Raises:
        InputError: The counts do not fit, or the words are fewer than the concepts.
    """
    concepts, words = both.shape
    fits = both.shape == either.shape and len(own) == len(set(own)) == concepts <= words
    if not fits:
        raise InputError(
            f"Counts of shape {list(both.shape)} and {list(either.shape)} with own words {list(own)} "
            "were given; [concept word] twice, and a word of its own for each concept, is expected."
        )
    rows = np.arange(concepts)
    above, below = both.numpy(), either.numpy()

    def share(chosen: NDArray[np.int64]) -> NDArray[np.float64]:
        with np.errstate(invalid="ignore"):
            ratio: NDArray[np.float64] = above[rows, chosen].sum(-1) / below[rows, chosen].sum(-1)
        return ratio

    if math.perm(words, concepts) <= draws + 1:
        others = [
            each for each in itertools.permutations(range(words), concepts) if each != tuple(own)
        ]
        assigned = np.array(others, dtype=np.int64).reshape(-1, concepts)
    else:
        random = np.random.default_rng(seed)
        assigned = np.stack([random.permutation(words)[:concepts] for _ in range(draws)])
    observed, null = float(share(np.array([own]))[0]), share(assigned)
    p, smallest = rank_p(observed, null), smallest_p(len(null))
    return Pairing(observed, null, p, smallest, decision(p, smallest))


def sharing_sentence(said: str, share: Share, others: Mapping[str, Pairing]) -> str:
    """What the numbers allow to be said of what two languages share, in words.

    Args:
        said: What the share is about: "In the residual stream".
        share: The share over all texts.
        others: Pairings with other words, by the language whose word is replaced; it is more than
            chance only where every one of them shows it.
    """
    if not share.either:
        return f"{said}: {TOO_FEW}, no latent belongs to either word."
    counted = (
        f"{said}: of {share.either} latents that belong to either word {share.both} belong to both "
        f"({share.value:.1%}; 95 % over texts: {_percent(share.interval)})"
    )
    if not others:
        return f"{counted}; whether other words share as much is {NOT_TESTED}, for there are none."
    beside = "; ".join(
        f"with other {language} words {one.null_mean:.1%} on average against {one.share:.1%} in the "
        f"same frames, p = {one.p:.2g}"
        for language, one in others.items()
    )
    decisions = {one.decision for one in others.values()}
    if TOO_FEW in decisions:
        verdict = f"{TOO_FEW}, there are too few other words"
    elif decisions == {"shown"}:
        verdict = "more than two words of these languages share by chance"
    else:
        verdict = "not shown to be more than two words of these languages share by chance"
    return f"{counted}; {beside}: {verdict}."


def kinds_sentence(names: tuple[str, str], difference: Difference) -> str:
    """What the numbers allow to be said of two kinds of hook points, in words."""
    first, second = names
    if difference.verdict == NOT_TESTED:
        return f"{_begin(first)} against {second}: {NOT_TESTED}, no layer has dictionaries of both."
    at = "layer" if len(difference.layers) == 1 else "layers"
    numbers = (
        f"at {at} {', '.join(map(str, difference.layers))}: {difference.first.both} of "
        f"{difference.first.either} against {difference.second.both} of {difference.second.either}"
    )
    if difference.verdict == TOO_FEW:
        return (
            f"{_begin(first)} against {second}: {TOO_FEW}, fewer than {LEAST_EITHER} latents belong to "
            f"either word in one of them ({numbers})."
        )
    said = (
        NO_DIFFERENCE
        if difference.verdict == NO_DIFFERENCE
        else f"a larger share belongs to both languages in {difference.verdict}"
    )
    return (
        f"{_begin(first)} against {second}: {said} ({numbers}; difference {difference.value:+.1%}, 95 % over "
        f"texts: {_percent(difference.interval, sign='+')})."
    )


def _ratios(counts: Sequence[Counts]) -> NDArray[np.float64]:
    if not counts:
        return np.empty(0)
    total = _total(counts)
    with np.errstate(invalid="ignore"):
        ratios: NDArray[np.float64] = total.both / total.either
    return ratios


def _total(counts: Sequence[Counts]) -> Counts:
    return Counts(
        np.sum([one.both for one in counts], axis=0), np.sum([one.either for one in counts], axis=0)
    )


def _begin(name: str) -> str:
    """A name at the beginning of a sentence."""
    return name[:1].upper() + name[1:]


def _percent(interval: Interval, *, sign: str = "") -> str:
    return f"{interval.low:{sign}.1%} to {interval.high:{sign}.1%}"
