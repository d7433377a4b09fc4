"""The null of similarity in the study: what is read, tested, drawn; and that it says when it cannot."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from tl_ext.concepts import emotions
from tl_ext.concepts.concept import Concept, Example
from tl_ext.concepts.matched import in_shared_frames
from tl_ext.dictionaries.reading import background_statistics, chosen_latents, word_latents
from tl_ext.errors import InputError
from tl_ext.study.analyses import similarity_null
from tl_ext.study.calls.similarity import feature_similarity
from tl_ext.study.calls.similarity_null import similarity_null as similarity_null_call
from tl_ext.study.collecting import word_groups
from tl_ext.study.session import Session, open_session


@pytest.fixture(scope="module")
def session(checkpoint: Path, dictionaries: Path, background: tuple[str, ...]) -> Session:
    return open_session(
        model=checkpoint,
        dictionaries=[dictionaries],
        concepts=emotions.concepts(["happy", "sad"]),
        background=background,
        progress=False,
        matched=[*emotions.matched(["en"])[:21], *emotions.matched(["fr"])[:5]],
    )


@pytest.fixture(scope="module")
def read(session: Session) -> dict[str, torch.Tensor]:
    return similarity_null.collect(session, {})


@pytest.fixture(scope="module")
def tables(read: dict[str, torch.Tensor], session: Session) -> dict[str, pd.DataFrame]:
    return similarity_null.tabulate({similarity_null.NAME: read}, session.plan)


def test_latents_are_chosen_on_one_half_of_the_sentences(
    session: Session, tables: dict[str, pd.DataFrame]
) -> None:
    happy = session.concepts[0]
    own, _ = in_shared_frames(happy, [one for one in session.matched if one.language == "en"])
    latents = word_latents(session.model, session.dictionaries, own[::2])
    table = tables["similarity_null"]
    mine = table[(table["concept"] == "happy") & (table["language"] == "en")]
    for id in session.dictionaries:
        expected = latents[id].mean(0).argsort(descending=True)[:3].tolist()
        group = mine.loc[mine["dictionary"] == id, "latents"].unique()
        assert group.tolist() == [" ".join(str(one) for one in expected)]


def test_alikeness_is_measured_on_the_other_half_of_the_background(
    session: Session, tables: dict[str, pd.DataFrame]
) -> None:
    table = tables["similarity_null"]
    for id in ("blocks.1.hook_resid_pre", "blocks.2.attn.hook_z"):
        mine = table[(table["dictionary"] == id) & (table["concept"] == "sad")]
        mine = mine[mine["language"] == "fr"].set_index("measure")
        group = [int(one) for one in mine["latents"].iloc[0].split()]
        found = feature_similarity(
            session.model, session.dictionaries, {id: group}, session.background[1::2]
        ).table
        for measure in ("cosine", "correlation", "contributions"):
            expected = found[measure].mean()  # leaves undefined pairs out
            assert mine["observed"][measure] == pytest.approx(expected, abs=1e-4, nan_ok=True)


def test_null_words_are_treated_as_the_concept_is(
    session: Session, tables: dict[str, pd.DataFrame]
) -> None:
    """A null word's value is what the same test gives where that word is the concept."""
    tall = next(one for one in session.matched if one.label == "tall (en)")
    others = [one for one in session.matched if one.language == "en" and one is not tall]
    swapped = open_like(session, [tall], others)
    again = similarity_null.tabulate(
        {similarity_null.NAME: similarity_null.collect(swapped, {})}, swapped.plan
    )["similarity_null"]
    values = tables["similarity_null_values"]
    mine = values[(values["word"] == "tall") & (values["concept"] == "happy")]
    joined = mine.merge(again, on=["dictionary", "measure"])
    assert len(joined) == 3 * len(session.dictionaries)
    assert joined["value"].tolist() == pytest.approx(
        joined["observed"].tolist(), abs=1e-5, nan_ok=True
    )


def open_like(session: Session, concepts: list[Concept], matched: list[Concept]) -> Session:
    from tl_ext.study.session import labels_of

    return replace(
        session,
        concepts=tuple(concepts),
        matched=tuple(matched),
        plan=replace(session.plan, concepts=labels_of(concepts), matched=labels_of(matched)),
    )


def test_every_concept_dictionary_and_measure_has_a_test(
    session: Session, tables: dict[str, pd.DataFrame]
) -> None:
    table, pooled = tables["similarity_null"], tables["similarity_null_pooled"]
    assert len(table) == len(session.dictionaries) * 4 * 3
    assert len(pooled) == 3 * 4 * 3
    known = table["p"].dropna()
    assert ((known > 0) & (known <= 1)).all()
    english, french = (table[table["language"] == one] for one in ("en", "fr"))
    assert (english["words"] == 21).all() and (english["smallest_p"] == 1 / 22).all()
    # Five words cannot give a p of 0.05, and the test says so.
    assert (french["smallest_p"] == 1 / 6).all()
    assert set(french["decision"]) == {"cannot decide"}
    assert set(english.loc[english["measure"] == "cosine", "decision"]) <= {"shown", "not shown"}
    inside = table.dropna(subset=["low"])
    assert (inside["low"] <= inside["high"]).all() and len(inside)


def test_firing_rates_and_their_pools_are_of_the_first_half(
    session: Session, read: dict[str, torch.Tensor]
) -> None:
    id = "blocks.1.hook_resid_pre"
    rate = background_statistics(session.model, session.dictionaries, session.background[::2])[id]
    pool = read[f"{id}/pool"].long()
    torch.testing.assert_close(read[f"{id}/firing_rate"], rate.firing_rate[pool])
    stored = torch.zeros(len(read["text"]), session.plan.by_id[id].d_latent)
    stored[read[f"{id}/row"].long(), read[f"{id}/latent"].long()] = read[f"{id}/value"]
    dense = chosen_latents(
        session.model, session.dictionaries, session.background[1::2], {id: pool}
    )[id]
    torch.testing.assert_close(stored[:, pool], dense)


def test_the_figures_stand_beside_their_heatmap_and_say_the_verdicts(
    session: Session, tables: dict[str, pd.DataFrame], tmp_path: Path
) -> None:
    figures = similarity_null.draw(tables, session.plan)
    assert list(figures) == [
        "similarity-null-en",
        "similarity-null-fr",
        "similarity-null-pooled",
        "similarity-null-tests",
        "similarity-null",
        "similarity-null-words",
    ]
    kinds = [type(one).__name__ for one in figures["similarity-null-en"].mark.panels]  # type: ignore[attr-defined]
    assert kinds[0] == "Heatmap" and set(kinds[1:]) == {"Histogram"}
    figures["similarity-null-en"].mark.save(tmp_path / "null.png")
    assert any("happy (en)" in said for said in figures["similarity-null-pooled"].may)
    assert "21 matched words" in figures["similarity-null-en"].caption
    assert "Cannot decide" in figures["similarity-null-fr"].may[0]


def test_the_call_gives_the_studys_tables(
    session: Session, tables: dict[str, pd.DataFrame]
) -> None:
    found = similarity_null_call(
        session.model, session.dictionaries, session.concepts, session.background, session.matched
    )
    pd.testing.assert_frame_equal(found.table, tables["similarity_null"])
    pd.testing.assert_frame_equal(found.pooled, tables["similarity_null_pooled"])
    assert len(found.verdicts) == len(found.pooled)
    assert "not shown" in repr(found) and "<table" in found._repr_html_()
    drawn = found.figure("sad", "fr", "blocks.1.attn.hook_z")
    assert drawn.panels[0].rows[0].startswith("L1 z #")
    assert drawn.title == "sad (fr), blocks.1.attn.hook_z"
    with pytest.raises(InputError, match=r"no dictionary 'blocks\.9'"):
        found.figure(dictionary="blocks.9")


def test_the_call_says_what_it_cannot_do(session: Session) -> None:
    arguments = (session.model, session.dictionaries["blocks.1.hook_resid_pre"])
    stolz = Concept("proud", "de", (Example("Ich bin stolz.", "stolz"),))
    found = similarity_null_call(*arguments, stolz, session.background)
    assert set(found.pooled["decision"]) == {"cannot decide"}
    assert "there are no matched words" in found.verdicts[0]
    with pytest.raises(InputError, match="no null to draw"):
        found.figure()
    with pytest.raises(InputError, match="at least 2"):
        similarity_null_call(*arguments, stolz, session.background, top=1)
    with pytest.raises(InputError, match="no texts"):
        similarity_null_call(*arguments, stolz, [])


def test_words_are_put_in_the_place_of_ones_own_concept(session: Session) -> None:
    proud = Concept(
        "proud", "en", tuple(Example(f"{who} so proud.", "proud") for who in ("I am", "She is"))
    )
    found = similarity_null_call(
        session.model,
        session.dictionaries["blocks.1.hook_resid_pre"],
        proud,
        session.background,
    )
    assert found.words["null_words"].tolist() == [79] and found.words["frames"].tolist() == [1]
    assert (found.table["words"] == 79).all()


def test_a_language_without_matched_words_cannot_be_decided(session: Session) -> None:
    alone = open_like(session, list(session.concepts), [])
    found = similarity_null.tabulate(
        {similarity_null.NAME: similarity_null.collect(alone, {})}, alone.plan
    )
    assert set(found["similarity_null"]["decision"]) == {"cannot decide"}
    assert (found["similarity_null"]["words"] == 0).all()
    assert found["similarity_null_words"].empty
    figures = similarity_null.draw(found, alone.plan)
    assert "Nothing could be tested" in figures["similarity-null"].may[0]


def test_a_concept_is_compared_in_the_frames_it_shares(session: Session) -> None:
    """Two concepts with other frames: each is compared in its own."""
    words = [one for one in session.matched if one.language == "en"]
    happy = session.concepts[0]
    own, _ = in_shared_frames(happy, words)
    few = Concept("glad", "en", own[1:7])
    none = Concept("odd", "en", (Example("It is strange, really.", "strange"),))
    (language,) = word_groups.by_language([happy, few, none], words)
    assert [len(one) for one in language.own] == [14, 3, 0]
    for frames, texts in zip(language.frames, language.own, strict=True):
        places = [language.texts[0][frame].text for frame in frames]
        assert [text.text.replace("happy", "tall") for text in texts] == places
    swapped = open_like(session, [happy, few, none], words)
    found = similarity_null.tabulate(
        {similarity_null.NAME: similarity_null.collect(swapped, {})}, swapped.plan
    )["similarity_null"]
    by_concept = found.groupby("concept")["words"].max()
    assert by_concept.to_dict() == {"happy": 21, "glad": 21, "odd": 0}


def test_one_background_text_leaves_directions_alone(session: Session) -> None:
    one = replace(session, background=session.background[:1])
    found = similarity_null.tabulate(
        {similarity_null.NAME: similarity_null.collect(one, {})}, one.plan
    )["similarity_null"]
    by_measure = found.groupby("measure")["observed"].count()
    assert by_measure["correlation"] == 0 and by_measure["cosine"] > 0
    assert set(found.loc[found["measure"] == "correlation", "decision"]) == {"cannot decide"}
    with pytest.raises(InputError, match="no measure"):
        from tl_ext.analysis.similarity_null import verdict

        verdict({"measure": "angle"}, "")
