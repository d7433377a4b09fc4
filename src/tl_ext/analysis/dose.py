"""How an effect grows with strength, and the strength chosen on some prompts and reported on others.

The tables are those of a steering sweep: a row per vector, strength, prompt and sample, and rows of
role "unsteered" to compare with. Prompts are the units of every interval here: the samples of a prompt
are averaged first, so that the chance of sampling is part of the spread over prompts. Side effects are
measured on neutral texts, and those are their units.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from tl_ext.analysis.intervals import mean_interval
from tl_ext.errors import InputError

TRIED, REVERSED, RANDOM, BASELINE, UNSTEERED = (
    "tried",
    "reversed",
    "random",
    "baseline",
    "unsteered",
)
"""What a vector of a sweep is there for."""

MEASURES = ("odds", "concept", "fluency", "diversity", "language_kept", "harmonic")
"""The measures of a row, each higher where it is better; `side_effect` has a table of its own."""

SIDE_EFFECT = "side_effect"

_KEYS = ["language", "vector", "of", "strength"]
_SAID = ["vector", "role", "of", "language", "strength", "unit", "length"]

Vector = tuple[str, str, str]
"""A vector in a sweep: language, its name, the vector it stands beside (a tried one's own name)."""
Values = NDArray[np.float64]
Key = tuple[str, str, str, float]
"""A condition: language, vector, the vector it stands beside, strength."""


@dataclass(frozen=True)
class Split:
    """Prompts to choose on, and others to report on.

    Attributes:
        choosing: Indices of the prompts a strength is chosen on.
        reporting: Indices of the prompts its effect is reported on.

    Raises:
        InputError: A side is empty, or a prompt stands on both: what is chosen because it did best on
            a prompt does better on that prompt than it will do anywhere else.
    """

    choosing: tuple[int, ...]
    reporting: tuple[int, ...]

    def __post_init__(self) -> None:
        both = sorted(set(self.choosing) & set(self.reporting))
        if both or not self.choosing or not self.reporting:
            raise InputError(
                f"{len(self.choosing)} prompts to choose on, {len(self.reporting)} to report on and "
                f"{len(both)} on both sides were given; some on either side and none on both are "
                "expected."
            )


def split_prompts(prompts: Iterable[int], *, seed: int = 0) -> Split:
    """Halve the prompts by chance, before anything is measured on them.

    Args:
        prompts: Their indices; of an odd number one more is reported on.
        seed: Of the split.

    Raises:
        InputError: Fewer than two prompts.
    """
    indices = sorted(set(prompts))
    drawn = np.random.default_rng(seed).permutation(indices).tolist()
    half = len(drawn) // 2
    return Split(tuple(sorted(drawn[:half])), tuple(sorted(drawn[half:])))


@dataclass(frozen=True, eq=False)
class Conditions:
    """The rows of a sweep by condition: language, vector, the vector it stands beside, strength.

    Attributes:
        rows: Of a sweep.
        keys: Each condition, in the order of the table.
        said: `vector`, `role`, `of`, `language`, `strength`, `unit` and `length`, a row per condition.
        prompts: The indices of all prompts.
    """

    rows: pd.DataFrame
    keys: tuple[Key, ...]
    said: pd.DataFrame
    prompts: tuple[int, ...]
    _cell: NDArray[np.int64]

    @classmethod
    def of(cls, rows: pd.DataFrame) -> Conditions:
        """Read a table.

        Raises:
            InputError: A column is missing.
        """
        _check(rows, [*_SAID, "prompt_index"])
        code = np.zeros(len(rows), dtype=np.int64)
        for column in _KEYS:
            part, names = pd.factorize(rows[column])
            code = code * len(names) + part
        code = pd.factorize(code)[0]
        said = rows.loc[~pd.Series(code).duplicated().to_numpy(), _SAID].reset_index(drop=True)
        prompts, column_of = np.unique(rows["prompt_index"].to_numpy(), return_inverse=True)
        return cls(
            rows=rows,
            keys=tuple(zip(*(said[column].tolist() for column in _KEYS), strict=True)),
            said=said,
            prompts=tuple(prompts.tolist()),
            _cell=code * len(prompts) + column_of,
        )

    @cached_property
    def place(self) -> dict[Key, int]:
        """The row of each condition."""
        return {key: row for row, key in enumerate(self.keys)}

    @cached_property
    def plain(self) -> dict[str, int]:
        """The row of each language's unsteered condition."""
        rows = np.flatnonzero((self.said["role"] == UNSTEERED).to_numpy())
        found = {self.keys[row][0]: int(row) for row in rows}
        lacking = [one for one in self.languages if one not in found]
        if lacking or len(found) < len(rows):
            raise InputError(
                f"One unsteered condition a language is expected to compare with; "
                f"{', '.join(lacking) or 'some languages'} have {'none' if lacking else 'several'}."
            )
        return found

    @cached_property
    def languages(self) -> tuple[str, ...]:
        """The languages, in the order of the table."""
        return tuple(dict.fromkeys(language for language, *_ in self.keys))

    @cached_property
    def steered(self) -> tuple[int, ...]:
        """The rows of conditions under a vector."""
        return tuple(np.flatnonzero((self.said["role"] != UNSTEERED).to_numpy()).tolist())

    def means(self, measure: str) -> Values:
        """A measure `[condition prompt]`, samples averaged; NaN where it was not taken.

        Raises:
            InputError: There is no such column.
        """
        _check(self.rows, [measure])
        values = self.rows[measure].to_numpy(dtype=float)
        known = ~np.isnan(values)
        size = len(self.keys) * len(self.prompts)
        count = np.bincount(self._cell[known], minlength=size)
        total = np.bincount(self._cell[known], values[known], minlength=size)
        found = np.full(size, math.nan)
        found[count > 0] = total[count > 0] / count[count > 0]
        return found.reshape(len(self.keys), len(self.prompts))

    def changes(self, measure: str) -> Values:
        """As `means`, less the same prompt unsteered.

        Raises:
            InputError: There is no such column, or a language has no unsteered rows.
        """
        values = self.means(measure)
        base = values[[self.plain[language] for language, *_ in self.keys]]
        changed: Values = values - base
        return changed

    def columns(self, prompts: Sequence[int]) -> list[int]:
        """The columns of prompts.

        Raises:
            InputError: None of them is in the table.
        """
        known = [place for place, one in enumerate(self.prompts) if one in set(prompts)]
        if not known:
            raise InputError(
                f"None of the prompts {list(prompts)} is in the table; it has {list(self.prompts)}."
            )
        return known


def dose_response(rows: pd.DataFrame, side_effects: pd.DataFrame) -> pd.DataFrame:
    """What each vector changes at each strength.

    Args:
        rows: Of a sweep: `vector`, `role`, `of`, `strength`, `unit`, `length`, `language`,
            `prompt_index`, `sample` and the measures.
        side_effects: Of a sweep: `vector`, `role`, `of`, `strength`, `text_index`, `kl` (nats), and
            `language` where the neutral texts are of one.

    Returns:
        A row per vector, strength, language and measure: these, `change` (mean over prompts against
        the unsteered model, in the measure's unit), `low`, `high` (95 % over prompts, Student's t) and
        `units` (how many prompts). The units of
        `side_effect`, the mean KL per token, are neutral texts; its language is "" where none is
        given. Measures nobody took are left out.

    Raises:
        InputError: A column is missing, or there are no unsteered rows.
    """
    conditions = Conditions.of(rows)
    _check(side_effects, ["vector", "of", "strength", "kl"])
    said = conditions.said.to_dict("records")
    found = []
    for measure in MEASURES:
        if measure in rows:
            values = conditions.changes(measure)
            found += [
                {**said[place], "measure": measure, **_mean(values[place])}
                for place in conditions.steered
                if not np.isnan(values[place]).all()
            ]
    keys = _KEYS if "language" in side_effects else _KEYS[1:]
    conditions_of = {tuple(one[key] for key in keys): one for one in said}
    language = {} if "language" in side_effects else {"language": ""}
    found += [
        {**conditions_of[key], **language, "measure": SIDE_EFFECT, **_mean(part["kl"])}
        for key, part in side_effects.groupby(keys, sort=False)
        if key in conditions_of and conditions_of[key]["role"] != UNSTEERED
    ]
    return pd.DataFrame(found, columns=[*_SAID, "measure", "change", "low", "high", "units"])


def choose_strength(
    rows: pd.DataFrame, prompts: Sequence[int], *, by: str = "harmonic"
) -> pd.DataFrame:
    """For each language and vector the strength that does best on the choosing prompts.

    Args:
        rows: Of a sweep.
        prompts: Indices of the prompts to choose on.
        by: The column whose mean over prompts is to be largest; of equal ones the smaller strength.

    Returns:
        A row per language, vector and what it stands beside (`of`) for which `by` is known:
        `strength`, that mean as `by`, and `edge`: "lowest" or "highest" of those tried, so that a
        better one may lie beyond, or "".

    Raises:
        InputError: A column is missing, or none of the prompts is in the table.
    """
    conditions = Conditions.of(rows)
    score = mean_score(conditions, prompts, by)
    tried: dict[Vector, list[float]] = {}
    for place in conditions.steered:
        *vector, strength = conditions.keys[place]
        if not math.isnan(score[place]):
            tried.setdefault(cast("Vector", tuple(vector)), []).append(strength)
    chosen = [
        (
            *mine,
            strength,
            float(score[conditions.place[(*mine, strength)]]),
            {max(tried[mine]): "highest", min(tried[mine]): "lowest"}.get(strength, ""),
        )
        for mine, strength in best_strengths(conditions, score).items()
    ]
    return pd.DataFrame(chosen, columns=[*_KEYS, "by", "edge"])


def best_strengths(conditions: Conditions, score: Values) -> dict[Vector, float]:
    """By language, vector and what it stands beside, the strength with the largest score.

    Of equal ones the smaller.
    """
    best: dict[Vector, tuple[float, float]] = {}
    for place in conditions.steered:
        *vector, strength = conditions.keys[place]
        if not math.isnan(score[place]):
            mine = cast("Vector", tuple(vector))
            best[mine] = max(best.get(mine, (-math.inf, 0.0)), (float(score[place]), -strength))
    return {mine: -negative for mine, (_, negative) in best.items()}


def mean_score(conditions: Conditions, prompts: Sequence[int], by: str) -> Values:
    """The mean over prompts of what strengths are chosen by, `[condition]`; NaN where one lacks.

    Raises:
        InputError: There is no such column, or none of the prompts is in the table.
    """
    found: Values = conditions.means(by)[:, conditions.columns(prompts)].mean(axis=1)
    return found


def report(
    rows: pd.DataFrame, choice: pd.DataFrame, prompts: Sequence[int], *, measure: str = "odds"
) -> pd.DataFrame:
    """What each vector does at its chosen strength on prompts that had no part in the choice.

    Args:
        rows: Of a sweep.
        choice: What `choose_strength` returned.
        prompts: Indices of the reporting prompts.
        measure: The column reported.

    Returns:
        The choice with `change` (mean over these prompts against the unsteered model), `low`, `high`
        (95 %, Student's t) and `units`.

    Raises:
        InputError: A column is missing, or none of the prompts is in the table.
    """
    conditions = Conditions.of(rows)
    values = conditions.changes(measure)[:, conditions.columns(prompts)]
    found = [
        _mean(values[conditions.place[key]])
        for key in choice[_KEYS].itertuples(index=False, name=None)
    ]
    columns = ["change", "low", "high", "units"]
    reported = pd.DataFrame(found, columns=columns)
    return pd.concat([choice.reset_index(drop=True), reported], axis=1)


def _mean(values: ArrayLike) -> dict[str, float | int]:
    column = np.asarray(values, dtype=float)
    mean, (low, high) = mean_interval(column)
    return {"change": mean, "low": low, "high": high, "units": int((~np.isnan(column)).sum())}


def _check(rows: pd.DataFrame, columns: Sequence[str]) -> None:
    missing = [one for one in columns if one not in rows]
    if missing:
        raise InputError(
            f"The table has no column {', '.join(missing)}; it has {', '.join(map(str, rows))}. A "
            "table of a steering sweep is expected."
        )
