"""GLM-4's tokenizer, against tiktoken's algorithm written out."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tests.models.chatglm.tiny_tokenizer import (
    GLM4_SPECIALS,
    TEXTS,
    tiktoken_ids,
    tiktoken_ranks,
    write_tiktoken,
)
from transformers import AutoTokenizer

from tl_ext.concepts.spans import occurrences, word_spans
from tl_ext.errors import InputError
from tl_ext.models.chatglm.tokenization import ChatGLM4Tokenizer, ChatGLMTokenizer

RANKS = len(tiktoken_ranks())
IDS = {name: RANKS + n for n, name in enumerate(GLM4_SPECIALS)}
TRAPS = (
    "  ",
    "\n\n",
    "\r\n ",
    "1234",
    "'S",
    "龘",
    "👨‍👩‍👧",
    "Ġ",
    "\x00",
    "\u00a0",
    "?!\n",
    *GLM4_SPECIALS,
)

texts = st.lists(
    st.one_of(st.sampled_from([*TEXTS, *TRAPS, " ", "hehe"]), st.text(max_size=6)), max_size=8
).map("".join)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The first revision's: special tokens are not declared, and text is text."""
    return ChatGLM4Tokenizer.from_pretrained(
        write_tiktoken(tmp_path_factory.mktemp("glm4"), declared=False)
    )


def encodable(text: str) -> bool:
    return not any(0xD800 <= ord(character) < 0xE000 for character in text)


@given(text=texts)
def test_ids_are_those_of_tiktoken(tokenizer: Any, text: str) -> None:
    assume(encodable(text))
    ids = tokenizer(text)["input_ids"]
    assert ids == [IDS["[gMASK]"], IDS["<sop>"], *tiktoken_ids(text)]
    assert tokenizer.decode(ids[2:]) == text


@given(ids=st.lists(st.integers(0, RANKS - 1), max_size=8))
def test_any_ids_spell_their_bytes(tokenizer: Any, ids: list[int]) -> None:
    token_of = {rank: token for token, rank in tiktoken_ranks().items()}
    whole = b"".join(token_of[id] for id in ids)
    assert tokenizer.decode(ids) == whole.decode(errors="replace")


@given(before=texts, word=st.sampled_from(["happy", "heureux", "快乐", "😀"]), after=texts)
def test_word_spans_hold_the_word(tokenizer: Any, before: str, word: str, after: str) -> None:
    text = f"{before} {word} {after}"
    assume(encodable(text))
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    spans = word_spans(tokenizer, text, word)
    assert len(spans) == len(occurrences(text, word))
    assert all(word in tokenizer.decode(ids[start:end]) for start, end in spans)


def test_what_it_says_of_itself(tokenizer: Any) -> None:
    assert tokenizer.generation == "glm4"
    assert len(tokenizer) == tokenizer.vocab_size == RANKS + len(GLM4_SPECIALS)
    for name, id in IDS.items():
        assert tokenizer.convert_tokens_to_ids(name) == id
        assert tokenizer.decode(id) == name
    assert tokenizer.eos_token_id == tokenizer.pad_token_id == IDS["<|endoftext|>"]
    assert tokenizer.bos_token is None and tokenizer.unk_token is None
    assert tokenizer.padding_side == "left"
    assert tokenizer.decode([len(tokenizer), 65023 * 3, -1]) == ""


def test_positions_and_pairs(tokenizer: Any) -> None:
    both = tokenizer(["a", "a cat sat"], padding=True)
    length = len(both["input_ids"][1])
    assert both["position_ids"] == [[0] * (length - 3) + [0, 1, 2], list(range(length))]
    pair = [*tokenizer.get_prefix_tokens(), *tiktoken_ids("a"), *tiktoken_ids("b")]
    assert tokenizer("a", "b")["input_ids"] == [*pair, IDS["<|endoftext|>"]]


def test_declared_special_tokens_are_read_in_a_text_as_by_the_original(tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(write_tiktoken(tmp_path))
    text = "<|user|>\na cat<|assistant|>"
    read = [IDS["<|user|>"], *tiktoken_ids("\na cat"), IDS["<|assistant|>"]]
    assert tokenizer(text, add_special_tokens=False)["input_ids"] == read
    as_text = tokenizer(text, add_special_tokens=False, split_special_tokens=True)
    assert as_text["input_ids"] == tiktoken_ids(text)
    never = AutoTokenizer.from_pretrained(tmp_path, split_special_tokens=True)
    assert never(text, add_special_tokens=False)["input_ids"] == tiktoken_ids(text)
    assert tokenizer.decode([IDS["[gMASK]"], IDS["<sop>"], 97], skip_special_tokens=True) == "a"


@pytest.mark.parametrize("declared", [True, False])
def test_saved_and_copied(tmp_path: Path, declared: bool) -> None:
    tokenizer = AutoTokenizer.from_pretrained(write_tiktoken(tmp_path / "a", declared=declared))
    text = "  <|user|>\n 1234 a"
    expected = tokenizer(text)["input_ids"]
    tokenizer.save_pretrained(tmp_path / "b")
    (tmp_path / "b" / "tokenizer.model").unlink()
    again = AutoTokenizer.from_pretrained(tmp_path / "b")
    assert type(again) is ChatGLM4Tokenizer
    for twin in (again, copy.deepcopy(tokenizer), pickle.loads(pickle.dumps(tokenizer))):
        assert twin(text)["input_ids"] == expected
        assert twin.get_vocab() == tokenizer.get_vocab()
        assert twin.eos_token_id == IDS["<|endoftext|>"]


def test_declared_ids_need_not_be_the_published_ones(tmp_path: Path) -> None:
    entry = {"content": "<|code_prefix|>", "special": True}
    names = ("<|endoftext|>", "[gMASK]", "<sop>", "<|code_prefix|>")
    added = {str(RANKS + 5 * n): {**entry, "content": name} for n, name in enumerate(names)}
    tokenizer = AutoTokenizer.from_pretrained(write_tiktoken(tmp_path, added_tokens_decoder=added))
    assert tokenizer("<|code_prefix|>")["input_ids"] == [RANKS + 5, RANKS + 10, RANKS + 15]


def test_either_class_reads_the_file(tmp_path: Path) -> None:
    write_tiktoken(tmp_path)
    model = tmp_path / "tokenizer.model"
    assert ChatGLMTokenizer(vocab_file=model).generation == "glm4"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: raw + b"!! 7\n", "Line 457 of .* a token in base64"),
        (lambda raw: raw + b"YWJjZGVm 7\n", "gives one rank to two tokens"),
        (lambda raw: b"\n".join(raw.splitlines()[:100]), "no token for 156 of the 256 bytes"),
    ],
)
def test_broken_files_are_refused(tmp_path: Path, change: Any, message: str) -> None:
    model = write_tiktoken(tmp_path) / "tokenizer.model"
    model.write_bytes(change(model.read_bytes()))
    with pytest.raises(InputError, match=message):
        ChatGLM4Tokenizer.from_pretrained(tmp_path)


@pytest.mark.parametrize("entry", [{"5": "<|user|>"}, {"900": "happy"}])
def test_a_special_token_that_is_another_one_too_is_refused(
    tmp_path: Path, entry: dict[str, str]
) -> None:
    added = {id: {"content": name, "special": True} for id, name in entry.items()}
    write_tiktoken(tmp_path, added_tokens_decoder=added)
    with pytest.raises(InputError, match="have ids or names of tokens in"):
        ChatGLM4Tokenizer.from_pretrained(tmp_path)
