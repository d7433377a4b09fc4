"""The analyses of layers on the small study: tables, figures, and what they cannot decide."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tl_ext.study.analyses import counterparts, layers, readings, similarity_null
from tl_ext.study.session import Session, open_session


@pytest.fixture(scope="module")
def session(checkpoint: Path, dictionaries: Path, background: tuple[str, ...]) -> Session:
    from tl_ext.concepts.emotions import concepts, matched

    return open_session(
        model=checkpoint,
        dictionaries=[dictionaries],
        concepts=concepts(names=["happy", "sad"]),
        matched=matched(["en"])[:25],
        background=background,
        progress=False,
    )


@pytest.fixture(scope="module")
def tensors(session: Session) -> dict[str, dict[str, torch.Tensor]]:
    needs = {
        "readings": readings.collect(session, {}),
        "similarity_null": similarity_null.collect(session, {}),
    }
    return {**needs, "counterparts": counterparts.collect(session, needs)}


def test_the_analysis_has_a_row_per_latent_other_layer_and_measure(
    session: Session, tensors: dict[str, dict[str, torch.Tensor]]
) -> None:
    tables = counterparts.tabulate(tensors, session.plan)
    table, tests = tables["counterparts"], tables["counterpart_tests"]
    assert set(table["measure"]) == {"cosine", "correlation"}
    assert (table["other_layer"] != table["layer"]).all()
    assert table.groupby(["dictionary", "measure", "concept", "latent"]).size().eq(2).all()
    assert set(tests["null"]) == {"chance", "firing rate", "words"}
    known = tests["p"].dropna()
    assert ((known > 0) & (known <= 1)).all()
    assert (tests["smallest"][tests["null"] == "words"] >= 1 / 26).all()
    figures = counterparts.draw(tables, session.plan)
    assert set(figures) == {"counterparts-resid_pre", "counterparts-z"}


def test_three_layers_and_two_concepts_cannot_decide_what_they_cannot(
    session: Session, tensors: dict[str, dict[str, torch.Tensor]]
) -> None:
    tables = layers.tabulate(tensors, session.plan)
    claims = tables["layer_claims"]
    nearby = claims[claims["claim"] == "nearby layers are more alike"]
    assert (nearby["decision"] == "cannot decide").all()
    first = claims[claims["against"] == "no difference, over concepts"]
    assert (first["smallest"] == 1 / 4).all() and (first["decision"] == "cannot decide").all()
    assert set(layers.draw(tables, session.plan)) == {"layer_claims", "layer-distance"}
    assert len(tables["layer_similarity"]) == 2 * 2 * 2 * 3


def test_the_same_seed_gives_the_same_tensors(
    session: Session, tensors: dict[str, dict[str, torch.Tensor]]
) -> None:
    again = counterparts.collect(session, tensors)
    for name, one in tensors["counterparts"].items():
        torch.testing.assert_close(again[name], one, equal_nan=True, rtol=0, atol=0)
