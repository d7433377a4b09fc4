"""The analysis of two languages: read on a tiny model, tabled and drawn without one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pytest
import torch

from tl_ext.concepts.concept import Concept, Example
from tl_ext.dictionaries.reading import word_latents
from tl_ext.study.analyses import crosslingual, readings
from tl_ext.study.collecting import word_members
from tl_ext.study.session import Session, open_session

Tensors = Mapping[str, Mapping[str, torch.Tensor]]


@pytest.fixture(scope="module")
def session(checkpoint: Path, dictionaries: Path, background: tuple[str, ...]) -> Session:
    return open_session(
        model=checkpoint,
        dictionaries=[
            dictionaries / "blocks.1.hook_resid_pre",
            dictionaries / "blocks.1.attn.hook_z",
        ],
        background=background,
        progress=False,
    )


@pytest.fixture(scope="module")
def tensors(session: Session) -> Tensors:
    read = readings.collect(session, {})
    return {
        readings.NAME: read,
        crosslingual.NAME: crosslingual.collect(session, {readings.NAME: read}),
    }


@pytest.fixture(scope="module")
def tables(tensors: Tensors, session: Session) -> dict[str, pd.DataFrame]:
    return crosslingual.tabulate(tensors, session.plan)


def test_a_control_stands_in_its_texts_frame() -> None:
    def texts(word: str, *frames: str) -> tuple[Example, ...]:
        return tuple(Example(frame.format(word), word) for frame in frames)

    concept = Concept(
        "happy",
        "en",
        texts("happy", "I am so {} that I sing.", "He is {}.", "We are {}."),
        texts("tired", "We are {}.", "I am {} and I sing.", "He is {}.", "They are {}."),
    )
    assert word_members.frame_pairs(concept).tolist() == [[0, 1], [1, 2], [2, 0]]


def test_other_words_are_as_long_and_as_frequent(session: Session) -> None:
    concepts = [one for one in session.concepts if one.language == "en"]
    of_language = [index for index, one in enumerate(session.matched) if one.language == "en"]
    frequencies = torch.full((len(concepts) + len(of_language),), -30.0)
    frequencies[: len(concepts)] = -8
    wanted = word_members._alike(session, "en", concepts, None)[::2]
    for index in wanted:
        frequencies[len(concepts) + of_language.index(index)] = -8.5
    assert set(wanted) < set(word_members._alike(session, "en", concepts, frequencies))


def test_what_belongs_to_a_word_is_found_again_from_its_latents(
    tensors: Tensors, session: Session
) -> None:
    mine, id = tensors[crosslingual.NAME], "blocks.1.hook_resid_pre"
    plan, concepts = session.plan, [one for one in session.concepts if one.language == "fr"]
    matched = mine["fr/matched"]
    assert 30 < len(matched) <= word_members.WORDS
    assert {plan.matched[int(one)].language for one in matched} == {"fr"}
    members = word_members.members(
        mine, id, "fr", words=len(concepts) + len(matched), d_latent=plan.by_id[id].d_latent
    )
    word = session.matched[int(matched[0])]
    firing = word_latents(session.model, session.dictionaries, word, over_tokens="mean")[id] > 0
    assert members.any()
    assert not members[len(concepts)][~firing.any(0)].any()


def test_tables_agree_with_one_another(tables: dict[str, pd.DataFrame], session: Session) -> None:
    counts, sharing = tables["crosslingual_counts"], tables["crosslingual_sharing"]
    assert len(counts) == len(session.dictionaries) * 3
    for id in session.dictionaries:
        mine = counts[counts["dictionary"] == id]
        row = sharing[sharing["scope"] == id].iloc[0]
        assert row["both"] == mine["belong_both"].sum()
        assert row["either"] == mine["belong_either"].sum()
        latents = tables["crosslingual"].query("dictionary == @id")
        assert mine["shown_shared"].sum() == (latents["kind"] == "shared").sum()
        assert (latents["belongs_a"] & latents["belongs_b"]).sum() == mine["belong_both"].sum()
    assert set(sharing["scope"]) >= {"attention", "residual stream", "all dictionaries"}
    assert sharing["p"].dropna().between(0, 1, inclusive="right").all()


def test_a_kind_without_dictionaries_is_said_not_to_be_tested(
    tables: dict[str, pd.DataFrame],
) -> None:
    kinds = tables["crosslingual_kinds"].set_index(["first", "second"])
    assert kinds.loc[("attention", "MLP"), "verdict"] == "not tested"
    assert kinds.loc[("attention", "residual stream"), "verdict"] != "not tested"
    assert tables["crosslingual_verdicts"]["verdict"].str.contains("MLP: not tested").sum() == 1


def test_figures_are_drawn_from_tables_alone(
    tables: dict[str, pd.DataFrame], session: Session, tmp_path: Path
) -> None:
    figures = crosslingual.draw(tables, session.plan)
    assert {"crosslingual", "crosslingual-verdicts", "crosslingual-null"} <= set(figures)
    for figure in figures.values():
        assert figure.caption and figure.may and figure.may_not
        figure.mark.save(tmp_path / "figure.html")


def test_one_language_or_no_controls_leave_nothing_to_compare(
    checkpoint: Path, dictionaries: Path, background: tuple[str, ...]
) -> None:
    said = [
        Concept("happy", language, (Example(f"{start} {word}.", word),))
        for language, start, word in (("en", "I am", "happy"), ("fr", "Je suis", "heureux"))
    ]
    for concepts in (said[:1], said):
        session = open_session(
            model=checkpoint,
            dictionaries=[dictionaries / "blocks.1.hook_resid_pre"],
            concepts=concepts,
            background=background,
            progress=False,
        )
        read = readings.collect(session, {})
        stored = {
            readings.NAME: read,
            crosslingual.NAME: crosslingual.collect(session, {readings.NAME: read}),
        }
        tables = crosslingual.tabulate(stored, session.plan)
        assert crosslingual.draw(tables, session.plan) == {}
