"""Counterparts as a notebook call: a row per latent, measure and other layer; figures, errors."""

from __future__ import annotations

import pytest
from tests.dictionaries.test_reading import dictionary
from tests.study.collecting.test_layer_search import LATENTS, TESTED, TEXTS, every
from tests.tiny import tiny_model

from tl_ext.dictionaries.dictionary import Dictionaries
from tl_ext.errors import InputError
from tl_ext.study.calls.counterparts import Counterparts, counterparts
from tl_ext.study.collecting.layer_search import by_cosine, families

POINTS = [f"blocks.{layer}.attn.hook_z" for layer in range(3)]


@pytest.fixture(scope="module")
def at_z() -> Dictionaries:
    return Dictionaries(dictionary(point, point, seed=seed) for seed, point in enumerate(POINTS))


@pytest.fixture(scope="module")
def found(at_z: Dictionaries) -> Counterparts:
    return counterparts(tiny_model("gpt2"), at_z, {"blocks.0.attn.hook_z": [7, 3]}, TEXTS)


def test_the_call_has_a_row_per_latent_measure_and_other_layer(
    found: Counterparts, at_z: Dictionaries
) -> None:
    table = found.table
    (family,) = families({id: one.hook_in for id, one in at_z.items()})
    assert table["latent"].tolist() == [3, 3, 7, 7] * 2
    assert table["measure"].tolist() == ["cosine"] * 4 + ["correlation"] * 4
    alone = by_cosine(
        tiny_model("gpt2"),
        at_z,
        family,
        every(LATENTS, family),
        every(TESTED, family),
        draws=1,
        seed=0,
    )[family.ids[0]]
    assert table["counterpart"].head(4).tolist() == alone.latent[1:3, 1:].flatten().tolist()
    assert table["similarity"].head(4).tolist() == pytest.approx(
        alone.similarity[1:3, 1:].flatten().tolist()
    )
    known = table.dropna(subset=["p"])
    assert ((known["p"] > 0) & (known["p"] <= known["p_adjusted"] + 1e-12)).all()
    assert (known["p"] >= known["smallest_p"]).all()
    undecided = found.table["p"].isna() | (found.table["smallest_p"] > 0.05)
    assert ((found.table["decision"] == "cannot decide") == undecided).all()


def test_the_call_draws_a_panel_per_latent_and_measure(found: Counterparts) -> None:
    assert len(found.figure().panels) == 4
    assert "2 latents" in repr(found)
    assert "<" in found._repr_html_()


def test_what_cannot_be_compared_is_told(at_z: Dictionaries) -> None:
    model, (first, *_) = tiny_model("gpt2"), at_z
    with pytest.raises(InputError, match="no other layer"):
        counterparts(model, at_z[first], {first: [1]}, TEXTS)
    with pytest.raises(InputError, match="0 to 39"):
        counterparts(model, at_z, {first: [40]}, TEXTS)
    with pytest.raises(InputError, match="no latents"):
        counterparts(model, at_z, {first: []}, TEXTS)
