"""Tables of a steering sweep with effects that are known, and null draws for the tests on them.

Every vector has a slope; what it does to the log-odds on a prompt is the slope times the strength,
saturating, times what the prompt makes of it, plus noise. Random vectors' slopes are drawn from one
distribution; under the null so are those of the vector that is judged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from tl_ext.analysis.dose import split_prompts
from tl_ext.analysis.steering import Judged, raise_p, verdicts
from tl_ext.analysis.transfer import transfer

STRENGTHS = (1.0, 2.0, 4.0)
PROMPTS = 16
RANDOM = 39
NULL_RANDOM = 19  # enough to reach 0.05, and quick
SPLIT = split_prompts(range(PROMPTS), seed=0)
HAPPY = Judged("happy", baseline="means", opposite="sad")


@dataclass(frozen=True)
class Planted:
    """A vector whose effect is known.

    Attributes:
        role: What it is there for.
        slope: Nats at strength 1 per language, before saturation.
        even: Nats at strength 1 that do not depend on its sign: what any push does.
        of: The vector it stands beside; a tried one's own name by itself.
    """

    role: str
    slope: Mapping[str, float]
    even: float = 0.0
    of: str = ""


def sweep(
    planted: Mapping[str, Planted],
    *,
    seed: int = 0,
    languages: tuple[str, ...] = ("en",),
    random: int = RANDOM,
    random_slope: float = 0.2,
    noise: float = 0.3,
    samples: int = 1,
) -> pd.DataFrame:
    """The rows of a sweep over planted vectors and random ones of the same length."""
    generator = np.random.default_rng(seed)
    every = dict(planted) | {
        f"random {one}": Planted(
            "random",
            dict(zip(languages, generator.normal(0, random_slope, len(languages)), strict=True)),
            of=next(iter(planted)),
        )
        for one in range(random)
    }
    parts = []
    for language in languages:
        base = generator.normal(0, 1, (1, 1, PROMPTS, 1))
        slope = np.array([one.slope.get(language, 0.0) for one in every.values()])
        even = np.array([one.even for one in every.values()])
        strength = np.array(STRENGTHS)
        # It saturates, and beyond strength 2 it falls again: the best strength is 2.
        dose = np.minimum(strength, 2.5 - strength / 4)
        mean = np.multiply.outer(slope + even, dose)[..., None, None]
        of_prompt = 1 + 0.3 * generator.normal(size=(len(every), 1, PROMPTS, 1))
        drawn = noise * generator.normal(size=(len(every), len(strength), PROMPTS, samples))
        steered = base + mean * of_prompt + drawn
        plain = base + noise * generator.normal(size=(1, 1, PROMPTS, samples))
        names = list(every)
        parts += [
            _long(steered, names, [every[name] for name in names], strength, language),
            _long(plain, ["unsteered"], [Planted("unsteered", {})], np.zeros(1), language),
        ]
    rows = pd.concat(parts, ignore_index=True)
    # What strengths are chosen by: the words' share, less what a push costs elsewhere.
    return rows.assign(balance=1 / (1 + np.exp(-rows["odds"])) - 0.01 * rows["strength"])


def _long(
    values: np.ndarray,
    names: list[str],
    planted: list[Planted],
    strength: np.ndarray,
    language: str,
) -> pd.DataFrame:
    """Values `[vector strength prompt sample]` as rows."""
    vector, at, prompt, sample = (one.ravel() for one in np.indices(values.shape))
    return pd.DataFrame(
        {
            "vector": np.array(names, dtype=object)[vector],
            "role": np.array([one.role for one in planted], dtype=object)[vector],
            "of": np.array(
                [_of(name, one) for name, one in zip(names, planted, strict=True)], dtype=object
            )[vector],
            "strength": strength[at],
            "unit": "a unit",
            "length": 3.0 * strength[at],
            "language": language,
            "prompt_index": prompt,
            "prompt": "",
            "sample": sample,
            "text": "",
            "odds": values.ravel(),
        }
    )


def _of(name: str, planted: Planted) -> str:
    return name if planted.role == "tried" else planted.of


def one_vector(
    slope: float, *, even: float = 0.0, baseline: float = 0.1, opposite: float = -0.5
) -> dict[str, Planted]:
    """A vector, its reverse, a difference of means and the opposite concept's vector."""
    return {
        "happy": Planted("tried", {"en": slope}, even),
        "happy, reversed": Planted("reversed", {"en": -slope}, even, of="happy"),
        "means": Planted("baseline", {"en": baseline}, of="happy"),
        "sad": Planted("baseline", {"en": opposite}, of="happy"),
    }


def judged(rows: pd.DataFrame) -> pd.Series:
    """The verdict on the one vector."""
    return verdicts(rows, SPLIT, [HAPPY], by="balance").iloc[0]


def _random_slope(seed: int) -> float:
    return float(np.random.default_rng([seed, 1]).normal(0, 0.2))


def random_direction(seed: int) -> float:
    """The vector is one more random direction: its strength is chosen, and so is theirs."""
    rows = sweep(one_vector(_random_slope(seed)), seed=seed, random=NULL_RANDOM)
    return float(judged(rows)["p_random"])


def reverse_acts_alike(seed: int) -> float:
    """A push that raises the words far beyond random vectors, whatever its sign."""
    rows = sweep(one_vector(0.0, even=1.5), seed=seed, random=NULL_RANDOM)
    return float(judged(rows)["p"])


def own_effect(seed: int) -> float:
    """The change on the reporting prompts of a vector without effect, its strength chosen."""
    return float(judged(sweep(one_vector(0.0), seed=seed, random=0))["p_effect"])


def transfers_fully(seed: int) -> float:
    """A vector that does in another language what that language's own does."""
    return float(transferred(seed, ratio=1.0)["p"])


def verdict_on(seed: int, slope: float, *, even: float = 0.0) -> str:
    """The verdict on a vector of this slope beside 39 random ones, whose slopes spread by 0.2."""
    return str(judged(sweep(one_vector(slope, even=even), seed=seed))["verdict"])


def chosen_where_reported(seed: int) -> float:
    """Naive: the strength with the largest change, and that change on the same prompts."""
    generator = np.random.default_rng(seed)
    changes = generator.normal(size=(len(STRENGTHS), PROMPTS))
    return raise_p(changes[changes.mean(axis=1).argmax()])


def random_at_the_chosen_strength(seed: int) -> float:
    """Naive: the vector at its best strength, random vectors at the strength that was best for it."""
    from tl_ext.analysis.nulls import rank_p

    generator = np.random.default_rng(seed)
    # Effects of vectors by strength, as far as prompts agree on them.
    effects = generator.normal(size=(RANDOM + 1, len(STRENGTHS)))
    best = int(effects[0].argmax())
    return rank_p(float(effects[0, best]), effects[1:, best])


def transferred(seed: int, *, ratio: float, own: float = 1.5) -> pd.Series:
    """In French, an English vector that does `ratio` of what the French one does."""
    planted = {
        "happy (en)": Planted("tried", {"fr": own * ratio}),
        "happy (fr)": Planted("tried", {"fr": own}),
    }
    rows = sweep(planted, seed=seed, languages=("fr",), random=0)
    return transfer(rows, SPLIT, [{"happy (en)": "en", "happy (fr)": "fr"}], by="balance").iloc[0]
