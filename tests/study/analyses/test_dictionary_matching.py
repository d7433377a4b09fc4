"""Dictionaries beside each other: the call, and the study's part, on the small study."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from tests.dictionaries.test_reading import dictionary
from tests.planted.worlds import directions, turned
from tests.tiny import tiny_model
from torch import Tensor

from tl_ext.analysis.matching import nearest
from tl_ext.dictionaries.dictionary import Dictionaries, renamed
from tl_ext.errors import InputError
from tl_ext.models.hook_points import to_residual
from tl_ext.study.analyses import dictionary_matching
from tl_ext.study.calls.matching import match_dictionaries
from tl_ext.study.session import Session, open_session


@pytest.fixture(scope="module")
def session(checkpoint: Path, dictionaries: Path, background: tuple[str, ...]) -> Session:
    return open_session(
        model=checkpoint, dictionaries=[dictionaries], background=background, progress=False
    )


def test_latents_at_hook_z_are_matched_in_the_residual_stream() -> None:
    model = tiny_model("gpt2")
    pre, z = dictionary("pre", "blocks.1.hook_resid_pre"), dictionary("z", "blocks.0.attn.hook_z")
    found = match_dictionaries(model, z, pre, draws=19)
    mapped = to_residual(model, "blocks.0.attn.hook_z", z.directions)
    expected = nearest(mapped, pre.directions)
    assert found.table["latent_b"].tolist() == expected.index.flatten().tolist()
    assert set(found.table["latent_a"][found.table["mutual"]]) == set(
        found.chance.observed.table["latent_a"]
    )
    assert found.table["assigned_b"].is_unique
    with pytest.raises(InputError, match="Give the model as well"):
        match_dictionaries(None, z, pre)


def test_a_dictionary_is_its_own_best_match() -> None:
    pre = dictionary("pre", "blocks.1.hook_resid_pre")
    found = match_dictionaries(None, pre, renamed(pre, "again"), draws=19, progress=True)
    assert (found.table["latent_a"] == found.table["latent_b"]).all()
    assert found.table["mutual"].all() and found.table["cosine"].eq(1).all()
    assert "pre against again" in found.verdict and "shown" in found.verdict
    assert found.verdict in repr(found)
    html = found._repr_html_()
    assert "<img" in html or "svg" in html
    sparse = match_dictionaries(None, pre, pre, draws=19, memory=0)
    assert "(sparse, within" in sparse.verdict


def with_directions(session: Session, *rows: Tensor) -> Session:
    """The session with other decoder directions in the residual stream."""
    changed = [
        replace(session.dictionaries[one.id], W_dec=directions)  # type: ignore[type-var]
        for one, directions in zip(session.plan.residual, rows, strict=True)
    ]
    return replace(session, dictionaries=Dictionaries(changed))


def tables_of(session: Session) -> dict[str, pd.DataFrame]:
    tensors = {dictionary_matching.NAME: dictionary_matching.collect(session, {})}
    return dictionary_matching.tabulate(tensors, session.plan)


def test_unrelated_dictionaries_are_no_more_alike_than_chance(session: Session) -> None:
    tables = tables_of(with_directions(session, *(directions(40, 16, seed=s) for s in range(3))))
    table = tables["dictionary_matching"]
    assert len(table) == 3 * 2 and len(tables["dictionary_assignment"]) == 2
    assert table["decision"].eq("not shown").all()
    assert (table["p_adjusted"] >= table["p"]).all()
    assert len(tables["dictionary_matching_chance"]) == 2 * dictionary_matching.DRAWS
    figures = dictionary_matching.draw(tables, session.plan)
    assert set(figures) == {"matching", "matching-assignment"}
    assert "0 of 2 pairs" in figures["matching"].may[0]


def test_planted_counterparts_are_shown(session: Session) -> None:
    rows = directions(40, 16, seed=0)
    tables = tables_of(with_directions(session, *(turned(rows, 15, seed=s) for s in range(3))))
    assert tables["dictionary_matching"]["decision"].eq("shown").all()
    assert (tables["dictionary_assignment"]["mean_cosine"] > 0.8).all()
    figures = dictionary_matching.draw(tables, session.plan)
    assert "2 of 2 pairs" in figures["matching"].may[0]


def test_one_dictionary_has_no_neighbour(session: Session) -> None:
    alone = replace(session.plan, dictionaries=session.plan.residual[:1])
    tables = dictionary_matching.tabulate({"dictionary_matching": {}}, alone)
    assert all(table.empty for table in tables.values())
    assert dictionary_matching.draw(tables, alone) == {}
