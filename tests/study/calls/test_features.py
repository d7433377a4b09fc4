"""Latents at concepts' words as notebook calls: the same numbers as the parts, figures, errors."""

from __future__ import annotations

import pytest
from tests.dictionaries.test_reading import dictionary
from tests.tiny import tiny_model

from tl_ext.concepts.concept import Concept, Example
from tl_ext.dictionaries.dictionary import Dictionaries
from tl_ext.dictionaries.reading import background_statistics, word_latents
from tl_ext.errors import InputError
from tl_ext.study.calls.features import concept_activations, shared_features

TEXTS = ["w5 w6 w7 w20", "w8 w6", "w30 w31 w32"]


def concept(name: str, word: str) -> Concept:
    frames = ("w5 {} w7", "w8 {}", "w9 w10 {}")
    return Concept(
        name,
        "en",
        tuple(Example(frame.format(word), word) for frame in frames),
        tuple(Example(frame.format("w40"), "w40") for frame in frames),
    )


@pytest.fixture(scope="module")
def dictionaries() -> Dictionaries:
    return Dictionaries(
        [dictionary("pre", "blocks.1.hook_resid_pre"), dictionary("z", "blocks.0.attn.hook_z")]
    )


def test_activations_are_those_read_at_each_concepts_words(dictionaries: Dictionaries) -> None:
    model, concepts = tiny_model("gpt2"), [concept("a", "w6"), concept("b", "w11")]
    found = concept_activations(model, dictionaries, concepts)
    for one in concepts:
        latents = word_latents(model, dictionaries, one.examples)
        for id in dictionaries:
            mine = found.table[
                (found.table["dictionary"] == id) & (found.table["concept"] == one.name)
            ]
            expected = latents[id].mean(0)
            assert mine["activation"].is_monotonic_decreasing
            assert mine["activation"].tolist() == pytest.approx(
                expected[mine["latent"].tolist()].tolist(), rel=1e-4
            )
    assert found.top(2).groupby(["dictionary", "concept"]).size().tolist() == [2, 2, 2, 2]
    assert "<img" in found._repr_html_() or "svg" in found._repr_html_()


def test_one_dictionary_and_one_concept_need_no_lists(dictionaries: Dictionaries) -> None:
    found = concept_activations(tiny_model("gpt2"), dictionaries["pre"], concept("a", "w6"))
    assert set(found.table["dictionary"]) == {"pre"}


def test_shared_features_take_their_firing_rate_from_the_background(
    dictionaries: Dictionaries,
) -> None:
    model, one = tiny_model("gpt2"), dictionaries["pre"]
    background = background_statistics(model, dictionaries, TEXTS)["pre"]
    a, b = concept("a", "w6"), concept("b", "w11")
    table = shared_features(model, one, a, b, background=background)
    assert set(table["kind"]) <= {"shared", "private a", "private b", "frame"}
    assert table["firing_rate"].tolist() == pytest.approx(
        background.firing_rate[table["latent"].tolist()].tolist()
    )
    assert shared_features(model, one, a, b)["firing_rate"].isna().all()
    with pytest.raises(InputError, match="at least 2"):
        shared_features(model, one, Concept("a", "en", a.examples), b)


def test_bad_input_says_what_to_do(dictionaries: Dictionaries) -> None:
    model = tiny_model("gpt2")
    with pytest.raises(InputError, match="no concepts"):
        concept_activations(model, dictionaries, [])
