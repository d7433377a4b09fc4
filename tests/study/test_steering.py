"""Steering in the study: what is summarised, and verdicts that could have gone the other way."""

from __future__ import annotations

import pandas as pd
import pytest

from tl_ext.study.steering import JUDGED, LANGUAGES, RANDOM, summarise, verdicts

PROMPTS = [f"prompt {number}" for number in range(10)]


def odds(main: float, back: float, random: float) -> pd.DataFrame:
    """Ten prompts; small differences between them; random directions up to `random`."""
    means = {"happy": main, "happy reversed": back} | {
        f"random {seed}": random * (seed + 1) / RANDOM for seed in range(RANDOM)
    }
    return pd.DataFrame(
        [
            {
                "language": "fr",
                "vector": vector,
                "strength": JUDGED,
                "prompt": prompt,
                "change": mean + 0.01 * number,
            }
            for vector, mean in means.items()
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
    assert verdict.startswith("In 'fr', happy at strength 2")


def test_a_summary_counts_random_directions_and_has_an_interval() -> None:
    table = summarise(odds(2.0, -2.0, 3.0)).set_index("vector")
    assert table.loc["happy", "change"] == pytest.approx(2.045)
    assert table.loc["happy", "low"] < 2.045 < table.loc["happy", "high"]
    # random 13 has mean 2.1 + 0.045, the first above 2.045
    assert table.loc["happy", "random_as_high"] == 7
    assert pd.isna(table.loc["random 3", "random_as_high"])


def test_interval_of_a_mean_is_students() -> None:
    from scipy.stats import ttest_1samp

    frame = odds(1.0, -1.0, 0.1)
    mine = frame[frame["vector"] == "happy"]["change"]
    expected = ttest_1samp(mine, 0).confidence_interval(0.95)
    row = summarise(frame).set_index("vector").loc["happy"]
    assert (row["low"], row["high"]) == pytest.approx((expected.low, expected.high))


def test_prompts_and_words_are_of_a_kind() -> None:
    for language in LANGUAGES.values():
        assert language.sample in language.prompts
        assert not set(language.positive) & set(language.negative)
