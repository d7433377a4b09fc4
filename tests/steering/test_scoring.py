"""Scores by name, and the harmonic mean."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.tiny import tiny_model

from tl_ext.errors import InputError
from tl_ext.plugins import ScorerSpec
from tl_ext.steering.generation import steer
from tl_ext.steering.scoring import harmonic_mean, scored

UNIT = st.floats(0, 1, allow_nan=False)


@given(st.lists(UNIT, min_size=1, max_size=6))
def test_the_harmonic_mean_lies_between_the_worst_and_the_best(values: list[float]) -> None:
    found = float(harmonic_mean(pd.DataFrame([values])).iloc[0])
    if min(values) == 0:
        assert found == 0
        return
    assert min(values) <= found <= max(values)
    assert found <= np.mean(values) + 1e-12
    assert found == pytest.approx(
        min(max(len(values) / sum(1 / value for value in values), min(values)), max(values))
    )
    shuffled = float(harmonic_mean(pd.DataFrame([values[::-1]])).iloc[0])
    assert shuffled == pytest.approx(found)


def test_nothing_is_said_where_a_score_is_undefined_unless_another_is_0() -> None:
    table = pd.DataFrame({"a": [0.5, math.nan, math.nan, 0.0], "b": [1.0, 0.5, 0.0, 1.0]})
    found = harmonic_mean(table)
    assert found.iloc[0] == pytest.approx(2 / 3)
    assert math.isnan(found.iloc[1]) and found.iloc[2] == 0 and found.iloc[3] == 0
    assert harmonic_mean(table[[]]).isna().all()


def beyond(generations: object) -> pd.Series[float]:
    """Maps outside [0, 1]."""
    return pd.Series([2.0] * len(generations))  # type: ignore[arg-type]


def short(generations: object) -> pd.Series[float]:
    """One number too few."""
    return pd.Series([0.5] * (len(generations) - 1))  # type: ignore[arg-type]


def test_scorers_that_break_their_promise_are_told() -> None:
    made = steer(tiny_model(), ["w5 w6", "w7"], max_new_tokens=2)
    for function, told in ((beyond, "0 to 1"), (short, "gives 1 numbers for 2")):
        spec = ScorerSpec(function.__name__, f"{__name__}:{function.__name__}", "")
        with pytest.raises(InputError, match=told):
            scored(made, [spec], {})
