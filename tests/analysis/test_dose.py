"""Dose and response, and strengths chosen on some prompts and reported on others."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_1samp
from tests.planted import steering as planted

from tl_ext.analysis.dose import (
    Split,
    choose_strength,
    dose_response,
    report,
    split_prompts,
)
from tl_ext.errors import InputError

ROWS = planted.sweep(planted.one_vector(1.0), random=3, samples=2)
SIDES = pd.DataFrame(
    [
        {
            "vector": vector,
            "role": role,
            "of": "happy",
            "strength": strength,
            "text_index": text,
            "kl": kl,
        }
        for vector, role in (("happy", "tried"), ("random 0", "random"))
        for strength in planted.STRENGTHS
        for text, kl in enumerate((0.1 * strength, 0.3 * strength))
    ]
)


def test_a_change_is_over_prompts_against_the_unsteered_and_samples_are_averaged_first() -> None:
    table = dose_response(ROWS, SIDES)
    row = table[(table["vector"] == "happy") & (table["strength"] == 2.0)].set_index("measure")
    mine = ROWS[(ROWS["vector"] == "happy") & (ROWS["strength"] == 2.0)]
    plain = ROWS[ROWS["role"] == "unsteered"]
    differences = (
        mine.groupby("prompt_index")["odds"].mean() - plain.groupby("prompt_index")["odds"].mean()
    )
    interval = ttest_1samp(differences, 0).confidence_interval(0.95)
    found = row.loc["odds"]
    assert found["units"] == planted.PROMPTS  # not prompts times samples
    assert found["change"] == pytest.approx(differences.mean())
    assert (found["low"], found["high"]) == pytest.approx((interval.low, interval.high))


def test_side_effects_are_over_texts_and_have_no_language() -> None:
    table = dose_response(ROWS, SIDES)
    side = table[table["measure"] == "side_effect"]
    assert set(side["language"]) == {""}
    assert set(side["units"]) == {2}
    at = side[(side["vector"] == "happy") & (side["strength"] == 2.0)].iloc[0]
    assert at["change"] == pytest.approx(0.4)
    assert at["low"] < 0.4 < at["high"]


def test_neutral_texts_of_a_language_say_so() -> None:
    table = dose_response(ROWS, SIDES.assign(language="en"))
    assert set(table.loc[table["measure"] == "side_effect", "language"]) == {"en"}


def test_measures_nobody_took_are_left_out() -> None:
    rows = ROWS.assign(fluency=np.nan)
    rows.loc[rows["vector"].isin(["happy", "unsteered"]), "fluency"] = -2.0
    table = dose_response(rows, SIDES)
    assert set(table.loc[table["measure"] == "fluency", "vector"]) == {"happy"}
    assert "unsteered" not in set(table["vector"])


def test_the_planted_best_strength_is_chosen_and_reported_on_other_prompts() -> None:
    rows = planted.sweep(planted.one_vector(1.0))
    split = planted.SPLIT
    choice = choose_strength(rows, split.choosing, by="balance").set_index("vector")
    assert choice.loc["happy", "strength"] == 2.0
    assert choice.loc["happy", "edge"] == ""
    reported = report(rows, choice.reset_index(), split.reporting).set_index("vector")
    assert reported.loc["happy", "units"] == len(split.reporting)
    assert reported.loc["happy", "low"] < 2.0 < reported.loc["happy", "high"]


def test_nothing_of_the_reporting_prompts_reaches_the_choice() -> None:
    split = planted.SPLIT
    moved = ROWS.copy()
    elsewhere = moved["prompt_index"].isin(split.reporting)
    moved.loc[elsewhere, "balance"] = np.random.default_rng(1).normal(size=int(elsewhere.sum()))
    pd.testing.assert_frame_equal(
        choose_strength(moved, split.choosing, by="balance"),
        choose_strength(ROWS, split.choosing, by="balance"),
    )


def test_of_equal_strengths_the_smaller_is_chosen_and_edges_are_marked() -> None:
    flat = choose_strength(ROWS.assign(balance=0.5), (0, 1), by="balance")
    assert set(flat["strength"]) == {1.0}
    rising = choose_strength(ROWS.assign(balance=ROWS["strength"]), (0, 1), by="balance")
    assert set(rising["strength"]) == {4.0}
    assert set(rising["edge"]) == {"highest"}
    assert set(flat["edge"]) == {"lowest"}


@given(st.integers(2, 40), st.integers(0, 5))
def test_a_split_halves_the_prompts(size: int, seed: int) -> None:
    split = split_prompts(range(size), seed=seed)
    assert sorted(split.choosing + split.reporting) == list(range(size))
    assert len(split.reporting) - len(split.choosing) in (0, 1)
    assert split == split_prompts(reversed(range(size)), seed=seed)


def test_a_prompt_on_both_sides_is_refused() -> None:
    with pytest.raises(InputError, match="1 on both sides"):
        Split((0, 1), (1, 2))
    with pytest.raises(InputError, match="0 prompts to choose on"):
        Split((), (1, 2))


def test_what_is_missing_is_said() -> None:
    with pytest.raises(InputError, match="no column unit"):
        choose_strength(ROWS.drop(columns="unit"), (0,))
    with pytest.raises(InputError, match="no column harmonic"):
        choose_strength(ROWS, (0,))
    with pytest.raises(InputError, match=r"None of the prompts \[99\]"):
        choose_strength(ROWS, (99,), by="balance")
    with pytest.raises(InputError, match="unsteered condition"):
        dose_response(ROWS[ROWS["role"] != "unsteered"], SIDES)
