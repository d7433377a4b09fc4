"""The background pass, the dashboards made from its tables, and the call for a notebook."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tl_ext.dictionaries.example_records import LatentExamples
from tl_ext.dictionaries.reading import background_statistics
from tl_ext.errors import DictionaryError, InputError
from tl_ext.report.dashboard import Dashboards
from tl_ext.study.analyses import background, latent_examples, readings
from tl_ext.study.calls.dashboards import latent_dashboard
from tl_ext.study.session import Session, open_session

Tensors = dict[str, dict[str, torch.Tensor]]


@pytest.fixture(scope="module")
def session(checkpoint: Path, dictionaries: Path, background: tuple[str, ...]) -> Session:
    return open_session(
        model=checkpoint, dictionaries=[dictionaries], background=background, progress=False
    )


@pytest.fixture(scope="module")
def tensors(session: Session) -> Tensors:
    read = {"background": background.collect(session, {})}
    return read | {"readings": readings.collect(session, read)}


def test_the_readings_take_the_background_from_the_one_pass(
    session: Session, tensors: Tensors
) -> None:
    expected = background_statistics(
        session.model,
        session.dictionaries,
        session.background,
        max_tokens=session.plan.max_tokens,
    )
    found = readings.Readings(tensors["readings"], session.plan)
    for id, known in expected.items():
        assert found.tokens == known.tokens
        torch.testing.assert_close(found.firing_rate(id), known.firing_rate)
        torch.testing.assert_close(found.largest(id), known.largest, rtol=1e-4, atol=1e-5)
        assert found.usual_norm(id) == pytest.approx(known.usual_norm, rel=1e-3)


def test_a_dashboard_says_what_was_found(session: Session, tensors: Tensors) -> None:
    tables = latent_examples.tabulate(tensors, session.plan)
    statistics, contexts = tables["latent_statistics"], tables["latent_examples"]
    assert len(statistics) == 3 * len(session.plan.concepts)
    figure = latent_examples.draw(tables, session.plan)["latent_examples"]
    assert isinstance(figure.mark, Dashboards) and figure.may and figure.may_not
    assert set(figure.mark.groups) == {one.label for one in session.plan.concepts}
    examples = LatentExamples(tensors["background"])
    for row, one in zip(statistics.to_dict("records"), figure.mark.latents, strict=True):
        alone = latent_dashboard(examples, session.plan.focus, row["latent"], contexts=8)
        assert replace(one, facts=one.facts[:-1]) == alone
        assert one.facts[-1][0] == f"mean at the words of {row['concept']} ({row['language']})"
        mine = contexts[
            (contexts["concept"] == row["concept"])
            & (contexts["language"] == row["language"])
            & (contexts["latent"] == row["latent"])
        ]
        assert len(mine) == len(one.contexts)
        assert mine["activation"].is_monotonic_decreasing
        assert sum(json.loads(row["histogram"])) == row["fired"]
        for context, shown in zip(mine.to_dict("records"), one.contexts, strict=True):
            text = session.background[context["text"]]
            assert "".join(json.loads(context["tokens"])).strip() in text
            assert shown.note == f"text {context['text']}"


def test_a_latent_that_never_fired_has_a_dashboard_too(tensors: Tensors, session: Session) -> None:
    examples = LatentExamples(tensors["background"])[session.plan.focus]
    silent = int((examples.tensors["fired"] == 0).nonzero()[0])
    one = latent_dashboard(examples, session.plan.focus, silent)
    assert one.facts == (("fires on", f"0 % of {examples.tokens:,} tokens"),)
    assert "It fired on no text" in one._repr_html_()


def test_bad_input_says_what_to_do(tensors: Tensors, session: Session) -> None:
    examples = LatentExamples(tensors["background"])
    with pytest.raises(DictionaryError, match="no examples of 'nowhere'"):
        latent_dashboard(examples, "nowhere", 1)
    with pytest.raises(InputError, match="Latent 4000"):
        latent_dashboard(examples, session.plan.focus, 4000)


def test_without_concepts_that_fire_nothing_is_drawn(session: Session, tensors: Tensors) -> None:
    silent = {
        name: torch.zeros(0, dtype=one.dtype)
        if name.rsplit("/", 1)[-1] in ("row", "latent", "value")
        else one
        for name, one in tensors["readings"].items()
    }
    tables = latent_examples.tabulate(tensors | {"readings": silent}, session.plan)
    assert latent_examples.draw(tables, session.plan) == {}
