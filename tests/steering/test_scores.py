"""Scores read a record and no model: records made by hand, with known answers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tl_ext.errors import InputError
from tl_ext.steering import scores
from tl_ext.steering.generations import Generations


def record(
    texts: list[str] | None = None,
    new: list[list[int]] | None = None,
    log_probs: list[list[float]] | None = None,
    prompts: tuple[str, ...] = ("I think that",),
    **changes: Any,
) -> Generations:
    """One sample of each prompt in turn; token lists may differ in length."""
    count = len(texts or new or log_probs or ())
    new = new or [[5, 6]] * count
    width = max(map(len, new))
    ids = torch.tensor([[9, *row, *[2] * (width - len(row))] for row in new])
    mask = torch.tensor([[True, *[True] * len(row), *[False] * (width - len(row))] for row in new])
    values = None
    if log_probs is not None:
        values = torch.tensor([row + [math.nan] * (width - len(row)) for row in log_probs])
    fields: dict[str, Any] = {
        "prompts": prompts,
        "prompt": torch.arange(count) % len(prompts),
        "sample": torch.arange(count) // len(prompts),
        "texts": tuple(texts or [""] * count),
        "ids": ids,
        "mask": mask,
        "prompt_width": 1,
        "steered_log_probs": torch.zeros(count, width),
        "unsteered_log_probs": values,
        "settings": {"stop_ids": [2]},
    }
    return Generations(**{**fields, **changes})


@given(st.lists(st.lists(st.floats(-20, 0), min_size=1, max_size=5), min_size=1, max_size=5))
def test_fluency_is_the_mean_and_maps_into_the_unit_interval(rows: list[list[float]]) -> None:
    made = record(new=[[5] * len(row) for row in rows], log_probs=rows)
    score = scores.fluency(made)
    np.testing.assert_allclose(score, [np.mean(row) for row in rows], atol=1e-5)
    assert list(score.index) == list(made.to_frame().index) and score.name == "fluency"
    mapped = scores.fluency_to_unit(score)
    assert mapped.between(0, 1).all()
    np.testing.assert_allclose(1 / mapped, np.exp(-score), rtol=1e-6)


def test_fluency_needs_the_unsteered_model() -> None:
    with pytest.raises(InputError, match="log_probs='both'"):
        scores.fluency(record(texts=["a"]))
    assert math.isnan(scores.fluency(record(new=[[5], []], log_probs=[[-1.0], []]))[1])


@given(st.lists(st.lists(st.integers(3, 9), max_size=8), min_size=1, max_size=4), st.integers(1, 3))
def test_diversity_is_a_share(rows: list[list[int]], n: int) -> None:
    score = scores.diversity(record(new=[*rows, [3]]), n=n)
    for value, row in zip(score, rows, strict=False):
        grams = [tuple(row[i : i + n]) for i in range(len(row) - n + 1)]
        assert math.isnan(value) if not grams else value == len(set(grams)) / len(grams)


def test_diversity_leaves_the_stop_token_out() -> None:
    score = scores.diversity(record(new=[[5, 5, 5, 2], [5, 6, 7, 8], [5, 2]]))
    assert list(score[:2]) == [0.5, 1.0] and math.isnan(score[2])
    with pytest.raises(InputError, match="n is 0"):
        scores.diversity(record(new=[[5]]), n=0)


def test_language() -> None:
    english, french = " the weather is very nice today", " le temps est très beau aujourd'hui"
    made = record(
        texts=[english, french, french, english, " 1 2 3", english],
        prompts=("I think that this is", "Je pense que c'est une", "12:"),
    )
    kept = scores.language_kept(made)
    assert kept[0] > 0.9 and kept[1] > 0.9  # English after English, French after French
    assert math.isnan(kept[2])  # a prompt in no language
    assert kept[3] > 0.9 and math.isnan(kept[4]) and math.isnan(kept[5])
    turned = scores.language_kept(made, expected="fr")
    assert turned[1] > 0.9 and turned[2] > 0.9 and turned[0] < 0.1
    table = scores.language_probabilities([english, french], ("en", "fr", "zh"))
    assert list(table.columns) == ["en", "fr", "zh"]
    np.testing.assert_allclose(table.sum(axis=1), 1, atol=1e-5)
    with pytest.raises(InputError, match="'de' is not among"):
        scores.language_kept(made, expected="de")
    with pytest.raises(InputError, match="two or more"):
        scores.language_kept(made, among=["en"])
    with pytest.raises(InputError, match="does not know"):
        scores.language_kept(made, among=["en", "xx"])


def test_concept_words() -> None:
    made = record(
        texts=[
            " so Happy and unhappy",
            " je suis heureux, heureux",
            " ...",
            " sad",
            "我很快乐。",
            "",
        ]
    )
    score = scores.concept_words(made, words=["happy", "Happy", "heureux", "快乐"])
    np.testing.assert_allclose(score[[0, 1, 3, 4]], [5 / 17, 14 / 20, 0, 2 / 4])
    assert score[[2, 5]].isna().all()
    for words in ("happy", [], None):
        with pytest.raises(InputError, match="words is"):
            scores.concept_words(made, words=words)


def test_the_registered_scorers_are_here_and_map_to_the_unit_interval() -> None:
    from tl_ext.plugins.builtin import SCORERS
    from tl_ext.plugins.manager import resolve

    made = record(texts=[" the weather", " the the"], log_probs=[[-1.0, -2.0], [-0.5, 0.0]])
    needed: dict[str, Any] = {
        "concept_words": {"words": ["weather"]},
        "concept": {"word_log_probs": torch.tensor([[-1.0, -3.0]] * len(made.prompts))},
        "side_effect": {"divergence": torch.tensor([0.0, 2.0, math.nan])},
    }
    for spec in SCORERS:
        options = needed.get(spec.name, {})
        score = resolve(spec.score)(made, **options)
        assert isinstance(score, pd.Series) and len(score) == 2
        mapped = score if spec.map_to_unit is None else resolve(spec.map_to_unit)(score)
        assert mapped.between(0, 1).all(), spec.name
