"""Whether a steering vector made in one language acts in another as that language's own does."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from tl_ext.analysis.dose import Split, Values, Vector
from tl_ext.analysis.intervals import Interval, fieller, mean_interval
from tl_ext.analysis.nulls import LEVEL, benjamini_hochberg
from tl_ext.analysis.steering import SAME_LENGTH, Chosen, compared, mean_p
from tl_ext.errors import InputError


def transfer(
    rows: pd.DataFrame,
    split: Split,
    sets: Sequence[Mapping[str, str]],
    *,
    measure: str = "odds",
    by: str = "harmonic",
) -> pd.DataFrame:
    """The effect in each language of a vector made in another, and of the vector made in it.

    Both at one strength, the one with the largest mean score of the two on the choosing prompts: were
    each taken at its own, two equal vectors would differ by the luck of the choice. Effects and their
    difference are paired over the reporting prompts.

    Args:
        rows: Of a sweep, see [`dose_response`][tl_ext.analysis.dose.dose_response].
        split: Prompts to choose strengths on, and others to report on.
        sets: Of vectors that are compared with one another, by vector the language it was made in;
            one vector a language.
        measure: The column compared, in nats.
        by: The column strengths are chosen by.

    Returns:
        A row per language and vector made elsewhere: `language`, `vector`, `made_in`, `own` (the vector
        made in the language); for each of `transferred`, `own_effect` and `difference` (the first less
        the second) the mean, `_low` and `_high` (95 %, Student's t); `strength`; `p` (paired two-sided
        t of the difference) and `adjusted` (Benjamini-Hochberg, over all sets); `ratio`, `ratio_low`,
        `ratio_high` (Fieller) where the own effect lies above 0, else empty and `no_ratio` says why;
        `sentence`.

    Raises:
        InputError: Two vectors of one language, or of other lengths at the same strengths; a missing
            column, or a side without prompts.

    Source: Fieller 1954 for the ratio's interval.
    """
    sweep = Chosen.of(rows, split, measure=measure, by=by)
    found = [row for made_in in sets for row in _rows(sweep, made_in)]
    adjusted = benjamini_hochberg([row["p"] for row in found])
    for row, value in zip(found, adjusted.tolist(), strict=True):
        row["adjusted"] = value
        row["sentence"] = _sentence(row)
    return pd.DataFrame(found)


def _rows(sweep: Chosen, made_in: Mapping[str, str]) -> list[dict[str, Any]]:
    own = {language: vector for vector, language in made_in.items()}
    if len(own) < len(made_in):
        raise InputError(
            f"{len(made_in)} vectors were made in {len(own)} languages; one vector a language is "
            "expected. Give vectors of another kind as a set of their own."
        )
    return [
        _row(sweep, there, made_in[vector], here)
        for language in sweep.conditions.languages
        if language in own and (here := sweep.find(language, own[language]))
        for vector in made_in
        if made_in[vector] != language and (there := sweep.find(language, vector))
    ]


def _row(sweep: Chosen, vector: Vector, made_in: str, own: Vector) -> dict[str, Any]:
    strength = _together(sweep, vector, own)
    there, here = (sweep.values(one, strength) for one in (vector, own))
    both = ~(np.isnan(there) | np.isnan(here))
    there, here = there[both], here[both]
    parts = {"transferred": there, "own_effect": here, "difference": there - here}
    row: dict[str, Any] = {
        "language": vector[0],
        "vector": vector[1],
        "made_in": made_in,
        "own": own[1],
        "strength": math.nan if strength is None else strength,
        "prompts": int(both.sum()),
    }
    for name, values in parts.items():
        mean, (low, high) = mean_interval(values)
        row |= {name: mean, f"{name}_low": low, f"{name}_high": high}
    return row | {"p": mean_p(there - here)} | _ratio(there, here)


def _together(sweep: Chosen, vector: Vector, own: Vector) -> float | None:
    """The strength that is best for two vectors together, among those both have at equal length."""
    place, scores = sweep.conditions.place, sweep.scores
    there, here = sweep.lengths(vector), sweep.lengths(own)
    both = [strength for strength in there if strength in here]
    alike = [one for one in both if abs(there[one] / here[one] - 1) < SAME_LENGTH]
    if both and not alike:
        raise InputError(
            f"{vector[1]!r} and {own[1]!r} have other lengths at the same strength "
            f"({there[both[0]]:.4g} and {here[both[0]]:.4g} at {both[0]:g}), so a difference would say "
            "nothing of their directions. Give them one unit before the sweep: vector.in_unit(...)."
        )
    joint = {
        strength: scores[place[(*vector, strength)]] + scores[place[(*own, strength)]]
        for strength in alike
    }
    known = {strength: score for strength, score in joint.items() if not math.isnan(score)}
    return max(known, key=lambda strength: (known[strength], -strength)) if known else None


def _ratio(there: Values, here: Values) -> dict[str, object]:
    """The ratio with its interval, or why there is none."""
    mean, interval = mean_interval(here)
    bounds = fieller(there, here) if len(here) > 1 else None
    if bounds is None or mean < 0:
        why = (
            "the own vector lowers the words"
            if bounds is not None
            else "the own effect's interval holds 0"
            if not math.isnan(interval.low)
            else "fewer than two prompts"
        )
        return {"ratio": math.nan, "ratio_low": math.nan, "ratio_high": math.nan, "no_ratio": why}
    return {
        "ratio": float(there.mean() / mean),
        "ratio_low": bounds.low,
        "ratio_high": bounds.high,
        "no_ratio": "",
    }


def _sentence(row: Mapping[str, Any]) -> str:
    difference = Interval(row["difference_low"], row["difference_high"])
    if math.isnan(row["adjusted"]):
        told = "cannot decide, for too few prompts, whether more or less than"
    elif row["adjusted"] <= LEVEL and difference.excludes():
        told = "more than" if compared(difference) == "better" else "less than"
    else:
        told = "no difference shown from"
    ratio = (
        f"the ratio is {row['ratio']:.2f} (95 %, Fieller: {row['ratio_low']:.2f} to "
        f"{row['ratio_high']:.2f})"
        if not row["no_ratio"]
        else f"no ratio is given: {row['no_ratio']}"
    )
    return (
        f"In {row['language']!r} at strength {row['strength']:g}, {row['vector']} (made in "
        f"{row['made_in']!r}) changes the words by {_nats(row, 'transferred')}, {row['own']} (made in "
        f"{row['language']!r}) by {_nats(row, 'own_effect')}: {told} its own, "
        f"{_nats(row, 'difference')}, adjusted p {row['adjusted']:.2g}; {ratio}."
    )


def _nats(row: Mapping[str, Any], name: str) -> str:
    return f"{row[name]:+.2f} nats (95 %: {row[f'{name}_low']:+.2f} to {row[f'{name}_high']:+.2f})"
