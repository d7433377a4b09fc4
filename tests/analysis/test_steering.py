"""Verdicts on steering vectors: every control can take the claim down."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.planted import steering as planted
from tests.planted.steering import HAPPY, SPLIT, Planted, one_vector, sweep

from tl_ext.analysis.steering import Judged, mean_p, raise_p, verdicts


def verdict(rows: pd.DataFrame) -> pd.Series:
    return verdicts(rows, SPLIT, [HAPPY], by="balance").iloc[0]


def test_a_planted_direction_is_found_with_its_best_strength() -> None:
    found = verdict(sweep(one_vector(1.0)))
    assert found["verdict"] == "raises"
    assert found["strength"] == 2.0
    assert found["random_as_high"] == 0
    assert found["p_random"] == found["smallest"] == 1 / (planted.RANDOM + 1)
    assert found["reverse_change"] < 0 < found["over_reverse_low"]
    assert (found["against_diffmean"], found["specific"]) == ("better", "yes")


def test_a_direction_whose_reverse_acts_alike_is_none() -> None:
    found = verdict(sweep(one_vector(1.0, even=2.5)))
    # It passes every other control: the change, random vectors, more than its reverse.
    assert found["low"] > 0
    assert found["random_as_high"] == 0
    assert found["over_reverse_low"] > 0
    assert found["verdict"] == "not a direction"
    assert "its reverse raises them too" in found["sentence"]


def test_random_vectors_that_do_as_much_take_the_claim_down() -> None:
    found = verdict(sweep(one_vector(0.5), random_slope=2.0))
    assert found["low"] > 0
    assert found["verdict"] == "not shown"
    assert f"{found['random_as_high']} of 39 random vectors did as much" in found["sentence"]


def test_the_wrong_way_is_not_shown() -> None:
    found = verdict(sweep(one_vector(-1.0)))
    assert found["verdict"] == "not shown"
    assert found["high"] < 0
    assert "the interval is not above 0" in found["sentence"]


@pytest.mark.parametrize(
    ("opposite", "specific"), [(1.0, "no"), (-0.5, "yes"), (0.02, "not shown")]
)
def test_the_opposite_concepts_vector_says_whether_it_is_specific(
    opposite: float, specific: str
) -> None:
    found = verdict(sweep(one_vector(1.0, opposite=opposite)))
    assert found["verdict"] == "raises"
    assert found["specific"] == specific
    assert ("so does the opposite concept's vector" in found["sentence"]) == (specific == "no")


def test_the_opposite_is_taken_at_equal_length_or_not_at_all() -> None:
    rows = sweep(one_vector(1.0))
    longer = rows.assign(length=rows["length"].where(rows["vector"] != "sad", rows["length"] * 2))
    halved = verdict(longer)
    at = longer[(longer["vector"] == "sad") & (longer["length"] == halved["length"])]
    assert set(at["strength"]) == {halved["strength"] / 2}
    odd = rows.assign(length=rows["length"].where(rows["vector"] != "sad", rows["length"] * 1.7))
    assert verdict(odd)["specific"] == ""


@pytest.mark.parametrize(
    ("baseline", "said"), [(0.1, "better"), (4.0, "worse"), (1.0, "no difference shown")]
)
def test_it_is_compared_with_the_difference_of_means(baseline: float, said: str) -> None:
    assert verdict(sweep(one_vector(1.0, baseline=baseline)))["against_diffmean"] == said


def test_too_few_random_vectors_cannot_decide() -> None:
    found = verdict(sweep(one_vector(1.0), random=10))
    assert found["verdict"] == "cannot decide"
    assert "10 random vectors allow no adjusted p below 0.091" in found["sentence"]
    assert verdict(sweep(one_vector(1.0), random=0))["verdict"] == "cannot decide"


def test_too_few_random_vectors_for_as_many_tests_cannot_decide() -> None:
    others = {f"idle {one}": Planted("tried", {"en": 0.0}) for one in range(3)}
    backs = {f"{one}, reversed": Planted("reversed", {"en": 0.0}, of=one) for one in others}
    rows = sweep(one_vector(1.0) | others | backs, random=30)
    shared = rows[rows["role"] == "random"]
    rows = pd.concat([rows, *(shared.assign(of=one) for one in others)], ignore_index=True)
    judged = [HAPPY, *map(Judged, others)]
    table = verdicts(rows, SPLIT, judged, by="balance").set_index("vector")
    assert table.loc["happy", "smallest"] < 0.05 < table.loc["happy", "adjusted"]
    assert table.loc["happy", "verdict"] == "cannot decide"
    # Nor could any of the others have been shown.
    assert set(table.loc[list(others), "verdict"]) == {"cannot decide"}
    assert set(table["tests"]) == {4}


def test_without_its_reverse_nothing_is_decided() -> None:
    rows = sweep(one_vector(1.0))
    found = verdict(rows[rows["role"] != "reversed"])
    assert found["verdict"] == "cannot decide"
    assert "its reverse was not tried" in found["sentence"]


def test_random_vectors_have_their_strength_chosen_too() -> None:
    # One random vector does much at strength 1, where the vector under test was not shown.
    rows = sweep(one_vector(1.0), random=39)
    hidden = (rows["vector"] == "random 7") & (rows["strength"] == 1.0)
    rows.loc[hidden, "odds"] += 9.0
    rows.loc[hidden, "balance"] = 0.99
    found = verdict(rows)
    assert found["strength"] == 2.0
    assert found["random_as_high"] == 1


def test_random_vectors_at_one_strength_are_compared_at_that_strength() -> None:
    rows = sweep(one_vector(1.0))
    fewer = rows[(rows["role"] != "random") | (rows["strength"] == 1.0)]
    found = verdict(fewer)
    assert (found["strength"], found["random_strength"]) == (2.0, 1.0)
    assert found["random_as_high"] == 0
    assert "it at strength 1:" in found["sentence"]


def test_random_vectors_beside_another_vector_do_not_count() -> None:
    rows = sweep(one_vector(1.0))
    # The same directions beside another vector are no further draws.
    again = rows[rows["role"] == "random"].assign(of="another")
    assert verdict(pd.concat([rows, again], ignore_index=True))["random"] == planted.RANDOM


def test_random_vectors_that_were_not_scored_are_not_said_to_do_as_much() -> None:
    rows = sweep(one_vector(1.0))
    unscored = rows["role"].eq("random") & rows["vector"].ne("random 0")
    found = verdict(rows.assign(balance=rows["balance"].mask(unscored)))
    assert (found["random"], found["random_as_high"]) == (1, 0)
    assert found["verdict"] == "cannot decide"
    # One that has no score at one of the strengths alone counts against the vector, as it did.
    some = unscored & rows["strength"].eq(4.0)
    assert verdict(rows.assign(balance=rows["balance"].mask(some)))["random_as_high"] == 38


def test_random_vectors_of_another_length_do_not_count() -> None:
    rows = sweep(one_vector(1.0))
    longer = rows.assign(
        length=rows["length"].where(rows["role"] != "random", 1.5 * rows["length"] + 0.1)
    )
    assert verdict(longer)["random"] == 0


def test_the_sentence_holds_the_numbers_it_is_made_of() -> None:
    found = verdict(sweep(one_vector(1.0)))
    for number in (
        "change",
        "low",
        "high",
        "reverse_change",
        "over_reverse_low",
        "diffmean_change",
    ):
        assert f"{found[number]:+.2f}" in found["sentence"]
    assert "0 of 39 did as much (p 0.025)" in found["sentence"]


def test_verdicts_do_not_depend_on_the_order_of_rows() -> None:
    rows = sweep(one_vector(1.0), samples=2)
    shuffled = rows.sample(frac=1.0, random_state=0)
    pd.testing.assert_series_equal(verdict(rows), verdict(shuffled))


def test_no_vector_to_judge_is_an_empty_table() -> None:
    assert verdicts(sweep(one_vector(1.0)), SPLIT, [], by="balance").empty


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.floats(-5, 5, allow_subnormal=False), min_size=2, max_size=12),
    st.floats(1e-3, 1e3),
)
def test_p_lies_in_the_unit_interval_and_does_not_change_with_the_scale(
    values: list[float], scale: float
) -> None:
    array = np.array(values)
    for p in (mean_p, raise_p):
        assert 0 < p(array) <= 1
        assert p(array * scale) == pytest.approx(p(array), rel=1e-6)


def test_the_p_of_a_mean_is_students() -> None:
    from scipy.stats import ttest_1samp

    values = np.random.default_rng(0).normal(0.5, 1, 8)
    assert mean_p(values) == pytest.approx(ttest_1samp(values, 0).pvalue)
    assert raise_p(values) == mean_p(values)
    assert raise_p(-values) == 1.0
