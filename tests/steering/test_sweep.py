"""The sweep: its tables, what it may not depend on, and its controls."""

from __future__ import annotations

import dataclasses
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from tests.interventions.toy import POINT, WIDTH
from tests.tiny import make_tiny_model, tiny_model

from tl_ext.errors import InputError, OutputError
from tl_ext.steering.divergence import divergence_each
from tl_ext.steering.generation import steer
from tl_ext.steering.sweep import steering_sweep
from tl_ext.steering.sweeps import Sweep
from tl_ext.steering.vectors import SteeringVector, tensor_vector
from tl_ext.steering.words import log_odds, word_log_probabilities

PROMPTS = ["w5 w6 w7", "w12 w13", "w8"]
WORDS, AGAINST = [" w20", " w21 w22 w23"], [" w30 w31"]
NEUTRAL = ["w40 w41 w42 w43", "w44 w45"]
STRENGTHS = (0.5, 2.0)


def vector(seed: int, name: str) -> SteeringVector:
    drawn = torch.randn(WIDTH, generator=torch.Generator().manual_seed(100 + seed))
    return tensor_vector(drawn, POINT, unit=3.0 + seed, unit_name="unit", name=name)


def options(**changes: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "words": WORDS,
        "against": AGAINST,
        "neutral_texts": NEUTRAL,
        "max_new_tokens": 5,
        "baselines": [vector(9, "means")],
    }
    return {**fields, **changes}


@cache
def swept() -> Sweep:
    return steering_sweep(
        tiny_model(), [vector(1, "up"), vector(2, "down")], STRENGTHS, PROMPTS, **options()
    )


def test_a_row_for_each_vector_strength_prompt_and_sample() -> None:
    rows = swept().rows
    written = rows[rows["sample"].notna()]
    counts = written.groupby("role").size()
    each = len(STRENGTHS) * len(PROMPTS) * 2
    expected = {"tried": 2, "reversed": 2, "random": 2, "baseline": 2}
    assert counts.to_dict() == {role: each * n for role, n in expected.items()} | {"unsteered": 6}
    unwritten = rows[rows["sample"].isna()]
    assert set(unwritten["role"]) == {"random"} and len(unwritten) == 2 * 2 * 2 * len(PROMPTS)
    assert unwritten["text"].isna().all() and unwritten["harmonic"].isna().all()
    assert unwritten[["concept", "side_effect", "odds"]].notna().all().all()
    assert list(rows.columns) == [
        *("vector", "role", "of", "strength", "unit", "length", "language"),
        *("prompt_index", "prompt", "sample", "text"),
        *("concept", "concept_unit", "fluency", "fluency_unit", "diversity", "diversity_unit"),
        *("language_kept", "language_kept_unit", "side_effect", "side_effect_unit"),
        *("odds", "harmonic"),
    ]
    for role, row in rows.drop_duplicates("role").set_index("role").iterrows():
        assert row["of"] == ("" if role == "unsteered" else "up")
    beside = rows[(rows["of"] == "down") & (rows["strength"] == 2)]
    np.testing.assert_allclose(beside["length"], 2 * (3.0 + 2))
    effects = swept().side_effects
    assert list(effects.columns) == ["vector", "role", "of", "strength", "text_index", "kl"]
    assert len(effects) == 2 * (1 + 1 + 3 + 1) * len(STRENGTHS) * len(NEUTRAL)


def test_the_numbers_are_those_of_the_parts() -> None:
    model, rows, edit = tiny_model(), swept().rows, vector(1, "up").at(2.0)
    own = rows[(rows["vector"] == "up") & (rows["strength"] == 2)].reset_index(drop=True)
    texts = steer(model, PROMPTS, edit, samples=2, max_new_tokens=5)
    assert own["text"].tolist() == list(texts.texts)
    assert own["sample"].tolist() == texts.sample.tolist()
    assert texts.unsteered_log_probs is not None
    np.testing.assert_allclose(own["fluency"], texts.unsteered_log_probs.nanmean(-1), atol=1e-4)
    concept = word_log_probabilities(model, PROMPTS, WORDS, edit).logsumexp(-1)
    np.testing.assert_allclose(own["concept"][::2], concept, atol=1e-4)
    np.testing.assert_allclose(own["concept_unit"], np.exp(own["concept"]), atol=1e-6)
    odds = log_odds(model, PROMPTS, WORDS, AGAINST, edit)
    np.testing.assert_allclose(own["odds"][::2], odds, atol=1e-4)
    kl = divergence_each(model, NEUTRAL, [edit])[0]
    np.testing.assert_allclose(own["side_effect"], float(kl.mean()), atol=1e-5)
    np.testing.assert_allclose(own["side_effect_unit"], np.exp(-float(kl.mean())), atol=1e-5)
    effects = swept().side_effects.query("vector == 'up' and strength == 2")
    np.testing.assert_allclose(effects["kl"], kl, atol=1e-5)
    plain = rows[rows["role"] == "unsteered"]
    assert (plain["side_effect"] == 0).all() and (plain["length"] == 0).all()
    units = [column for column in rows if column.endswith("_unit")]
    mapped = rows[units].to_numpy()
    assert ((mapped >= 0) & (mapped <= 1) | np.isnan(mapped)).all()


@pytest.mark.parametrize("batch_size", [1, 7])
def test_the_batch_size_does_not_matter(batch_size: int) -> None:
    given = options(baselines=(), random=1)
    vectors, strengths = [vector(1, "up")], (1.0,)
    one = steering_sweep(tiny_model(), vectors, strengths, PROMPTS, **given)
    other = steering_sweep(
        tiny_model(), vectors, strengths, PROMPTS, **given, batch_size=batch_size
    )
    assert one.rows["text"].tolist() == other.rows["text"].tolist()
    pd.testing.assert_frame_equal(one.rows, other.rows, atol=1e-4, rtol=1e-4)
    pd.testing.assert_frame_equal(one.side_effects, other.side_effects, atol=1e-5, rtol=1e-4)


def test_a_negative_strength_is_the_vector_reversed() -> None:
    given = options(baselines=(), random=0)
    found = steering_sweep(tiny_model(), [vector(1, "up")], (-2.0, 0.0, 2.0), PROMPTS, **given).rows
    keep = ["text", "concept", "fluency", "side_effect", "odds", "harmonic"]

    def of(role: str, strength: float) -> pd.DataFrame:
        chosen = found[(found["role"] == role) & (found["strength"] == strength)]
        return chosen[keep].reset_index(drop=True)

    pd.testing.assert_frame_equal(of("tried", -2.0), of("reversed", 2.0))
    pd.testing.assert_frame_equal(of("tried", 2.0), of("reversed", -2.0))
    assert not of("tried", 2.0).equals(of("tried", -2.0))
    assert (found["strength"] == 0).sum() == len(found[found["role"] == "unsteered"]) == 6


def test_controls_of_equal_length_at_one_hook_point_are_computed_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from tl_ext.steering import sweep as module

    counts: list[int] = []
    plain = module.steer_each

    def counted(model: Any, prompts: Any, conditions: Any, **rest: Any) -> Any:
        counts.append(len(conditions))
        return plain(model, prompts, conditions, **rest)

    monkeypatch.setattr(module, "steer_each", counted)
    twins = [vector(1, "up"), dataclasses.replace(vector(1, "up"), name="twin")]
    steering_sweep(tiny_model(), twins, (1.0,), PROMPTS[:1], **options())
    assert counts == [1 + 4]


def test_summary_and_samples() -> None:
    sweep = swept()
    summary = sweep.summary()
    assert len(summary) == 1 + 2 * 2 * 6
    plain = summary[summary["role"] == "unsteered"].iloc[0]
    assert plain["odds_change"] == 0 and plain["concept_change"] == 0 and plain["prompts"] == 3
    row = summary[(summary["vector"] == "up") & (summary["strength"] == 0.5)].iloc[0]
    own = sweep.rows[(sweep.rows["vector"] == "up") & (sweep.rows["strength"] == 0.5)]
    assert row["odds_change"] == pytest.approx(own["odds"].mean() - plain["odds"], abs=1e-5)
    assert row["undefined"] == own["harmonic"].isna().sum()
    first = sweep.samples(3)
    ups = first[(first["vector"] == "up") & (first["strength"] == 0.5)]
    assert ups["sample"].tolist() == [0, 0, 0] and ups["prompt"].tolist() == PROMPTS
    more = sweep.samples(4).query("vector == 'up' and strength == 0.5")
    assert sorted(more["sample"].tolist()) == [0, 0, 0, 1]
    assert first.groupby(["vector", "of", "strength"]).size().eq(3).all()
    with pytest.raises(InputError, match="1 or more"):
        sweep.samples(0)


def test_it_is_shown_saved_and_read_back(tmp_path: Path) -> None:
    sweep = swept()
    assert "2 vectors (up, down) at strengths 0.5, 2" in repr(sweep)
    named = steering_sweep(
        tiny_model(), [vector(1, "<b>up")], (1.0,), PROMPTS[:1], **options(random=0)
    )
    assert "&lt;b&gt;up" in named._repr_html_() and "<b>" not in named._repr_html_()
    sweep.save(tmp_path / "sweep")
    again = Sweep.load(tmp_path / "sweep")
    pd.testing.assert_frame_equal(again.rows, sweep.rows, check_dtype=False)
    pd.testing.assert_frame_equal(again.side_effects, sweep.side_effects, check_dtype=False)
    assert again.settings == sweep.settings
    assert len(again.summary()) == len(sweep.summary())
    with pytest.raises(OutputError, match="no sweep"):
        Sweep.load(tmp_path)


def test_further_scorers_and_what_is_not_asked_for() -> None:
    found = steering_sweep(
        tiny_model(),
        [vector(1, "up")],
        (1.0,),
        PROMPTS[:1],
        **options(neutral_texts=(), against=(), scorers=["concept_words"], random=0),
    )
    assert "side_effect" not in found.rows and "concept_words_unit" in found.rows
    assert found.rows["odds"].isna().all() and not len(found.side_effects)
    with pytest.raises(InputError, match=r"no scorer 'fluencey'.*fluency"):
        steering_sweep(
            tiny_model(), [vector(1, "up")], (1.0,), PROMPTS, **options(scorers=["fluencey"])
        )


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"vectors": []}, "no vectors"),
        ({"strengths": (0.0,)}, "besides 0"),
        ({"strengths": (float("nan"),)}, "finite"),
        ({"baselines": [vector(3, "up")]}, "named 'up'"),
        ({"random_written": -1}, "0 or more"),
        ({"against": [" w20"]}, "both lists"),
        ({"words": []}, "no words"),
        ({"words": " w20"}, r"words=\[' w20'\]"),
        ({"against": " w21"}, "against is one string"),
        ({"neutral_texts": "w1 w2"}, "neutral_texts is one string"),
        ({"language": "de"}, "not among those in play"),
    ],
)
def test_refusals(changes: dict[str, Any], told: str) -> None:
    given = options(vectors=[vector(1, "up")], strengths=(1.0,), prompts=PROMPTS)
    given |= changes
    with pytest.raises(InputError, match=told):
        steering_sweep(tiny_model(), **given)


def test_nothing_is_left_behind() -> None:
    model = make_tiny_model()
    steering_sweep(model, [vector(1, "up")], (1.0,), PROMPTS[:1], **options())
    assert not model.list_hooks()
