"""Ablations in the study: from the sets of a concept's two languages to figures and sentences."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from torch import Tensor

from tl_ext.activations.store import tensor_text
from tl_ext.study.analyses import ablation_effects, crosslingual, readings
from tl_ext.study.session import Session, open_session

Found = dict[str, dict[str, Tensor]]


@pytest.fixture(scope="module")
def session(checkpoint: Path, dictionaries: Path, background: tuple[str, ...]) -> Session:
    whole = open_session(
        model=checkpoint, dictionaries=[dictionaries], background=background, progress=False
    )
    label = whole.plan.by_id[whole.plan.focus]
    return replace(
        whole,
        dictionaries=whole.dictionaries.choose(ids=[label.id]),
        plan=replace(whole.plan, dictionaries=(label,)),
    )


@pytest.fixture(scope="module")
def needs(session: Session) -> Found:
    found: Found = {}
    for analysis in (readings, crosslingual):
        found[analysis.NAME] = analysis.collect(session, found)
    return found


@pytest.fixture(scope="module")
def tensors(session: Session, needs: Found) -> Found:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ablation_effects, "sets", lambda table: GROUPS)
        return {**needs, ablation_effects.NAME: ablation_effects.collect(session, needs)}


GROUPS = {"weak shared": [1, 5, 9], "private en": [4], "private fr": []}


def test_every_set_is_asked_about_in_both_languages(tensors: Found) -> None:
    asked = json.loads(tensor_text(tensors[ablation_effects.NAME]["asked"]))
    assert [(one["labels"]["language"], one["labels"]["strong"]) for one in asked] == [
        ("en", "in place"),
        ("en", "taken out"),
        ("fr", "in place"),
        ("fr", "taken out"),
    ]
    members = ["weak shared #1", "weak shared #5", "weak shared #9"]
    assert list(asked[0]["sets"]) == ["weak shared", "private en", *members]
    assert list(asked[2]["sets"]) == ["weak shared", *members]
    assert asked[1]["sets"] == {"weak shared": GROUPS["weak shared"]}
    assert "heureux" in asked[2]["words"] and " over triste" in asked[2]["words"]


def test_tables_and_figures(session: Session, tensors: Found) -> None:
    tables = ablation_effects.tabulate(tensors, session.plan)
    summary = tables["ablation_effects"]
    assert set(summary["decision"]) <= {"shown", "not shown", "cannot decide"}
    assert (summary["texts"] == 33).all()
    assert len(tables["ablation_effects_verdicts"])
    by_text = tables["ablation_effects_by_text"]
    assert len(by_text) == 33 * (5 + 1 + 4 + 1)
    assert "ablation-verdicts" in ablation_effects.draw(tables, session.plan)
    # Too few latents are active here for sets to be matched in enough texts; draw as if they were.
    more = {**tables, "ablation_effects": summary.assign(matched=33)}
    more["ablation_effects_random"] = pd.concat(
        tables["ablation_effects_random"].assign(role=role) for role in ("set", "relabelled")
    )
    figures = ablation_effects.draw(more, session.plan)
    assert set(figures) == {
        f"ablation-{n}" for n in ("verdicts", "differences", "members", "random")
    }
    for figure in figures.values():
        assert figure.caption and figure.may and figure.may_not
        assert figure.mark.describe()


def test_without_weak_latents_it_says_so(session: Session, needs: Found) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ablation_effects, "sets", lambda table: {"weak shared": []})
        found = {**needs, ablation_effects.NAME: ablation_effects.collect(session, needs)}
    tables = ablation_effects.tabulate(found, session.plan)
    assert "fire weakly" in tables["ablation_effects_verdicts"]["verdict"].iloc[0]
    assert set(ablation_effects.draw(tables, session.plan)) == {"ablation-verdicts"}
    one_language = replace(session, plan=replace(session.plan, concepts=session.plan.concepts[:3]))
    found = ablation_effects.collect(one_language, needs)
    assert "one language only" in tensor_text(found["notes"])
