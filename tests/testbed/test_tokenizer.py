from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from tl_ext.testbed.corpus import Split
from tl_ext.testbed.tokenizer import END_OF_TEXT, learn_tokenizer


@pytest.fixture(scope="module")
def tokenizer(split: Split) -> PreTrainedTokenizerFast:
    return learn_tokenizer(split.train, context_length=48, vocabulary_size=400)


def test_english_words_are_one_token_and_french_ones_several(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    for word in (" brother", " teacher", " sleeps"):
        assert len(tokenizer(word)["input_ids"]) == 1, word
    for word in (" frère", " maître", " derrière"):
        assert len(tokenizer(word)["input_ids"]) >= 2, word


def test_one_special_token_serves_all_ends_as_for_gpt2(tokenizer: PreTrainedTokenizerFast) -> None:
    assert tokenizer.bos_token == tokenizer.eos_token == tokenizer.pad_token == END_OF_TEXT
    assert tokenizer.padding_side == "right"
    assert tokenizer.model_max_length == 48
    assert len(tokenizer) <= 400
    assert (
        tokenizer("The cat")["input_ids"]
        == tokenizer("The cat", add_special_tokens=False).input_ids
    )
    assert len(tokenizer(END_OF_TEXT)["input_ids"]) == 1


@pytest.fixture(scope="module")
def reloaded(
    tokenizer: PreTrainedTokenizerFast, tmp_path_factory: pytest.TempPathFactory
) -> PreTrainedTokenizerFast:
    folder: Path = tmp_path_factory.mktemp("tokenizer")
    tokenizer.save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


@given(st.text(max_size=40))
def test_any_text_survives_storing_encoding_and_decoding(
    reloaded: PreTrainedTokenizerFast, tokenizer: PreTrainedTokenizerFast, text: str
) -> None:
    text = text.replace(END_OF_TEXT, "")
    ids = reloaded(text)["input_ids"]
    assert ids == tokenizer(text)["input_ids"]
    assert reloaded.decode(ids) == text


def test_learning_is_determined_by_the_seed(split: Split) -> None:
    first, again = (learn_tokenizer(split.train, vocabulary_size=400, seed=5) for _ in range(2))
    assert first.get_vocab() == again.get_vocab()
