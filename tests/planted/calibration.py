"""How often each test says "shown" where nothing is there to be shown.

A claim draws a world without effect from a seed and gives the p its test prints. Permutation
p-values are discrete, so what is held is P(p <= level) <= level: of 200 draws at 0.05 at most 17 may
reject, which a test that keeps its level exceeds about once in eighty times.

`python -m tests.planted.calibration --draws 2000` prints the table for many draws.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd
from scipy.stats import binom, binomtest
from tests.planted import effects, inference, languages, layers, matching, nulls, steering

DRAWS = 200


@dataclass(frozen=True)
class Claim:
    """A test, and worlds in which what it tests for is not there.

    Attributes:
        name: As the table calls it.
        draw: The p of one world, from a seed.
        level: What the test claims.
        naive: Whether it is a test, or a reading of one, that nobody should use, shown for what it does.
    """

    name: str
    draw: Callable[[int], float]
    level: float = 0.05
    naive: bool = False


# One line a test, room by room.
CLAIMS: tuple[Claim, ...] = (
    Claim("sign flip, 8 differences", inference.sign_flip_exact),
    Claim("sign flip, 40 differences", inference.sign_flip_drawn),
    Claim("rank among 39 draws", inference.rank_among_draws),
    Claim("Benjamini-Hochberg, any of 20", inference.any_of_many),
    Claim("counterparts by direction, chance", layers.reflected_directions),
    Claim("counterparts by direction, chance, a strong mean", layers.reflected_about_a_mean),
    Claim("counterparts by activation, chance", layers.moved_activations),
    Claim("counterparts, latents firing as often", layers.matched_latents),
    Claim("counterparts, latents firing as often, six pairs", layers.matched_over_pairs),
    Claim(
        "counterparts, other words (top-k at a random vector, random decoder)",
        layers.top_at_random_vectors,
    ),
    Claim("counterparts, other words, three concepts", layers.three_concepts),
    Claim("similarity over layer distance, 6 layers", layers.trend_absent),
    Claim("similarity over layer distance, 24 layers", layers.trend_absent_deep),
    Claim(
        "similarity over layer distance, 24 layers, cells permuted",
        layers.trend_by_cells,
        naive=True,
    ),
    Claim("first layer, 8 concepts", layers.first_alike),
    Claim(
        "first layer, 8 concepts, every layer unlike the others for all of them",
        layers.first_of_many_unlike,
        naive=True,
    ),
    Claim(
        "similarity, other words: directions (top-k at a random vector, random decoder)",
        nulls.chosen_alike_by_direction,
    ),
    Claim("similarity, other words: activations", nulls.chosen_alike_by_activation),
    Claim("similarity, other words: contributions", nulls.chosen_alike_by_contribution),
    Claim("similarity, other words: over 3 dictionaries", nulls.pooled_over_dictionaries),
    Claim(
        "similarity, random latents firing as often (a random group)", nulls.random_alike_in_rate
    ),
    Claim(
        "similarity, random latents (top-k at a random vector, random decoder)",
        nulls.chosen_against_random,
        naive=True,
    ),
    Claim("latent beyond control words", languages.beyond_controls),
    Claim("latent beyond background", languages.beyond_background),
    Claim("shared by two languages, any latent", languages.any_shared),
    Claim(
        "shared by two languages, any latent, unrelated words",
        languages.any_shared_of_two_words,
        naive=True,
    ),
    Claim("own words among others, 3 concepts (random decoder)", languages.own_words_are_others),
    Claim("own word among others, 1 concept (random decoder)", languages.own_word_is_another),
    Claim("kinds of hook points, equal shares", languages.kinds_alike),
    Claim("matching: share of mutual neighbours", matching.mutual_share),
    Claim("matching: mean nearest cosine", matching.mean_cosine),
    Claim("matching: share above chance's 99th percentile", matching.above_share),
    Claim(
        "matching: mean nearest cosine, Gaussian of the sample's covariance",
        matching.gaussian_of_sample_covariance,
        naive=True,
    ),
    Claim("steering: change at the chosen strength", steering.own_effect),
    Claim("steering: more than random vectors (a random direction)", steering.random_direction),
    Claim("steering: all controls (a push whose reverse acts alike)", steering.reverse_acts_alike),
    Claim("steering: transfer, no difference from its own", steering.transfers_fully),
    Claim(
        "steering: strength chosen where it is reported", steering.chosen_where_reported, naive=True
    ),
    Claim(
        "steering: random vectors at the strength best for another",
        steering.random_at_the_chosen_strength,
        naive=True,
    ),
    Claim("ablation, rank among relabelled sets", effects.relabelled),
    Claim("ablation, sign flip over texts", effects.sign_over_texts, naive=True),
    Claim("ablation, rank among matched sets", effects.rank_among_matched, naive=True),
)


@dataclass(frozen=True)
class Power:
    """How often a test says "shown" in worlds where what it tests for is there.

    Attributes:
        name: Of the claim.
        draw: The p of one such world, from a seed; its docstring says what is planted.
        least: The least share of worlds in which the test rejects.
        worlds: How many are drawn.
    """

    name: str
    draw: Callable[[int], float]
    least: float
    worlds: int = 40


# The tests whose power is not stated beside them, in their own modules.
POWERS: tuple[Power, ...] = (
    Power("sign flip, 8 differences", inference.differences_of_one_spread, 0.9),
    Power("sign flip, 40 differences", inference.differences_of_half_a_spread, 0.8),
    Power("rank among 39 draws", inference.beyond_its_draws, 0.9),
    Power("Benjamini-Hochberg, any of 20", inference.three_of_many, 0.8),
    Power("counterparts by direction, chance", layers.turned_directions, 0.9),
    Power("counterparts by direction, chance, a strong mean", layers.turned_about_a_mean, 0.8),
    Power("counterparts by activation, chance", layers.copied_activations, 0.95),
    Power("counterparts, latents firing as often", layers.better_than_matched, 0.85),
    Power("counterparts, latents firing as often, six pairs", layers.better_over_pairs, 0.9),
    Power(
        "counterparts, other words (top-k at a random vector, random decoder)",
        layers.carried_word,
        0.9,
        worlds=20,
    ),
    Power("counterparts, other words, three concepts", layers.three_carried_words, 0.8, worlds=7),
    Power("similarity over layer distance, 6 layers", layers.trend_planted, 0.95),
    Power("similarity over layer distance, 24 layers", layers.trend_planted_deep, 0.9),
    Power("first layer, 8 concepts", layers.first_unlike, 0.95),
    Power(
        "similarity, other words: directions (top-k at a random vector, random decoder)",
        nulls.planted_alike,
        0.95,
    ),
    Power("similarity, other words: activations", nulls.planted_alike_by_activation, 0.8),
    Power("similarity, other words: contributions", nulls.planted_alike_by_contribution, 0.95),
    Power("similarity, other words: over 3 dictionaries", nulls.planted_over_dictionaries, 0.95),
    Power(
        "similarity, random latents firing as often (a random group)", nulls.planted_together, 0.95
    ),
    Power("matching: share of mutual neighbours", matching.planted_mutual_share, 0.9, worlds=10),
    Power("matching: mean nearest cosine", matching.planted_mean_cosine, 0.9, worlds=10),
    Power(
        "matching: share above chance's 99th percentile",
        matching.planted_above_share,
        0.9,
        worlds=10,
    ),
)


def most_rejections(draws: int, level: float) -> int:
    """The most rejections that a test at its level gives, but for one time in fifty."""
    return int(binom.ppf(0.98, draws, level))


def observed(claim: Claim, draws: int) -> int:
    """In how many of the worlds the test rejects at its level."""
    return sum(claim.draw(seed) <= claim.level for seed in range(draws))


def table(draws: int, *, claims: tuple[Claim, ...] = CLAIMS) -> pd.DataFrame:
    """Claimed level against observed false positives, a row a test."""
    rows = []
    for claim in claims:
        start = time.perf_counter()
        rejections = observed(claim, draws)
        interval = binomtest(rejections, draws).proportion_ci(method="exact")
        rows.append(
            {
                "test": claim.name,
                "level": claim.level,
                "draws": draws,
                "rejections": rejections,
                "most_allowed": most_rejections(draws, claim.level),
                "rate": rejections / draws,
                "low": interval.low,
                "high": interval.high,
                "holds": rejections <= most_rejections(draws, claim.level),
                "naive": claim.naive,
                "seconds": round(time.perf_counter() - start, 1),
            }
        )
        print(f"{claim.name}: {rejections} of {draws}", file=sys.stderr, flush=True)
    return pd.DataFrame(rows)


def power_table(powers: Sequence[Power]) -> pd.DataFrame:
    """What is planted for each test, in what share of worlds it is found, and the share stated."""
    rows = [
        (one.name, (one.draw.__doc__ or "").split("\n")[0], one.worlds, found(one), one.least)
        for one in powers
    ]
    return pd.DataFrame(rows, columns=["test", "planted", "worlds", "found", "stated"])


def found(power: Power) -> float:
    """In which share of the worlds the test rejects at 0.05."""
    return sum(power.draw(seed) <= 0.05 for seed in range(power.worlds)) / power.worlds


def main() -> int:
    """Print the table; fail where a test does not hold its level."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=2000, help="worlds a test (default 2000)")
    parser.add_argument("--power", action="store_true", help="what is found where it is there")
    parser.add_argument("--only", default="", help="tests whose name holds this")
    options = parser.parse_args()
    if options.power:
        powers = [one for one in POWERS if options.only in one.name]
        print(power_table(powers).to_string(index=False, float_format=lambda value: f"{value:.2f}"))
        return 0
    claims = tuple(one for one in CLAIMS if options.only in one.name)
    told = table(options.draws, claims=claims)
    print(told.to_string(index=False, float_format=lambda value: f"{value:.3f}"))
    return int(not (told["holds"] | told["naive"]).all())


if __name__ == "__main__":
    sys.exit(main())
