"""The sweep finds a planted direction and its best strength, and shows a reverse that acts alike."""

from __future__ import annotations

import math

import pytest
from tests.planted.sweep import BEST, CONCEPT, GAIN, OPPOSITE, PLAIN, STRENGTHS, planted_sweep

from tl_ext.analysis.dose import split_prompts
from tl_ext.analysis.steering import Judged, verdicts
from tl_ext.steering.scoring import harmonic_mean

ABOUT = 0.1  # the norms take the mean out, a part of a 32nd


def changes(axis: int, role: str) -> list[float]:
    """The change of log-odds at each strength, in nats."""
    summary = planted_sweep(axis).summary()
    rows = summary[summary["role"] == role].set_index("strength")
    return [float(rows["odds_change"][strength]) for strength in STRENGTHS]


def test_the_planted_direction_does_what_was_planted() -> None:
    expected = [2 * GAIN * strength for strength in STRENGTHS]
    assert changes(0, "tried") == pytest.approx(expected, rel=ABOUT)
    assert changes(0, "reversed") == pytest.approx([-one for one in expected], rel=ABOUT)
    randoms = planted_sweep(0).summary().query("role == 'random'")["odds_change"].abs()
    assert randoms.max() < max(expected) / 2


def test_its_best_strength_is_found() -> None:
    summary = planted_sweep(0).summary()
    harmonic = summary[summary["role"] == "tried"].set_index("strength")["harmonic"]
    assert float(harmonic.idxmax()) == BEST
    # By hand: the unsteered model writes all words but the last alike.
    words = len(CONCEPT) + len(OPPOSITE) + 1 + len(PLAIN)
    up, down = math.exp(GAIN * BEST), math.exp(-GAIN * BEST)
    total = 2 * up + 2 * down + words - 4
    row = summary[(summary["role"] == "tried") & (summary["strength"] == BEST)].iloc[0]
    assert row["concept_unit"] == pytest.approx(2 * up / total, rel=0.05)
    assert row["side_effect"] == pytest.approx(math.log(total / words), rel=0.05)
    assert row["fluency"] == pytest.approx(-math.log(words), rel=0.02)
    broken = summary[(summary["role"] == "tried") & (summary["strength"] > BEST)]
    assert (broken["concept_unit"] < 0.01).all() and (broken["diversity"] < 0.2).all()


def test_a_direction_whose_reverse_acts_alike_is_seen_for_what_it_is() -> None:
    there, back = changes(1, "tried"), changes(1, "reversed")
    assert min(there) > 1 and there == pytest.approx(back, rel=ABOUT)
    assert there == sorted(there)


def test_the_verdict_tells_the_direction_from_the_push() -> None:
    """From the model's own texts and words to the sentence: nothing in between is made up."""
    for axis, verdict in ((0, "raises"), (1, "not a direction")):
        rows = planted_sweep(axis, prompts=8, random=39).rows
        # What random vectors have as well, without texts of their own.
        rows = rows.assign(cheap=harmonic_mean(rows[["concept_unit", "side_effect_unit"]]))
        split = split_prompts(range(8), seed=0)
        (found,) = verdicts(rows, split, [Judged("planted")], by="cheap").to_dict("records")
        assert found["verdict"] == verdict, found["sentence"]
        if axis == 0:
            assert found["strength"] == BEST
