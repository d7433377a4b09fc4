"""What a sweep tries: each vector at each strength, and beside it the controls that judge it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tl_ext.errors import InputError
from tl_ext.steering.vectors import SteeringVector

TRIED, REVERSED, RANDOM, BASELINE = "tried", "reversed", "random", "baseline"
UNSTEERED = "unsteered"


@dataclass(frozen=True)
class Trial:
    """A vector at a strength, and what it is there for.

    Attributes:
        vector: The vector; controls have the length of the vector they stand beside.
        strength: How many units.
        role: "tried", "reversed", "random" or "baseline".
        of: The name of the tried vector it stands beside; a tried vector's own.
        written: Whether texts are generated under it, or only the cheap measures taken.
    """

    vector: SteeringVector
    strength: float
    role: str
    of: str
    written: bool = True


def trials(
    vectors: Sequence[SteeringVector],
    strengths: Sequence[float],
    *,
    random: int,
    random_written: int,
    baselines: Sequence[SteeringVector],
    seed: int,
) -> list[Trial]:
    """Each vector with its controls, at each strength.

    Args:
        vectors: The vectors tried, each of a name of its own.
        strengths: In units of each vector; 0 is left out, for the unsteered model is always there.
        random: Random directions beside each vector.
        random_written: Of how many of them at most texts are generated.
        baselines: Other vectors to compare with, brought to the unit of each tried one.
        seed: Of the random directions.

    Raises:
        InputError: No vectors, two of one name, no strengths besides 0, or numbers out of range.
    """
    vectors, baselines = list(vectors), list(baselines)
    names = [vector.name for vector in (*vectors, *baselines)]
    if not vectors:
        raise InputError("There are no vectors to try: an empty list was given.")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(
            f"Several vectors are named {', '.join(map(repr, twice))}; give each a name of its own, as "
            "dataclasses.replace(vector, name=...)."
        )
    bad = [strength for strength in strengths if not math.isfinite(strength)]
    pushes = list(dict.fromkeys(float(strength) for strength in strengths if strength))
    if bad or not pushes:
        raise InputError(f"strengths is {list(strengths)}; finite numbers besides 0 are expected.")
    if random < 0 or random_written < 0:
        raise InputError(
            f"random is {random} and random_written {random_written}; 0 or more are expected."
        )
    found = []
    for vector in vectors:
        beside = [(vector, TRIED, True), (vector.reversed(), REVERSED, True)]
        beside += [
            (vector.random_like(seed + number), RANDOM, number < random_written)
            for number in range(random)
        ]
        beside += [
            (baseline.in_unit(vector.unit, vector.unit_name), BASELINE, True)
            for baseline in baselines
        ]
        found += [
            Trial(one, strength, role, vector.name, written)
            for one, role, written in beside
            for strength in pushes
        ]
    return found
