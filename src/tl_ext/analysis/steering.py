"""Whether a steering vector did more than its controls, and what may be said of it.

To be said to raise a concept's words, a vector does so at a strength chosen on other prompts, beyond
random vectors of equal length, and beyond its own reverse, which must not raise them too: any hard
push can make a model say what it would not have said, whatever its direction.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import stdtr

from tl_ext.analysis.dose import (
    RANDOM,
    REVERSED,
    Conditions,
    Split,
    Values,
    Vector,
    best_strengths,
    mean_score,
)
from tl_ext.analysis.intervals import Interval, mean_interval
from tl_ext.analysis.nulls import LEVEL, benjamini_hochberg, rank_p, smallest_p
from tl_ext.analysis.steering_words import sentence

SAME_LENGTH = 1e-3
"""By what share lengths that count as equal may differ."""

_TINY = float(np.finfo(float).tiny)  # a p is never 0


@dataclass(frozen=True, eq=False)
class Chosen:
    """A sweep with the strengths chosen on some prompts and effects on the others.

    Attributes:
        conditions: The sweep.
        strengths: The chosen strength of each vector.
        scores: What strengths were chosen by, the mean over the choosing prompts `[condition]`.
        effects: The change on each reporting prompt `[condition prompt]`.
    """

    conditions: Conditions
    strengths: Mapping[Vector, float]
    scores: Values
    effects: Values

    @classmethod
    def of(cls, rows: pd.DataFrame, split: Split, *, measure: str, by: str) -> Chosen:
        """Choose on one side of the split, and measure on the other.

        Raises:
            InputError: A column is missing, or a side has no prompt in the table.
        """
        conditions = Conditions.of(rows)
        scores = mean_score(conditions, split.choosing, by)
        return cls(
            conditions=conditions,
            strengths=best_strengths(conditions, scores),
            scores=scores,
            effects=conditions.changes(measure)[:, conditions.columns(split.reporting)],
        )

    def values(self, vector: Vector, strength: float | None) -> Values:
        """The change on each reporting prompt; NaN for a condition that was not tried."""
        place = None if strength is None else self.conditions.place.get((*vector, strength))
        if place is None:
            return np.full(self.effects.shape[1], math.nan)
        found: Values = self.effects[place]
        return found

    def at_best(self, vector: Vector) -> Values:
        """The change on each reporting prompt at the chosen strength."""
        return self.values(vector, self.strengths.get(vector))

    def find(self, language: str, name: str) -> Vector | None:
        """The vector of a name: as it was tried itself, else beside the first it stands beside."""
        found = [one for one in self.strengths if one[:2] == (language, name)]
        return (
            (language, name, name) if (language, name, name) in found else next(iter(found), None)
        )

    def lengths(self, vector: Vector) -> dict[float, float]:
        """The length of a vector at each of its strengths."""
        length = self.conditions.said["length"].to_numpy()
        return {
            strength: float(length[place])
            for (*its, strength), place in self.conditions.place.items()
            if tuple(its) == vector and strength
        }


@dataclass(frozen=True)
class Judged:
    """A vector to judge, and what it is compared with besides its reverse and random vectors.

    Attributes:
        vector: Its name, as a tried one.
        baseline: The name of a difference of means tried beside it.
        opposite: The name of the opposite concept's vector tried beside it.
    """

    vector: str
    baseline: str | None = None
    opposite: str | None = None


@dataclass(frozen=True)
class RandomVectors:
    """A vector among random ones of equal length, the choice of strength repeated for each.

    Attributes:
        count: How many random vectors.
        as_high: How many of them have at least the vector's mean change.
        strength: The vector's strength here: chosen among those that random vectors have.
        p: Rank p-value; NaN where there are none.
    """

    count: int
    as_high: int
    strength: float
    p: float


def against_random(sweep: Chosen, vector: Vector) -> RandomVectors:
    """How many random vectors raise the words as much, each at the strength chosen for it.

    A vector shown at its best strength must not be compared with others at a strength that was best
    for it. So each random vector has its strength chosen on the choosing prompts by the same rule,
    among the strengths that they and the vector have at equal length.
    """
    own = sweep.lengths(vector)
    drawn = _beside(sweep, vector, RANDOM)
    names, lengths = drawn["vector"].to_numpy(), drawn["length"].to_numpy(dtype=float)
    matched: dict[float, dict[str, int]] = {}
    for strength, length in own.items():
        near = np.abs(lengths / length - 1) < SAME_LENGTH
        if near.any():
            matched[strength] = dict(zip(names[near], drawn.index[near], strict=True))
    pool = sorted(set.intersection(*map(set, matched.values()))) if matched else []
    if len(matched) > 1:
        # One without a score at any strength was not scored, which says nothing of what it does.
        pool = [
            name
            for name in pool
            if not all(math.isnan(sweep.scores[part[name]]) for part in matched.values())
        ]
    if not pool:
        return RandomVectors(0, 0, math.nan, math.nan)
    rows = [[part[name] for part in matched.values()] for name in pool]
    mine = [[sweep.conditions.place[(*vector, strength)] for strength in matched]]
    null, _ = _at_best(sweep, rows)
    observed, best = _at_best(sweep, mine)
    return RandomVectors(
        count=len(pool),
        as_high=int((~(null < observed[0])).sum()),
        strength=list(matched)[best[0]],
        p=rank_p(float(observed[0]), null),
    )


def _at_best(sweep: Chosen, rows: list[list[int]]) -> tuple[Values, NDArray[np.int64]]:
    """Mean effects of conditions `[vector strength]` at each vector's best strength, and which it is.

    NaN where strengths have to be chosen among and no score is known.
    """
    effects, scores = sweep.effects.mean(axis=1)[rows], sweep.scores[rows]
    if effects.shape[1] == 1:
        return effects[:, 0], np.zeros(len(rows), dtype=np.int64)
    best = np.where(np.isnan(scores), -math.inf, scores).argmax(axis=1)
    found = effects[np.arange(len(rows)), best]
    return np.where(np.isnan(scores).any(axis=1), math.nan, found), best


def raise_p(values: Values) -> float:
    """The two-sided p of Student's t that the mean of paired values is not 0, if it is above 0.

    Returns:
        1 where the mean is not above 0; NaN for fewer than two values.
    """
    known = values[~np.isnan(values)]
    if len(known) < 2:
        return math.nan
    if known.mean() <= 0:
        return 1.0
    return mean_p(known)


def mean_p(values: Values) -> float:
    """The two-sided p of Student's t that the mean of paired values is not 0, in (0, 1].

    Returns:
        NaN for fewer than two values.
    """
    if len(values) < 2:
        return math.nan
    mean, error = float(values.mean()), float(values.std(ddof=1)) / math.sqrt(len(values))
    if not error:
        return 1.0 if not mean else _TINY
    return max(2 * float(stdtr(len(values) - 1, -abs(mean) / error)), _TINY)


def verdicts(
    rows: pd.DataFrame,
    split: Split,
    judged: Sequence[Judged],
    *,
    measure: str = "odds",
    by: str = "harmonic",
    words: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """What may be said of vectors, against all their controls, in each language.

    Three tests must hold together: the change is above 0 on the reporting prompts (Student's t over
    prompts), larger than that of random vectors of equal length (rank), and larger than that of the
    reversed vector (paired over prompts). Their largest p is the p of the claim, adjusted over all
    vectors and languages (Benjamini-Hochberg). The reverse must not raise the words either.

    Args:
        rows: Of a sweep, see [`dose_response`][tl_ext.analysis.dose.dose_response].
        split: Prompts to choose strengths on, and others to report on.
        judged: The vectors to judge, each with those it is compared with.
        measure: The column judged, in nats: "odds", or "concept" without opposite words.
        by: The column strengths are chosen by. Random vectors that lack it, as "harmonic" where no texts
            were generated under them, are not counted.
        words: By language, the words that are to rise, for the sentences.

    Returns:
        A row per language and judged vector: `strength`, `unit`, `length`, `choosing` and `prompts` (how
        many), `change`, `low`, `high` (95 %, Student's t over prompts); `random`, `random_as_high`,
        `random_strength`, see `against_random`; the same three numbers, as `_change`, `_low` and `_high`,
        of `reverse`, `over_reverse` (the vector less its reverse), `diffmean`, `over_diffmean` and
        `opposite`; `diffmean` and `opposite` (their names), `diffmean_strength`, `against_diffmean`;
        `p_effect`, `p_random`, `p_reverse`, `p` (their largest), `smallest`, `adjusted`, `reachable`,
        `tests`; `words`; `verdict` ("raises", "not shown", "not a direction" or "cannot decide"),
        `specific`, of what raises the words ("yes", "no", "not shown" or ""), and `sentence`.

    Raises:
        InputError: A column is missing, or a side of the split has no prompt in the table.
    """
    sweep = Chosen.of(rows, split, measure=measure, by=by)
    found = [
        _row(sweep, language, one, len(split.choosing))
        for language in sweep.conditions.languages
        for one in judged
        if (language, one.vector, one.vector) in sweep.strengths
    ]
    p = np.array([row["p"] for row in found], dtype=float)
    smallest = np.array([row["smallest"] for row in found], dtype=float)
    adjusted, reachable = benjamini_hochberg(p), _reachable(p, smallest)
    for place, row in enumerate(found):
        row["adjusted"], row["reachable"] = float(adjusted[place]), float(reachable[place])
        row["tests"] = int((~np.isnan(p)).sum())
        row["verdict"] = _verdict(row)
        if row["verdict"] != "raises":
            row["specific"] = ""
        row["words"] = (words or {}).get(row["language"], "the words")
        row["sentence"] = sentence(row)
    return pd.DataFrame(found)


def _row(sweep: Chosen, language: str, judged: Judged, choosing: int) -> dict[str, Any]:
    """One vector in one language beside its controls."""
    name = judged.vector
    vector = (language, name, name)
    strength = sweep.strengths[vector]
    place = sweep.conditions.place[(*vector, strength)]
    length = float(sweep.conditions.said["length"].iloc[place])
    own = sweep.at_best(vector)
    change, (low, high) = mean_interval(own)
    random = against_random(sweep, vector)
    back = _beside(sweep, vector, REVERSED)["vector"]
    reverse = sweep.values((language, next(iter(back), ""), name), strength)
    means = (language, judged.baseline or "", name)
    baseline = sweep.at_best(means)
    other = (language, judged.opposite or "", name)
    against = sweep.values(other, _as_long(sweep, other, length))
    parts = {
        "reverse": mean_interval(reverse),
        "over_reverse": mean_interval(own - reverse),
        "diffmean": mean_interval(baseline),
        "over_diffmean": mean_interval(own - baseline),
        "opposite": mean_interval(against),
    }
    p = (raise_p(own), random.p, raise_p(own - reverse))
    return {
        "language": language,
        "vector": name,
        "strength": strength,
        "unit": sweep.conditions.said["unit"].iloc[place],
        "length": length,
        "change": change,
        "low": low,
        "high": high,
        "choosing": choosing,
        "prompts": int((~np.isnan(own)).sum()),
        "random": random.count,
        "random_as_high": random.as_high,
        "random_strength": random.strength,
        **{
            name: value
            for part, (mean, interval) in parts.items()
            for name, value in (
                (f"{part}_change", mean),
                (f"{part}_low", interval.low),
                (f"{part}_high", interval.high),
            )
        },
        "diffmean": judged.baseline or "",
        "diffmean_strength": sweep.strengths.get(means, math.nan),
        "against_diffmean": compared(parts["over_diffmean"][1]),
        "opposite": judged.opposite or "",
        "specific": _specific(parts["opposite"], mean_interval(own - against)[1]),
        "p_effect": p[0],
        "p_random": p[1],
        "p_reverse": p[2],
        "p": max(p) if not any(map(math.isnan, p)) else math.nan,
        # With enough prompts Student's t reaches any p; ranks do not.
        "smallest": smallest_p(random.count) if random.count else 1.0,
    }


def _beside(sweep: Chosen, vector: Vector, role: str) -> pd.DataFrame:
    """The conditions of a role that stand beside a vector; the index is their row."""
    language, name, _ = vector
    said = sweep.conditions.said
    return said[(said["role"] == role) & (said["language"] == language) & (said["of"] == name)]


def _as_long(sweep: Chosen, vector: Vector, length: float) -> float | None:
    """The strength at which a vector has this length."""
    for strength, its in sweep.lengths(vector).items():
        if abs(its / length - 1) < SAME_LENGTH:
            return strength
    return None


def compared(interval: Interval) -> str:
    """What an interval of a paired difference says: better, worse, or no difference shown."""
    if math.isnan(interval.low):
        return ""
    if not interval.excludes():
        return "no difference shown"
    return "better" if interval.low > 0 else "worse"


def _specific(opposite: tuple[float, Interval], difference: Interval) -> str:
    """Whether the opposite concept's vector leaves the words alone where this one raises them."""
    change, interval = opposite
    if math.isnan(change):
        return ""
    if interval.low > 0:
        return "no"
    return "yes" if difference.low > 0 and change <= 0 else "not shown"


def _reachable(p: Values, smallest: Values) -> Values:
    """The adjusted p of each test, had it given its smallest p and the others what they gave."""
    found = np.full(len(p), math.nan)
    for place in np.flatnonzero(~np.isnan(p)):
        best = p.copy()
        best[place] = min(smallest[place], p[place])
        found[place] = benjamini_hochberg(best)[place]
    return found


def _verdict(row: Mapping[str, Any]) -> str:
    if row["low"] > 0 and row["reverse_low"] > 0:
        return "not a direction"
    if math.isnan(row["p"]) or row["reachable"] > LEVEL:
        return "cannot decide"
    held = row["low"] > 0 and row["over_reverse_low"] > 0 and row["reverse_change"] <= 0
    if not held:
        return "not shown"
    return "raises" if row["adjusted"] <= LEVEL else "not shown"
