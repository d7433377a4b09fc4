"""Registered scorers by name, their raw and mapped values, and one number of all of them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from tl_ext.errors import InputError, nearest
from tl_ext.plugins import ScorerSpec, build_manager, resolve
from tl_ext.steering.generations import Generations


def scorers_named(names: Sequence[str]) -> list[ScorerSpec]:
    """Registered scorers, ours and those of plugins, in the order given.

    Raises:
        InputError: A name no plugin brings.
    """
    known = build_manager().scorers()
    for name in names:
        if name not in known:
            raise InputError(f"There is no scorer {name!r}.{nearest(name, known)}")
    return [known[name] for name in dict.fromkeys(names)]


def scored(
    generations: Generations, specs: Sequence[ScorerSpec], offered: Mapping[str, Any]
) -> pd.DataFrame:
    """Raw and mapped scores.

    Args:
        generations: What to score.
        specs: The scorers.
        offered: Options by name; a scorer gets those it has a parameter for.

    Returns:
        A row per generation; for each scorer a column of its name and `<name>_unit`, in [0, 1] with 1
        best.

    Raises:
        InputError: A scorer gives another number of rows, or maps a score outside [0, 1].
    """
    columns: dict[str, Any] = {}
    for spec in specs:
        score = resolve(spec.score)
        wanted = inspect.signature(score).parameters
        raw = score(
            generations, **{name: value for name, value in offered.items() if name in wanted}
        )
        if len(raw) != len(generations):
            raise InputError(
                f"The scorer {spec.name!r} gives {len(raw)} numbers for {len(generations)} "
                "generations; one each is expected."
            )
        mapped = raw if spec.map_to_unit is None else resolve(spec.map_to_unit)(raw)
        outside = (mapped < 0) | (mapped > 1)
        if outside.any():
            raise InputError(
                f"The scorer {spec.name!r} maps {raw[outside].iloc[0]:g} to "
                f"{mapped[outside].iloc[0]:g}; a number from 0 to 1 is expected."
            )
        columns[spec.name] = raw.to_numpy(float)
        columns[f"{spec.name}_unit"] = mapped.to_numpy(float)
    return pd.DataFrame(columns, index=range(len(generations)))


def harmonic_mean(mapped: pd.DataFrame) -> pd.Series[float]:
    """The harmonic mean of each row, which the worst score governs.

    0 where any score is 0, whatever the others; else NaN where any is undefined, for a text that
    leaves nothing to score is neither good nor bad by it.

    Args:
        mapped: Scores in [0, 1], a column each.
    """
    values = mapped.to_numpy(float)
    if not values.shape[1]:
        return pd.Series(np.nan, index=mapped.index, name="harmonic")
    with np.errstate(divide="ignore", over="ignore"):
        found = values.shape[1] / (1 / values).sum(-1)
    # Rounding must not carry it out of the range of what it is a mean of.
    found = np.clip(found, values.min(-1), values.max(-1))
    found[(values == 0).any(-1)] = 0.0
    return pd.Series(found, index=mapped.index, name="harmonic")
