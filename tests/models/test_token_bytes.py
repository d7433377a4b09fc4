"""Tokens as bytes: joined, they are the text, also where a character is several tokens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.concepts.trained_tokenizers import EXACT, trained
from tests.tiny import tiny_tokenizer

from tl_ext.models.token_bytes import strings, token_bytes
from tl_ext.models.tokens import token_strings

letters = st.text(st.sampled_from("hapy 'eux是我快乐。é🙂\n\t.ñ"), max_size=20)


@pytest.mark.parametrize("kind", EXACT)
@given(letters)
def test_joined_they_are_the_text(kind: str, text: str) -> None:
    tokenizer = trained(kind)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    shown = strings(ids, token_bytes(tokenizer, ids))
    assert len(shown) == len(ids)
    whole = tokenizer.decode(ids, clean_up_tokenization_spaces=False)
    # A window may begin within a sentence: its first token keeps its space.
    assert "".join(shown).removeprefix(" ") == whole.removeprefix(" ")
    if "byte-level" in kind:
        assert shown == token_strings(tokenizer, ids)


def test_a_part_of_a_character_is_marked() -> None:
    known = {1: "我".encode()[:2], 2: "我".encode()[2:], 3: b" happy"}
    assert strings([1, 2, 3], known) == ["", "我", " happy"]
    assert strings([2, 3], known) == ["\ufffd", " happy"]


def test_words_keep_the_space_before_them() -> None:
    assert token_bytes(tiny_tokenizer(), [5, 5, 60]) == {5: b" w5", 60: b" w60"}
