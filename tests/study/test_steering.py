"""Steering in the study: whose latent is judged, on which words, and what is said where it cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.dictionaries.saved import config_of, save
from tests.small_study import LATENTS, WIDTH

from tl_ext.activations.store import text_tensor
from tl_ext.concepts.concept import Concept, Example
from tl_ext.study import steering
from tl_ext.study.analyses import readings
from tl_ext.study.session import Session, open_session


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


def collected(opened: Session) -> dict[str, object]:
    return steering.collect(opened, {"readings": readings.collect(opened, {})})


def test_the_judged_vector_is_the_first_concepts_and_its_words_are_scored(
    checkpoint: Path, dictionaries: Path
) -> None:
    opened = session(checkpoint, dictionaries, concept("cat", "cat"), concept("dog", "dog"))
    table = steering.tabulate(collected(opened))["steering_odds"]  # type: ignore[arg-type]
    judged = table[table["role"] == "judged"]["vector"].unique()
    assert len(judged) == 1
    assert judged[0].startswith(("cat (en, #", "means of cat - dog"))
    assert set(table["words"]) == {" cat over  dog"}


def test_one_concept_is_steered_against_its_controls(checkpoint: Path, dictionaries: Path) -> None:
    opened = session(checkpoint, dictionaries, concept("cat", "cat"))
    table = steering.tabulate(collected(opened))["steering_odds"]  # type: ignore[arg-type]
    assert set(table["words"]) == {" cat over  tired"}


def test_what_cannot_be_done_is_said(checkpoint: Path, dictionaries: Path) -> None:
    alone = session(checkpoint, dictionaries, concept("cat", "cat", control=None))
    said = steering.notes(collected(alone))  # type: ignore[arg-type]
    assert any("Nothing is steered" in note for note in said)
    foreign = session(
        checkpoint, dictionaries, concept("cat", "cat"), concept("cat", "cat", language="xx")
    )
    assert "No prompts are known in 'xx', so it is not steered." in steering.notes(
        collected(foreign)  # type: ignore[arg-type]
    )


def test_a_focus_that_cannot_be_edited_is_said(checkpoint: Path, tmp_path: Path) -> None:
    point = "blocks.1.hook_resid_mid"
    config = config_of("topk", d_in=WIDTH, d_sae=LATENTS, metadata={"hook_name": point})
    opened = session(checkpoint, save(tmp_path / point, config), concept("cat", "cat"))
    (note,) = steering.notes(collected(opened))  # type: ignore[arg-type]
    assert "cannot be edited" in note


def test_nothing_stored_is_nothing_drawn() -> None:
    stored = {name: text_tensor("[]") for name in ("samples", "odds", "notes")}
    assert steering.tabulate(stored) == {}
    assert steering.draw({}, None) == {}  # type: ignore[arg-type]


@pytest.mark.parametrize("language", list(steering.prompts()))
def test_prompts_end_before_the_word(language: str) -> None:
    prompts = steering.prompts()[language]
    assert len(set(prompts)) == len(prompts) >= 6
    assert all(prompt == prompt.rstrip() for prompt in prompts)
