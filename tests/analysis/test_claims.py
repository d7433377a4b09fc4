"""The three claims as rows, and sentences that say what the rows do."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tl_ext.analysis import claims
from tl_ext.analysis.counterparts import Share


def row(p: float, smallest: float = 0.01, share: float = 0.5) -> claims.Claim:
    return claims.exist([Share(share, 0.01, 0.3, p, smallest)] * 2, "chance")


def test_a_question_asked_twice_is_adjusted_and_each_row_says_so() -> None:
    made = [row(0.03), row(0.2), claims.first([-0.1, -0.2, -0.3], "concept")]
    table = claims.claims_table(made, [{"measure": name} for name in ("a", "b", "a")])
    assert table["p_adjusted"].tolist() == pytest.approx([0.06, 0.2, 1 / 8])
    assert table["decision"].tolist() == ["not shown", "not shown", "cannot decide"]
    assert "50% of the latents" in table["says"].iloc[0]
    assert "p 0.06, smallest reachable 0.01" in table["says"].iloc[0]
    assert "3 concepts" in table["says"].iloc[2]
    assert claims.summary(table, ["measure"]) == [
        "Counterparts exist, against chance: shown nowhere.",
        "The first layer is less alike, against no difference, over concepts: cannot be decided anywhere.",
    ]


def test_a_summary_names_where_decisions_differ() -> None:
    table = claims.claims_table([row(0.01), row(0.9)], [{"at": name} for name in "ab"])
    assert claims.summary(table, ["at"]) == [
        "Counterparts exist, against chance: shown for a; not shown for b."
    ]


def test_a_spread_of_zero_over_concepts_is_no_certainty() -> None:
    assert math.isnan(row(0.5)["low"])
    none = row(1.0, share=0.0)
    assert none["low"] == 0 and none["high"] == pytest.approx(1 - 0.025**0.5)


def test_the_trend_s_interval_is_over_redrawn_texts_and_holds_its_slope() -> None:
    random = np.random.default_rng(0)
    at = np.arange(6)
    similarity = -0.1 * abs(at[:, None] - at[None]) + random.normal(0, 0.01, (2, 50, 6, 6))
    found = claims.nearby(similarity + similarity.swapaxes(-1, -2), range(6))
    assert found["low"] < found["value"] < found["high"] < 0
    assert found["p"] == pytest.approx(2 / 720) == pytest.approx(found["smallest"])
    alone = claims.nearby(similarity[:, :1], range(6))
    assert math.isnan(alone["low"])


def test_what_could_not_be_measured_is_told_so() -> None:
    table = claims.claims_table(
        [claims.nearby(np.full((1, 2, 3, 3), np.nan), range(3))], [{"m": "x"}]
    )
    assert table["decision"].tolist() == ["cannot decide"]
    assert "nothing could be measured" in table["says"].iloc[0]
    assert claims.claims_table([], []).empty
