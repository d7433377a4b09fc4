"""Batches: prefix, padding, masks and positions, on both sides and for every kind of tokenizer."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.tiny import CONTEXT, make_tiny_model, tiny_model, tiny_tokenizer

from tl_ext.errors import InputError
from tl_ext.models.tokens import batch, from_ids
from tl_ext.upstream import prefix_ids

WORDS = st.lists(st.integers(4, 60).map("w{}".format), max_size=8).map(" ".join)
TEXTS = st.lists(WORDS.filter(bool), min_size=1, max_size=5)


@given(texts=TEXTS, side=st.sampled_from(["left", "right"]))
def test_padding_changes_nothing(texts: list[str], side: str) -> None:
    """Each text of a batch, where pad = bos = eos, gets the logits it gets alone."""
    model = tiny_model("gpt2")
    together = batch(model, texts, padding_side=side)
    with torch.no_grad():
        logits = model(together.ids, **together.forward_arguments())
        for row, text in enumerate(texts):
            alone = batch(model, [text])
            expected = model(alone.ids, **alone.forward_arguments())[0]
            torch.testing.assert_close(
                logits[row][together.mask[row]], expected, atol=1e-5, rtol=1e-4
            )


@pytest.mark.parametrize("family", ["llama", "qwen2", "gpt_neox", "phi"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_nothing_in_other_families(family: str, side: str) -> None:
    model = tiny_model(family)
    texts = ["w5 w6 w7 w8 w9", "w12 w13"]
    together, alone = batch(model, texts, padding_side=side), batch(model, texts[1:])
    with torch.no_grad():
        logits = model(together.ids, **together.forward_arguments())[1][together.mask[1]]
        expected = model(alone.ids, **alone.forward_arguments())[0]
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-4)


@given(texts=TEXTS, side=st.sampled_from(["left", "right"]))
def test_offset_is_where_the_text_begins(texts: list[str], side: str) -> None:
    model = tiny_model("gpt2")
    tokens = batch(model, texts, padding_side=side)
    for row, text in enumerate(texts):
        ids = model.tokenizer(text, add_special_tokens=False)["input_ids"]
        start = int(tokens.offset[row])
        assert tokens.ids[row, start : start + len(ids)].tolist() == ids
        assert int(tokens.mask[row].sum()) == len(ids) + 1
        assert int(tokens.lengths[row]) == len(ids)
        assert tokens.positions[row][tokens.mask[row]].tolist() == list(range(len(ids) + 1))
        # With a prefix of one, the first position is the prefix, so all of the text is content.
        assert int(tokens.content[row].sum()) == len(ids)


def test_without_a_prefix_the_first_token_is_no_content() -> None:
    tokens = batch(tiny_model("qwen2"), ["w5 w6 w7"])
    assert tokens.offset.tolist() == [0]
    assert tokens.content.tolist() == [[False, True, True]]


def test_an_eos_inside_a_text_is_a_real_token() -> None:
    """The mask comes from lengths: a text that holds the padding token keeps it."""
    tokens = batch(tiny_model("gpt2"), ["w5 <eos> w6", "w7"])
    assert tokens.mask[0].all()


@pytest.mark.parametrize(("one_special_token", "expected"), [(True, [2]), (False, [])])
def test_prefix_is_bos_or_nothing_but_never_eos(
    one_special_token: bool, expected: list[int]
) -> None:
    assert prefix_ids(tiny_tokenizer(one_special_token=one_special_token)) == expected


def test_eos_that_booting_wrote_into_a_tokenizer_as_bos_is_no_prefix() -> None:
    from transformer_lens.model_bridge.sources.transformers import setup_tokenizer

    booted = setup_tokenizer(tiny_tokenizer(one_special_token=False))
    assert booted.bos_token_id == booted.eos_token_id
    assert prefix_ids(booted) == []


def test_prefix_of_two_tokens_is_taken_from_the_tokenizer() -> None:
    from tokenizers import processors

    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="w40 w41 $A <eos>", special_tokens=[("w40", 40), ("w41", 41), ("<eos>", 2)]
    )
    assert prefix_ids(tokenizer) == [40, 41]


def test_a_given_prefix_replaces_the_models_own() -> None:
    tokens = batch(tiny_model("gpt2"), ["w5"], prefix=[9, 8])
    assert tokens.ids.tolist() == [[9, 8, 5]]
    assert batch(tiny_model("gpt2"), ["w5"], prefix=()).ids.tolist() == [[5]]


def test_too_long_a_text_is_named_or_cut() -> None:
    model, text = tiny_model("gpt2"), " ".join(["w5"] * CONTEXT)
    with pytest.raises(InputError, match=rf"Text 1 .*{CONTEXT + 1} tokens.*max_tokens={CONTEXT}"):
        batch(model, ["w6", text])
    assert batch(model, ["w6", text], max_tokens=CONTEXT).ids.shape == (2, CONTEXT)


def test_bad_input_says_what_to_do() -> None:
    model = tiny_model("qwen2")
    with pytest.raises(InputError, match="no texts"):
        batch(model, [])
    with pytest.raises(InputError, match="list of texts"):
        batch(model, "w5")
    with pytest.raises(InputError, match="Text 1 has no tokens"):
        batch(model, ["w5", ""])


def test_rows_of_ids_are_padded_as_texts_are() -> None:
    model = make_tiny_model("gpt2")
    from_texts = batch(model, ["w5 w6", "w7"], padding_side="left")
    rows = from_ids(model, [[2, 5, 6], [2, 7]], prefix_length=1, padding_side="left")
    for name in ("ids", "mask", "positions", "offset"):
        assert torch.equal(getattr(from_texts, name), getattr(rows, name))


@given(texts=TEXTS, side=st.sampled_from(["left", "right"]), cut=st.none() | st.integers(2, 9))
def test_cells_are_the_tokens_that_spans_hold(texts: list[str], side: str, cut: int | None) -> None:
    model = tiny_model("gpt2")
    tokens = batch(model, texts, padding_side=side, max_tokens=cut)
    words = [text.split() for text in texts]
    cells = tokens.cells([[(0, 1), (len(each) - 1, len(each))] for each in words])
    for row, each in enumerate(words):
        chosen = [each[0], *each[1:][-1:]] if cut is None or len(each) < cut else [each[0]]
        found = model.tokenizer.convert_ids_to_tokens(tokens.ids[row, cells[row]])
        assert found == chosen
    assert not tokens.cells([[] for _ in texts]).any()
    with pytest.raises(InputError, match="1 lists of spans") if len(texts) != 1 else nullcontext():
        tokens.cells([[(0, 1)]])


def test_a_batch_is_shown_in_two_lines() -> None:
    assert repr(batch(tiny_model("gpt2"), ["w5 w6 w7", "w8"])) == (
        "<Batch: 2 texts, 4 tokens besides prefixes\n  ids [2, 4], 2 of its cells padding, on cpu>"
    )


def test_a_length_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="max_tokens is -2"):
        batch(tiny_model("gpt2"), ["w5 w6"], max_tokens=-2)


@pytest.mark.parametrize(
    "text", ["I am happy today.", "我很快乐，他也很快乐。", "L'homme est heureux"]
)
def test_strings_of_tokens_are_the_text_even_where_tokens_split_characters(text: str) -> None:
    from tests.concepts.trained_tokenizers import trained

    from tl_ext.models.tokens import token_strings

    tokenizer = trained("byte-level")
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    strings = token_strings(tokenizer, ids)
    assert len(strings) == len(ids)
    assert "".join(strings) == text
