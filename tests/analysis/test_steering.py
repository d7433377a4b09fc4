"""Steering summarised: intervals, controls, and verdicts that could have gone the other way."""

from __future__ import annotations

import pandas as pd
import pytest

from tl_ext.analysis.steering import JUDGED, summarise, verdicts

PROMPTS = [f"prompt {number}" for number in range(10)]
DIRECTIONS = 20


def odds(main: float, back: float, random: float, *, length: float = 1.0) -> pd.DataFrame:
    """Ten prompts; small differences between them; random directions up to `random`."""
    means = {("random event", "judged"): main, ("random event reversed", "reversed"): back} | {
        (f"random {seed}", "random"): random * (seed + 1) / DIRECTIONS for seed in range(DIRECTIONS)
    }
    return pd.DataFrame(
        [
            {
                "language": "fr",
                "vector": vector,
                "role": role,
                "strength": JUDGED,
                "unit": "a unit",
                "length": length if role == "judged" else 1.0,
                "words": "happy over sad",
                "prompt": prompt,
                "change": mean + 0.01 * number,
            }
            for (vector, role), mean in means.items()
            for number, prompt in enumerate(PROMPTS)
        ]
    )


@pytest.mark.parametrize(
    ("main", "back", "random", "works"),
    [
        (2.0, -2.0, 0.5, True),
        (2.0, 1.5, 0.5, False),  # the reverse does the same: any push does
        (2.0, -2.0, 3.0, False),  # some random direction does as much
        (-1.0, 1.0, -2.0, False),  # the wrong way
    ],
)
def test_a_verdict_needs_the_effect_the_controls_and_the_direction(
    main: float, back: float, random: float, works: bool
) -> None:
    (verdict,) = verdicts(summarise(odds(main, back, random)))
    assert ("is not shown to raise" not in verdict) == works
    assert verdict.startswith("In 'fr', random event at strength 2")
    assert "happy over sad" in verdict


def test_random_directions_of_the_same_length_are_counted_and_no_others() -> None:
    table = summarise(odds(2.0, -2.0, 3.0)).set_index("role")
    assert table.loc["judged", "change"] == pytest.approx(2.045)
    # random 13 has mean 2.1 + 0.045, the first above 2.045
    assert table.loc["judged", "random_as_high"] == 7
    assert table.loc["random", "random_as_high"].isna().all()
    longer = summarise(odds(2.0, -2.0, 3.0, length=1.5)).set_index("role")
    assert pd.isna(longer.loc["judged", "random_as_high"])


def test_interval_of_a_mean_is_students() -> None:
    from scipy.stats import ttest_1samp

    frame = odds(1.0, -1.0, 0.1)
    mine = frame[frame["role"] == "judged"]["change"]
    expected = ttest_1samp(mine, 0).confidence_interval(0.95)
    row = summarise(frame).set_index("role").loc["judged"]
    assert (row["low"], row["high"]) == pytest.approx((expected.low, expected.high))
