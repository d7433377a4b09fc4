"""Whether a concept's strongest latents are more alike than those of any other word.

Latents chosen because they fire at one place are alike even with random decoders, for what they read
is alike. So the null repeats the choice: the same number of latents, chosen in the same way at other
words in the same sentences. Groups of random latents with the same firing rates are a second null,
and a weaker one, for it leaves the choice out.

The dictionaries' latents are bounded to a few candidates a word, those that fire most at it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from scipy.stats import spearmanr
from torch import Tensor

from tl_ext.analysis.nulls import LEVEL, benjamini_hochberg, decision, rank_p, smallest_p
from tl_ext.errors import InputError

MEASURES = ("cosine", "correlation", "contributions")
AT_ONCE = 40  # resamples computed together, which bounds memory
TOKENS_AT_ONCE = 4096  # of background text, for the same reason
_CONSTANT = 1e-4  # of the mean square; what is left of a constant after sums in float32


@dataclass(frozen=True, eq=False, repr=False)
class WordGroups:
    """What one dictionary's candidate latents do at many words, and on background text.

    Attributes:
        latents: The latents that fire most at each word, the strongest first; -1 where fewer fire.
        activations: Of each at the word, in each frame; the frames are the same for all words.
        cosine: Of the candidates' decoder directions with one another; NaN where undefined.
        products: Sums over the tokens of a block of background texts of the product of two candidates'
            activations.
        sums: Sums over the same tokens of each candidate's activation.
        tokens: How many tokens each block has.
    """

    latents: Int[Tensor, "word candidate"]
    activations: Float[Tensor, "word frame candidate"]
    cosine: Float[Tensor, "word candidate candidate"]
    products: Float[Tensor, "block word candidate candidate"]
    sums: Float[Tensor, "block word candidate"]
    tokens: Float[Tensor, " block"]

    def __repr__(self) -> str:
        words, frames, candidates = self.activations.shape
        return (
            f"<WordGroups: {candidates} candidate latents at each of {words} words in {frames} frames, "
            f"{int(self.tokens.sum())} background tokens>"
        )


class Firings(NamedTuple):
    """Activations that are not zero, one an entry.

    Attributes:
        row: The token.
        latent: The latent.
        value: Its activation there.
    """

    row: Int[Tensor, " entry"]
    latent: Int[Tensor, " entry"]
    value: Float[Tensor, " entry"]


def background_products(
    latents: Int[Tensor, "word candidate"],
    firings: Firings,
    block: Int[Tensor, " row"],
    *,
    blocks: int,
    d_latent: int,
) -> tuple[Float[Tensor, "block word candidate candidate"], Float[Tensor, "block word candidate"]]:
    """Sums of activations and of their products over blocks of background text.

    Args:
        latents: The candidates of each word; -1 counts as a latent that never fires.
        firings: Where the dictionary's latents fire on background text, those of the candidates at least.
        block: The block of each token.
        blocks: How many blocks there are.
        d_latent: How many latents the dictionary has.

    Returns:
        `products` and `sums` of [`WordGroups`][tl_ext.analysis.similarity_null.WordGroups].
    """
    wanted = torch.unique(latents[latents >= 0])
    column = torch.full((d_latent + 1,), len(wanted), dtype=torch.long)  # the last: never fires
    column[wanted] = torch.arange(len(wanted))
    place = column[latents]
    into = column[firings.latent.long()]
    use = into < len(wanted)
    row, into, value = firings.row.long()[use], into[use], firings.value[use]
    order = torch.argsort(block[row], stable=True)
    row, into, value = row[order], into[order], value[order]
    bounds = torch.searchsorted(block[row].contiguous(), torch.arange(blocks + 1))
    words, count = latents.shape
    products = torch.zeros(blocks, words, count, count)
    sums = torch.zeros(blocks, words, count)
    for each in range(blocks):
        part = slice(int(bounds[each]), int(bounds[each + 1]))
        tokens, local = torch.unique(row[part], return_inverse=True)
        for start in range(0, len(tokens), TOKENS_AT_ONCE):
            here = (local >= start) & (local < start + TOKENS_AT_ONCE)
            dense = torch.zeros(min(TOKENS_AT_ONCE, len(tokens) - start), len(wanted) + 1)
            dense[local[here] - start, into[part][here]] = value[part][here]
            at = dense[:, place].permute(1, 2, 0)  # [word candidate token]
            products[each] += at @ at.transpose(1, 2)
            sums[each] += at.sum(-1)
    return products, sums


def group_similarity(
    groups: WordGroups,
    k: int,
    frame_weights: Float[Tensor, "draw frame"] | None = None,
    block_weights: Float[Tensor, "draw block"] | None = None,
) -> dict[str, Float[Tensor, "draw word"]]:
    """How alike the `k` strongest latents of each word are, chosen anew in every draw.

    Args:
        groups: Of one dictionary.
        k: How many latents make a group.
        frame_weights: How often each frame counts when latents are chosen; None: once, in one draw.
        block_weights: How often each block of background text counts; None: once, in one draw.

    Returns:
        By measure ("cosine" of decoder directions, "correlation" of activations over background text,
        "contributions") the mean over pairs of the group; NaN where no pair is defined.
    """
    if frame_weights is None:
        frame_weights = torch.ones(1, groups.activations.shape[1])
    if block_weights is None:
        block_weights = torch.ones(len(frame_weights), len(groups.tokens))
    parts = [
        _drawn(groups, k, *weights)
        for weights in zip(frame_weights.split(AT_ONCE), block_weights.split(AT_ONCE), strict=True)
    ]
    return {measure: torch.cat([part[measure] for part in parts]) for measure in MEASURES}


def _drawn(
    groups: WordGroups,
    k: int,
    frames: Float[Tensor, "draw frame"],
    blocks: Float[Tensor, "draw block"],
) -> dict[str, Float[Tensor, "draw word"]]:
    words, _, count = groups.activations.shape
    strength = torch.einsum("df,wfc->dwc", frames, groups.activations.to(frames.dtype))
    chosen = torch.argsort(strength, dim=-1, descending=True, stable=True)[..., :k]
    # Those that did not fire in this draw are no part of the group.
    chosen = torch.where(strength.gather(-1, chosen) > 0, chosen, -1)
    first, second = torch.triu_indices(chosen.shape[-1], chosen.shape[-1], offset=1)
    a, b = chosen[..., first], chosen[..., second]  # [draw word pair]
    absent = (a < 0) | (b < 0)
    a, b = a.clamp(min=0), b.clamp(min=0)

    def pairs(table: Tensor, i: Tensor, j: Tensor) -> Tensor:
        flat = table.flatten(-2).expand(len(i), words, count * count)
        return flat.gather(-1, i * count + j).double()

    weights = blocks.to(groups.products.dtype)
    summed = (weights @ groups.products.flatten(1)).reshape(-1, words, count, count)
    total = torch.einsum("db,bwc->dwc", weights, groups.sums).double()
    tokens = (blocks.double() @ groups.tokens.double())[:, None, None]
    ab, aa, bb = pairs(summed, a, b), pairs(summed, a, a), pairs(summed, b, b)
    mean_a, mean_b = total.gather(-1, a) / tokens, total.gather(-1, b) / tokens
    cosine = pairs(groups.cosine[None], a, b)
    spread = _variance(aa / tokens, mean_a) * _variance(bb / tokens, mean_b)
    found = {
        "cosine": cosine,
        "correlation": _ratio(ab / tokens - mean_a * mean_b, spread),
        "contributions": cosine * _ratio(ab, aa * bb),
    }
    return {
        measure: torch.where(absent, math.nan, values).nanmean(-1)
        for measure, values in found.items()
    }


def from_products(
    cosine: Float[Tensor, "latent latent"],
    products: Float[Tensor, "latent latent"],
    sums: Float[Tensor, " latent"],
    tokens: int,
) -> dict[str, Float[Tensor, "latent latent"]]:
    """Every measure between latents, from sums over background tokens instead of the activations."""
    size, own = max(1, tokens), products.double().diagonal()
    mean = sums.double() / size
    variance = _variance(own / size, mean)
    cosine = cosine.double()
    return {
        "cosine": cosine,
        "correlation": _ratio(
            products.double() / size - mean[:, None] * mean, variance[:, None] * variance
        ),
        "contributions": cosine * _ratio(products.double(), own[:, None] * own),
    }


def _variance(square: Tensor, mean: Tensor) -> Tensor:
    """From the mean of squares and the mean; 0 where that is all it is but for rounding."""
    variance = square - mean**2
    return variance.where(variance > _CONSTANT * square, 0.0)


def _ratio(above: Tensor, square: Tensor) -> Tensor:
    """`above / sqrt(square)` in [-1, 1]; NaN where the square is 0."""
    return torch.where(square > 0, (above / square.sqrt()).clamp(-1, 1), math.nan)


def like_in_frequency(
    frequency: float, others: Float[Tensor, " word"], count: int
) -> Int[Tensor, " chosen"]:
    """The words nearest in log frequency, in the order they are given; all where there are fewer."""
    distance = (others - frequency).abs()
    return torch.argsort(distance, stable=True)[:count].sort().values


def random_groups(
    pool: Int[Tensor, "latent count"], draws: int, *, seed: int
) -> Int[Tensor, "draw latent"]:
    """Groups with one latent drawn from each row of the pool, no latent twice.

    A draw in which one came twice is drawn again; the few that still have one twice are left out.
    """
    if not pool.numel():
        return torch.empty(0, len(pool), dtype=torch.long)
    generator = torch.Generator().manual_seed(seed)
    rows = torch.arange(len(pool))
    kept = []
    for _ in range(4):
        drawn = pool[rows, torch.randint(pool.shape[1], (draws, len(pool)), generator=generator)]
        ordered = drawn.sort(1).values
        kept.append(drawn[(ordered[:, 1:] != ordered[:, :-1]).all(1)])
    return torch.cat(kept)[:draws]


def mean_over_pairs(
    matrix: Float[Tensor, "latent latent"], groups: Int[Tensor, "draw member"]
) -> Float[Tensor, " draw"]:
    """The mean of a similarity over the pairs of each group; NaN where no pair is defined."""
    first, second = torch.triu_indices(groups.shape[1], groups.shape[1], offset=1)
    return matrix.double()[groups[:, first], groups[:, second]].nanmean(-1)


def compared(
    observed: float, null: Sequence[float] | Float[Tensor, " word"]
) -> dict[str, float | int]:
    """One value beside its null: the columns that every test has.

    Returns:
        `observed`, `null_median`, `null_95` (its 95th percentile), `excess` (observed less median),
        `below` (null words with a smaller value), `words`, `p`, `smallest_p`.
    """
    draws = np.asarray(null, dtype=float)
    known = draws[~np.isnan(draws)]
    median = float(np.median(known)) if len(known) else math.nan
    p = rank_p(observed, draws) if len(draws) else math.nan
    return {
        "observed": observed,
        "null_median": median,
        "null_95": float(np.quantile(known, 0.95)) if len(known) else math.nan,
        "excess": observed - median,
        "below": below(p, len(draws)),
        "words": len(draws),
        "p": p,
        "smallest_p": smallest_p(len(draws)),
    }


def below(p: float, draws: int) -> int:
    """How many of the null's draws lie below the observed value, told from its p; 0 where it has none."""
    return 0 if math.isnan(p) else round((1 - p) * (1 + draws))


def excess_of(
    values: Float[Tensor, "draw word"], own: int, null: Int[Tensor, " null"]
) -> Float[Tensor, " draw"]:
    """The word's value less the median over the null words, draw by draw."""
    if not len(null):
        return torch.full((len(values),), math.nan)
    # Not `nanmedian`, which takes the lower of two in the middle.
    return values[:, own] - values[:, null].nanquantile(0.5, dim=-1)


def pooled_ranks(
    values: Sequence[Float[Tensor, " word"]], own: int, null: Int[Tensor, " null"]
) -> Float[Tensor, " word"]:
    """The mean over dictionaries of each word's value, the dictionary's median taken out first.

    The median is over all of these words, so that the words stay exchangeable and one whose value is
    undefined in a dictionary is compared on the others.

    Args:
        values: Of each dictionary, each word's value.
        own: The word that is tested.
        null: The words it is compared with.

    Returns:
        The word itself first, then the null words.
    """
    rows = torch.cat([torch.tensor([own]), null])
    centred = [one[rows] - one[rows].nanmedian() for one in values]
    return torch.stack(centred).nanmean(0)


def trend(values: Float[Tensor, " word"], frequency: Float[Tensor, " word"]) -> float:
    """Spearman's correlation of null words' values with their frequency; NaN for fewer than three."""
    known = ~(values.isnan() | frequency.isnan())
    if (
        int(known.sum()) < 3
        or len(values[known].unique()) == 1
        or len(frequency[known].unique()) == 1
    ):
        return math.nan
    return float(spearmanr(values[known].numpy(), frequency[known].numpy()).statistic)


def decide(table: pd.DataFrame) -> pd.DataFrame:
    """The table with `adjusted`, its p's adjusted for being many, and `decision`.

    A test that could not have rejected is not among the many: its `adjusted` is NaN.
    """
    adjusted = benjamini_hochberg(table["p"].where(table["smallest_p"] <= LEVEL))
    return table.assign(
        adjusted=adjusted,
        decision=[
            decision(p, smallest) for p, smallest in zip(adjusted, table["smallest_p"], strict=True)
        ],
    )


_SAID = {
    "cosine": ("point alike", "mean cosine of their decoder directions"),
    "correlation": ("fire alike", "mean correlation over background text"),
    "contributions": ("contribute alike", "mean cosine of their contributions"),
}


def verdict(row: Mapping[str, Any], where: str) -> str:
    """One test in words that can be checked against its row.

    Args:
        row: Of a table that `decide` has seen: `concept`, `language`, `measure`, `top` (how many latents
            make a group), and what `compared` gives, with `low` and `high`.
        where: What the latents are of: "layer 3", "the residual stream".

    Raises:
        InputError: No such measure.
    """
    if row["measure"] not in _SAID:
        raise InputError(f"{row['measure']!r} is no measure; there are {', '.join(MEASURES)}.")
    verb, what = _SAID[row["measure"]]
    group = f"the {row['top']} strongest latents of {row['concept']} ({row['language']}) in {where}"
    if not row["words"]:
        return f"Cannot decide whether {group} {verb}: there are no matched words to compare with."
    if math.isnan(row["p"]):
        return (
            f"Cannot decide whether {group} {verb}: the measure is undefined for them, as it is for "
            "latents that never fire on the background."
        )
    numbers = (
        f"{what} {row['observed']:.2f} (95 % over texts: {row['low']:.2f} to {row['high']:.2f}), median "
        f"of other words {row['null_median']:.2f}, above {row['below']} of {row['words']} of them; "
        f"p = {row['p']:.3f}, smallest possible {row['smallest_p']:.3f}"
    )
    if row["decision"] == "cannot decide":
        return f"Cannot decide whether {group} {verb} beyond those of other words: {numbers}."
    shown = "" if row["decision"] == "shown" else "not "
    return (
        f"{group[0].upper()}{group[1:]} are {shown}shown to {verb} beyond those of other words: "
        f"{numbers}, adjusted {row['adjusted']:.3f}."
    )


def counts(table: pd.DataFrame, level: float = LEVEL) -> list[str]:
    """How many tests there are and how often each null is exceeded, in words.

    Args:
        table: A row per dictionary, concept and measure, with the weaker null's `random_p`.
        level: Of each test by itself.
    """
    made = table[table["p"].notna()]
    if made.empty:
        return ["Nothing could be tested: there are no matched words, or no measure is defined."]
    if made["adjusted"].isna().all():
        return [
            f"None of {len(table)} tests can decide: with at most {made['words'].max()} matched words p is "
            f"at least {made['smallest_p'].min():.3f}."
        ]
    shown = int((made["decision"] == "shown").sum())
    said = [
        f"Of {len(table)} tests, one per dictionary, concept and measure, {shown} "
        f"{'is' if shown == 1 else 'are'} shown once adjusted for being many (smallest adjusted p "
        f"{made['adjusted'].min():.3f}), and {len(table) - len(made)} could not be made."
    ]
    rates = "; ".join(
        f"{measure} {(part['p'] <= level).mean():.0%} and {(part['random_p'] <= level).mean():.0%}"
        for measure, part in made.groupby("measure", sort=False)
    )
    said.append(
        f"Share of tests with p at most {level:g} before adjusting, against other words and against "
        f"random latents with the same firing rates: {rates}. By chance it is {level:.0%}; what the "
        "second has more than the first is what choosing latents at one word brings."
    )
    return said
