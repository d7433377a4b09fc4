"""Transfer between languages: effects, their difference, and a ratio only where there is one."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from tests.planted import steering as planted
from tests.planted.steering import SPLIT, Planted, sweep

from tl_ext.analysis.dose import Split
from tl_ext.analysis.transfer import transfer
from tl_ext.errors import InputError

MADE_IN = {"happy (en)": "en", "happy (fr)": "fr"}


def french(own: float, transferred: float, **options: float) -> pd.Series:
    """In French, the English vector beside the French one."""
    planted_vectors = {
        "happy (en)": Planted("tried", {"en": 1.0, "fr": transferred}),
        "happy (fr)": Planted("tried", {"fr": own, "en": 0.5}),
    }
    rows = sweep(planted_vectors, languages=("en", "fr"), random=0, **options)  # type: ignore[arg-type]
    return transfer(rows, SPLIT, [MADE_IN], by="balance").set_index("language").loc["fr"]


def test_what_is_less_than_its_own_is_said_with_its_ratio() -> None:
    found = french(1.5, 0.5)
    assert found["difference_high"] < 0
    assert "less than its own" in found["sentence"]
    assert found["ratio_low"] < 1 / 3 < found["ratio_high"]
    assert found["ratio"] == pytest.approx(found["transferred"] / found["own_effect"])


def test_effects_are_paired_over_the_reporting_prompts_at_one_strength() -> None:
    found = french(1.0, 1.0)
    assert found["prompts"] == len(SPLIT.reporting)
    assert found["difference"] == pytest.approx(found["transferred"] - found["own_effect"])
    assert "no difference shown from its own" in found["sentence"]


def test_there_is_no_ratio_to_an_effect_whose_interval_holds_0() -> None:
    found = french(0.0, 1.0)
    assert np.isnan(found["ratio"])
    assert found["no_ratio"] == "the own effect's interval holds 0"
    assert "no ratio is given: the own effect's interval holds 0" in found["sentence"]


def test_there_is_no_ratio_to_an_own_vector_that_lowers_the_words() -> None:
    found = french(-1.5, 1.0)
    assert found["own_effect_high"] < 0
    assert found["no_ratio"] == "the own vector lowers the words"
    assert np.isnan(found["ratio_low"])


def test_both_directions_of_transfer_are_told() -> None:
    rows = sweep(
        {
            "happy (en)": Planted("tried", {"en": 1.0, "fr": 1.0}),
            "happy (fr)": Planted("tried", {"fr": 1.0, "en": 0.1}),
        },
        languages=("en", "fr"),
        random=0,
    )
    table = transfer(rows, SPLIT, [MADE_IN], by="balance")
    assert set(table[["language", "made_in"]].itertuples(index=False, name=None)) == {
        ("en", "fr"),
        ("fr", "en"),
    }
    assert (table["adjusted"] >= table["p"]).all()
    assert transfer(rows, SPLIT, [{"happy (en)": "en"}], by="balance").empty


def test_one_prompt_cannot_decide() -> None:
    rows = sweep({"a": Planted("tried", {"en": 1.0}), "b": Planted("tried", {"en": 1.0})}, random=0)
    one = Split(SPLIT.choosing, SPLIT.reporting[:1])
    (found,) = transfer(rows, one, [{"a": "fr", "b": "en"}], by="balance").to_dict("records")
    assert "cannot decide" in found["sentence"] and "no difference shown" not in found["sentence"]


def test_vectors_of_unequal_length_are_not_compared() -> None:
    rows = sweep({"a": Planted("tried", {"en": 1.0}), "b": Planted("tried", {"en": 1.0})}, random=0)
    longer = rows.assign(length=rows["length"].where(rows["vector"] != "a", 3 * rows["length"]))
    with pytest.raises(InputError, match=r"'a' and 'b' have other lengths .*in_unit"):
        transfer(longer, SPLIT, [{"a": "fr", "b": "en"}], by="balance")


def test_two_vectors_of_one_language_are_refused() -> None:
    rows = sweep({"a": Planted("tried", {"en": 1.0})}, random=0)
    with pytest.raises(InputError, match="one vector a language"):
        transfer(rows, SPLIT, [{"a": "en", "b": "en"}], by="balance")


def test_the_planted_ratio_is_covered_by_fiellers_interval() -> None:
    found = [planted.transferred(seed, ratio=0.5) for seed in range(1000, 1200)]
    covered = sum(row["ratio_low"] <= 0.5 <= row["ratio_high"] for row in found)
    # 95 % of 200 is 190; the band holds 98 % of binomial draws.
    assert 182 <= covered <= 197
