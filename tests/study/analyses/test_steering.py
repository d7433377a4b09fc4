"""Steering in the study: what is tried, on which words, and what is said where it cannot be."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pytest
from tests.dictionaries.saved import config_of, save
from tests.small_study import LATENTS, WIDTH
from torch import Tensor

from tl_ext.activations.store import text_tensor
from tl_ext.concepts.concept import Concept, Example
from tl_ext.study.analyses import readings, steering
from tl_ext.study.collecting import steering_vectors
from tl_ext.study.session import Session, open_session

Made = tuple[Session, Mapping[str, Mapping[str, Tensor]], dict[str, pd.DataFrame]]


def concept(
    name: str, word: str, *, language: str = "en", control: str | None = "tired"
) -> Concept:
    frames = ("I am {}.", "He says he is {}.", "Today we are so {} again.")
    return Concept(
        name,
        language,
        tuple(Example(frame.format(word), word) for frame in frames),
        tuple(Example(frame.format(control), control) for frame in frames) if control else (),
    )


def session(checkpoint: Path, dictionaries: Path, *concepts: Concept) -> Session:
    return open_session(
        model=checkpoint,
        dictionaries=[dictionaries],
        concepts=concepts,
        background=["I am so tired today.", "He says he is happy with the dog."],
        progress=False,
    )


def tables(opened: Session) -> tuple[Mapping[str, Mapping[str, Tensor]], dict[str, pd.DataFrame]]:
    read = readings.collect(opened, {})
    tensors = {"readings": read, "steering": steering.collect(opened, {"readings": read})}
    return tensors, steering.tabulate(tensors, opened.plan)


def notes(opened: Session) -> list[str]:
    return list(tables(opened)[1]["steering_notes"]["note"])


@pytest.fixture(scope="module")
def bilingual(checkpoint: Path, dictionaries: Path) -> Made:
    opened = session(
        checkpoint,
        dictionaries,
        concept("cat", "cat"),
        concept("dog", "dog"),
        concept("cat", "chat", language="fr"),
        concept("dog", "chien", language="fr"),
    )
    return opened, *tables(opened)


def test_each_language_is_judged_in_each_language(bilingual: Made) -> None:
    _, _, made = bilingual
    found = made["steering_verdicts"]
    judged = made["steering_vectors"].query("judged")
    assert list(judged["made_in"]) == ["en", "fr"]
    assert set(judged["concept"]) == {"cat"}
    assert len(found) == 4
    assert set(found["random"]) == {steering.DIRECTIONS * 4}
    assert set(found["words"]) == {"cat over dog", "chat over chien"}
    assert set(found["choosing"]) == set(found["prompts"]) == {8}
    assert made["steering_transfer"]["made_in"].tolist()[:2] == ["fr", "en"]


def test_all_vectors_are_equally_long_at_equal_strength(bilingual: Made) -> None:
    dose = pd.concat([bilingual[2]["steering_dose"], bilingual[2]["steering_random"]])
    lengths = dose.groupby("strength")["length"]
    assert (lengths.max() / lengths.min() - 1 < 1e-6).all()
    assert dose["unit"].nunique() == 1


def test_the_reporting_prompts_are_no_choosing_prompts(bilingual: Made) -> None:
    opened, tensors, _ = bilingual
    halves = steering.split(opened.plan)
    assert not set(halves.choosing) & set(halves.reporting)
    assert steering.split(opened.plan) == halves
    again = steering.tabulate(tensors, opened.plan)["steering_verdicts"]
    pd.testing.assert_frame_equal(again, bilingual[2]["steering_verdicts"])


def test_the_texts_are_the_first_by_seed_with_the_unsteered_beside(bilingual: Made) -> None:
    opened, _, made = bilingual
    mark = steering.draw(made, opened.plan)["steering-texts-en"].mark
    assert mark.conditions[0] == "unsteered"  # type: ignore[attr-defined]
    first = steering_vectors.prompts()["en"][:4]
    assert tuple(row.prompt for row in mark.rows) == first  # type: ignore[attr-defined]


def test_a_figure_of_every_kind_is_drawn(bilingual: Made) -> None:
    opened, _, made = bilingual
    figures = steering.draw(made, opened.plan)
    kinds = {"steering_verdicts", "steering_transfer", "steering_vectors"} | {
        f"steering-{kind}-{language}"
        for kind in ("dose", "side-effects", "qualities", "texts")
        for language in ("en", "fr")
    }
    assert kinds <= set(figures)
    assert figures["steering_verdicts"].may == tuple(made["steering_verdicts"]["sentence"])


def test_one_concept_is_steered_against_its_controls(checkpoint: Path, dictionaries: Path) -> None:
    _, made = tables(session(checkpoint, dictionaries, concept("cat", "cat")))
    assert set(made["steering_verdicts"]["words"]) == {"cat over tired"}
    assert set(made["steering_verdicts"]["opposite"]) == {""}


def test_where_no_latent_belongs_the_difference_of_means_is_judged(
    checkpoint: Path, dictionaries: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    none = pd.DataFrame(columns=["latent", "difference"])
    monkeypatch.setattr(steering_vectors, "belonging", lambda *_: none)
    opened = session(checkpoint, dictionaries, concept("cat", "cat"), concept("dog", "dog"))
    _, made = tables(opened)
    assert set(made["steering_verdicts"]["vector"]) == {"means of cat - dog (en)"}
    assert any("No latent of" in note for note in made["steering_notes"]["note"])


@pytest.mark.parametrize(
    ("with_it", "chosen"), [([0.1, 0.3, 0.4], 5), ([0.1, 0.1, 0.1], 3), ([0.9, 0.9, 0.9], 3)]
)
def test_the_strongest_latent_that_moves_the_output_is_chosen(
    checkpoint: Path,
    dictionaries: Path,
    monkeypatch: pytest.MonkeyPatch,
    with_it: list[float],
    chosen: int,
) -> None:
    def scores(*_: object, **__: object) -> pd.DataFrame:
        rest = {"unsteered_score": 0.2, "kl": 0.1, "length": 1.0, "top_tokens": [["a"]] * 3}
        return pd.DataFrame({"latent": [3, 5, 8], "output_score": with_it, **rest})

    strongest = pd.DataFrame({"latent": [3, 5, 8], "difference": [3.0, 2.0, 1.0]})
    monkeypatch.setattr(steering_vectors, "belonging", lambda *_: strongest)
    monkeypatch.setattr("tl_ext.steering.output_scores.output_scores", scores)
    opened = session(checkpoint, dictionaries, concept("cat", "cat"))
    table = steering_vectors.candidates(opened, None, opened.plan.concepts[0])  # type: ignore[arg-type]
    assert table.loc[table["chosen"], "latent"].tolist() == [chosen]


def test_what_cannot_be_done_is_said(checkpoint: Path, dictionaries: Path) -> None:
    alone = session(checkpoint, dictionaries, concept("cat", "cat", control=None))
    assert any("Nothing is steered" in note for note in notes(alone))
    foreign = session(
        checkpoint, dictionaries, concept("cat", "cat"), concept("cat", "cat", language="xx")
    )
    assert "No prompts are known in 'xx', so it is not steered." in notes(foreign)


def test_a_focus_that_cannot_be_edited_is_said(checkpoint: Path, tmp_path: Path) -> None:
    point = "blocks.1.hook_resid_mid"
    config = config_of("topk", d_in=WIDTH, d_sae=LATENTS, metadata={"hook_name": point})
    opened = session(checkpoint, save(tmp_path / point, config), concept("cat", "cat"))
    (note,) = notes(opened)
    assert "cannot be edited" in note


def test_nothing_stored_is_nothing_drawn(checkpoint: Path, dictionaries: Path) -> None:
    empty = {"rows": "{}", "side_effects": "{}", "vectors": "[]", "words": "{}", "notes": "[]"}
    empty["candidates"] = "{}"
    stored = {"steering": {name: text_tensor(text) for name, text in empty.items()}}
    plan = session(checkpoint, dictionaries, concept("cat", "cat")).plan
    assert steering.tabulate(stored, plan) == {}
    assert steering.draw({}, plan) == {}


@pytest.mark.parametrize("language", list(steering_vectors.prompts()))
def test_prompts_end_before_the_word(language: str) -> None:
    prompts = steering_vectors.prompts()[language]
    assert len(set(prompts)) == len(prompts) == 16
    assert all(prompt == prompt.rstrip() for prompt in prompts)
    assert len(set(steering_vectors.neutral()[language])) == 6


@pytest.mark.parametrize("language", ["en", "fr", "zh"])
def test_neutral_texts_say_no_concept_and_stand_nowhere_else(language: str) -> None:
    from tl_ext.concepts import emotions

    said = emotions.concepts(languages=(language,))
    texts = {one.text for concept in said for one in (*concept.examples, *concept.controls)}
    words = {word for concept in said for word in (*concept.words, *concept.control_words)}
    for sentence in steering_vectors.neutral()[language]:
        assert sentence not in texts
        assert not any(word in sentence.split() for word in words)
