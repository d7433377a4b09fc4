"""Reading latents: the same numbers as text by text, token by token, by hand."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.dictionaries.saved import dictionary_of
from tests.tiny import WIDTH, tiny_model

from tl_ext.activations.capture import capture, iterate
from tl_ext.concepts.concept import Concept, Example
from tl_ext.dictionaries.dictionary import Dictionaries, renamed
from tl_ext.dictionaries.reading import (
    background_statistics,
    chosen_latents,
    encode_together,
    residual_directions,
    word_latents,
)
from tl_ext.errors import DictionaryError, InputError

TEXTS = ["w5 w6 w7 w8", "w9 w6 w6", "w10 w11 w12 w13 w14 w6", "w6 w20"]


def dictionary(id: str, hook_point: str, *, width: int = WIDTH, seed: int = 0):
    made = dictionary_of(
        "topk", d_in=width, d_sae=40, seed=seed, metadata={"hook_name": hook_point}
    )
    return renamed(made, id)


@pytest.fixture(scope="module")
def dictionaries() -> Dictionaries:
    return Dictionaries(
        [
            dictionary("pre", "blocks.1.hook_resid_pre"),
            dictionary("z", "blocks.0.attn.hook_z", seed=1),
            dictionary("other", "blocks.1.hook_resid_pre", seed=2),
        ]
    )


@pytest.mark.parametrize("batch_size", [1, 3, 32])
def test_word_latents_are_those_of_the_words_token(
    dictionaries: Dictionaries, batch_size: int
) -> None:
    model = tiny_model("gpt2")
    examples = [Example(text, "w6") for text in TEXTS]
    found = word_latents(model, dictionaries, examples, batch_size=batch_size)
    for id, one in dictionaries.items():
        for row, text in enumerate(TEXTS):
            alone = capture(model, [text], [one.hook_in]).activations[one.hook_in]
            tokens = [place for place, word in enumerate(text.split()) if word == "w6"]
            expected = one.encode(alone[tokens]).mean(0)  # occurrences are averaged
            torch.testing.assert_close(found[id][row], expected, atol=1e-5, rtol=1e-4)


@given(st.permutations(range(len(TEXTS))))
def test_rows_come_in_the_order_given(order: list[int]) -> None:
    model, one = tiny_model("gpt2"), dictionary("pre", "blocks.1.hook_resid_pre")
    examples = [Example(TEXTS[index], "w6") for index in order]
    found = word_latents(model, {"pre": one}, examples)["pre"]
    sorted_ = word_latents(model, {"pre": one}, [Example(text, "w6") for text in TEXTS])["pre"]
    torch.testing.assert_close(found, sorted_[order], atol=1e-5, rtol=1e-4)


def test_background_statistics_are_those_of_all_content_tokens(dictionaries: Dictionaries) -> None:
    model = tiny_model("gpt2")
    found = background_statistics(model, dictionaries, TEXTS, batch_size=2)
    for id, one in dictionaries.items():
        rows = capture(model, TEXTS, [one.hook_in]).activations[one.hook_in]
        latents = one.encode(rows)
        assert found[id].tokens == len(rows) == 15
        torch.testing.assert_close(found[id].firing_rate, (latents > 0).float().mean(0))
        torch.testing.assert_close(found[id].largest, latents.amax(0), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(found[id].mean, latents.mean(0), atol=1e-5, rtol=1e-4)
        assert found[id].usual_norm == pytest.approx(float(rows.norm(dim=-1).median()), rel=1e-4)


def test_chosen_latents_are_the_same_tokens_for_every_dictionary(
    dictionaries: Dictionaries,
) -> None:
    model = tiny_model("gpt2")
    chosen = {"pre": torch.tensor([3, 0]), "z": torch.tensor([7])}
    found = chosen_latents(model, dictionaries, TEXTS, chosen, batch_size=len(TEXTS))
    assert {id: tuple(rows.shape) for id, rows in found.items()} == {"pre": (15, 2), "z": (15, 1)}
    rows = capture(model, TEXTS, ["blocks.1.hook_resid_pre"]).activations
    expected = dictionaries["pre"].encode(rows["blocks.1.hook_resid_pre"])[:, [3, 0]]
    torch.testing.assert_close(found["pre"].sum(0), expected.sum(0), atol=1e-4, rtol=1e-4)


def test_a_dictionary_that_needs_context_gets_the_sequence() -> None:
    class Cumulative:
        """Its latents at a token are the sum of the sequence up to it."""

        id, hook_in, d_in, d_latent, needs_context = (
            "c",
            "blocks.1.hook_resid_pre",
            WIDTH,
            WIDTH,
            True,
        )
        hook_out = hook_in

        def encode(self, x: torch.Tensor) -> torch.Tensor:
            assert x.ndim == 3
            return x.cumsum(1)

    model = tiny_model("gpt2")
    found = word_latents(model, {"c": Cumulative()}, [Example(TEXTS[0], "w7")])["c"][0]
    from tl_ext.activations.capture import run
    from tl_ext.models.tokens import batch

    tokens = batch(model, TEXTS[:1])
    whole = run(model, tokens, [Cumulative.hook_in])[Cumulative.hook_in][0]
    torch.testing.assert_close(found, whole[:4].sum(0), atol=1e-5, rtol=1e-4)


def test_a_word_at_a_first_position_is_refused_and_a_later_one_kept() -> None:
    model, one = tiny_model("qwen2"), dictionary("pre", "blocks.1.hook_resid_pre")
    with pytest.raises(InputError, match="Put something before it"):
        word_latents(model, {"pre": one}, [Example("w6 w20", "w6")])
    both = word_latents(model, {"pre": one}, [Example("w6 w20 w6", "w6")])["pre"]
    alone = capture(model, ["w6 w20 w6"], [one.hook_in]).activations[one.hook_in]
    torch.testing.assert_close(both[0], one.encode(alone[-1]), atol=1e-5, rtol=1e-4)


def test_a_dictionary_of_another_width_is_told() -> None:
    wide = dictionary("wide", "blocks.1.hook_resid_pre", width=WIDTH + 1)
    with pytest.raises(DictionaryError, match=f"width {WIDTH + 1} .* width {WIDTH}"):
        word_latents(tiny_model("gpt2"), {"wide": wide}, [Example("w5 w6", "w6")])
    with pytest.raises(InputError, match="no examples"):
        word_latents(tiny_model("gpt2"), {}, [])


def test_one_dictionary_and_a_concept_are_enough() -> None:
    model, one = tiny_model("gpt2"), dictionary("pre", "blocks.1.hook_resid_pre")
    examples = [Example(text, "w6") for text in TEXTS]
    several = word_latents(model, {"pre": one}, examples)
    alone = word_latents(model, one, Concept("six", "en", tuple(examples)))
    assert list(alone) == ["pre"] and torch.equal(alone["pre"], several["pre"])
    background = background_statistics(model, one, TEXTS)
    assert torch.equal(
        background["pre"].largest, background_statistics(model, {"pre": one}, TEXTS)["pre"].largest
    )
    with pytest.raises(InputError, match="A dictionary, or several by id, is expected, not list"):
        background_statistics(model, [one], TEXTS)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"pass concept\.examples"):
        word_latents(model, one, [Concept("six", "en", tuple(examples))])  # type: ignore[list-item]


def test_statistics_are_shown_in_two_lines() -> None:
    one = dictionary("pre", "blocks.1.hook_resid_pre")
    shown = repr(background_statistics(tiny_model("gpt2"), one, TEXTS)["pre"])
    assert shown.startswith("<BackgroundStatistics: 40 latents on 15 tokens, ")
    assert shown.count("\n") == 1 and "usual norm" in shown and "tensor" not in shown


@pytest.mark.parametrize("batch_size", [2, 32])
def test_several_dictionaries_are_encoded_at_the_same_content_tokens(
    dictionaries: Dictionaries, batch_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tl_ext.dictionaries.reading.ROWS_TOGETHER", 3)
    monkeypatch.setattr("tl_ext.dictionaries.reading.LATENTS_AT_ONCE", 1)
    model, points = tiny_model("gpt2"), list(dictionaries.hook_points)
    found: dict[str, list[torch.Tensor]] = {id: [] for id in dictionaries}
    for part in iterate(model, TEXTS, points, batch_size=batch_size):
        for rows in encode_together(dictionaries, part):
            assert {len(one) for one in rows.values()} <= {1, 2, 3}
            for id, one in rows.items():
                found[id].append(one)
    every = {id: torch.arange(40) for id in dictionaries}
    expected = chosen_latents(model, dictionaries, TEXTS, every, batch_size=batch_size)
    for id, parts in found.items():
        torch.testing.assert_close(torch.cat(parts), expected[id])


def test_directions_are_those_in_the_residual_stream(dictionaries: Dictionaries) -> None:
    model, one = tiny_model("gpt2"), dictionaries["z"]
    weight = model.blocks[0].attn.W_O.detach().flatten(0, 1)
    torch.testing.assert_close(residual_directions(model, one), one.directions @ weight)
    some = residual_directions(model, one, torch.tensor([3, 1]))
    torch.testing.assert_close(some, (one.directions @ weight)[[3, 1]])
    no_image = renamed(dictionary("q", "blocks.0.attn.hook_q"), "q")
    assert residual_directions(model, no_image).isnan().all()
