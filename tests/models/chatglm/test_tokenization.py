"""ChatGLM2's and ChatGLM3's tokenizer, with the sentencepiece library as its judge."""

from __future__ import annotations

import copy
import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from hypothesis import assume, given
from hypothesis import strategies as st
from tests.models.chatglm.checkpoints import original_config
from tests.models.chatglm.tiny_tokenizer import (
    TEXTS,
    sentencepiece_bytes,
    write_sentencepiece,
    write_tiktoken,
)
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from tl_ext.concepts.spans import occurrences, word_spans
from tl_ext.errors import InputError
from tl_ext.models.chatglm.tokenization import ChatGLM4Tokenizer, ChatGLMTokenizer

PIECES = 420
SPECIALS = ("[MASK]", "[gMASK]", "[sMASK]", "sop", "eop")
ROLES = ("<|system|>", "<|user|>", "<|assistant|>", "<|observation|>")
WORDS = ("happy", "heureux", "快乐", "l'été", "😀", "café", "cat", "人工智能")
TRAPS = ("  ", "\n", "\t", "12", "▁", "龘", "é", "👨‍👩‍👧", "<s>", "</s>", "<unk>", "<0x41>", "\x00")

texts = st.lists(
    st.one_of(
        st.sampled_from([*TEXTS, *WORDS, *TRAPS, *SPECIALS, *ROLES, " ", "aaaa", "hehe"]),
        st.text(max_size=6),
    ),
    max_size=8,
).map("".join)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sentencepiece(tmp_path_factory.mktemp("chatglm3"))


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Any:
    return ChatGLMTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def judge() -> sentencepiece.SentencePieceProcessor:
    return sentencepiece.SentencePieceProcessor(model_proto=sentencepiece_bytes())


def encodable(text: str) -> bool:
    return not any(0xD800 <= ord(character) < 0xE000 for character in text)


@given(text=texts)
def test_ids_and_pieces_are_those_of_sentencepiece(
    tokenizer: Any, judge: sentencepiece.SentencePieceProcessor, text: str
) -> None:
    assume(encodable(text) and "\x00" not in text)
    ids = judge.encode(text)
    assert tokenizer(text)["input_ids"] == [PIECES + 1, PIECES + 3, *ids]
    assert tokenizer.tokenize(text) == judge.encode_as_pieces(text)


@given(ids=st.lists(st.integers(3, PIECES - 1), max_size=12))
def test_any_ids_spell_what_sentencepiece_says(
    tokenizer: Any, judge: sentencepiece.SentencePieceProcessor, ids: list[int]
) -> None:
    assert tokenizer.decode(ids) == judge.decode(ids)


@given(text=texts)
def test_a_text_comes_back(tokenizer: Any, text: str) -> None:
    assume(encodable(text))
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids) == text.replace("▁", " ")


@given(before=texts, word=st.sampled_from(WORDS), after=texts)
def test_word_spans_hold_the_word(tokenizer: Any, before: str, word: str, after: str) -> None:
    text = f"{before} {word} {after}"
    assume(encodable(text))
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    spans = word_spans(tokenizer, text, word)
    assert len(spans) == len(occurrences(text, word))
    for start, end in spans:
        assert word in tokenizer.decode(ids[start:end])
        assert word not in tokenizer.decode(ids[start + 1 : end])
        assert word not in tokenizer.decode(ids[start : end - 1])


@given(text=texts)
def test_offsets_cover_the_text_in_order(tokenizer: Any, text: str) -> None:
    assume(encodable(text))
    encoded = tokenizer(text, return_offsets_mapping=True)
    offsets = encoded["offset_mapping"]
    assert offsets[:2] == [(0, 0), (0, 0)]  # the prefix
    assert {place for start, end in offsets for place in range(start, end)} == set(range(len(text)))
    assert [start for start, _ in offsets] == sorted(start for start, _ in offsets)
    for id, (start, end) in zip(encoded["input_ids"][2:], offsets[2:], strict=True):
        piece = tokenizer.convert_ids_to_tokens(id)
        if not piece.startswith("<0x"):
            held = text[start:end].replace(" ", "▁")
            assert piece in (held, f"▁{held}")


def test_a_lone_dummy_prefix_holds_nothing_of_the_text(tokenizer: Any) -> None:
    encoded = tokenizer("世界", return_offsets_mapping=True)
    assert encoded.tokens()[2] == "▁"
    assert encoded["offset_mapping"][2] == (0, 0)
    assert encoded.char_to_token(0) == 3


def test_special_words_of_a_text_are_text(tokenizer: Any) -> None:
    specials = set(tokenizer.convert_tokens_to_ids([*SPECIALS, *ROLES, "</s>", "<s>", "<unk>"]))
    for word in (*SPECIALS, *ROLES, "</s>", "<s>", "<unk>", "philosophy"):
        assert not specials & set(tokenizer(f"a {word} b", add_special_tokens=False)["input_ids"])
    assert len(specials) == 12


def test_a_token_the_user_adds_is_found_in_texts(folder: Path) -> None:
    tokenizer = ChatGLMTokenizer.from_pretrained(folder)
    assert tokenizer.add_tokens(["<mark>"]) == 1
    assert tokenizer("a <mark>")["input_ids"][-1] == PIECES + 9
    assert tokenizer.add_special_tokens({"additional_special_tokens": ["<|user|>"]}) == 0
    assert PIECES + 6 not in tokenizer("<|user|>")["input_ids"]


def test_positions_begin_at_the_first_token_of_each_text(tokenizer: Any) -> None:
    for side, columns in (("left", [0, 0, 0, 1, 2]), ("right", [0, 1, 2, 0, 0])):
        both = tokenizer(["a", "a cat"], padding="max_length", max_length=5, padding_side=side)
        assert both["position_ids"][0] == columns
        assert tokenizer.padding_side == "left"
    padded = tokenizer.pad({"input_ids": [[5, 6], [7]]}, padding_side="right", return_tensors="pt")
    assert padded["position_ids"].tolist() == [[0, 1], [0, 0]]
    no_mask = tokenizer(["a", "a cat sat"], padding=True, return_attention_mask=False)
    assert "attention_mask" not in no_mask
    assert no_mask["position_ids"][1] == list(range(len(no_mask["input_ids"][1])))


def test_truncation_keeps_the_prefix(tokenizer: Any) -> None:
    for side in ("left", "right"):
        tokenizer.truncation_side = side
        short = tokenizer(TEXTS[0], truncation=True, max_length=6)
        assert short["input_ids"][:2] == tokenizer.get_prefix_tokens()
        assert short["position_ids"] == list(range(6))
    parts = tokenizer(TEXTS[0], truncation=True, max_length=6, return_overflowing_tokens=True)
    assert all(row[:2] == tokenizer.get_prefix_tokens() for row in parts["input_ids"])
    assert [len(row) for row in parts["position_ids"]] == [len(row) for row in parts["input_ids"]]


def test_empty_texts(tokenizer: Any) -> None:
    prefix = tokenizer.get_prefix_tokens()
    assert tokenizer("")["input_ids"] == prefix
    assert tokenizer("", add_special_tokens=False)["position_ids"] == []
    assert tokenizer([""], add_special_tokens=False)["position_ids"] == [[]]
    assert tokenizer.decode([]) == ""


def test_pieces_of_a_character_are_one_mark_each(tokenizer: Any) -> None:
    whole = tokenizer("你龘", add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(whole[:-1]) == "你\ufffd\ufffd"


def test_ids_beyond_the_vocabulary_are_nothing(tokenizer: Any) -> None:
    assert tokenizer.decode([len(tokenizer), 100_000, -1]) == ""
    assert tokenizer.batch_decode([[0, 1, 2], [3]]) == ["", "\x00"]
    assert tokenizer.convert_ids_to_tokens(range(3), skip_special_tokens=True) == [""]


def test_no_bos_whatever_upstream_writes_into_it(folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder, add_bos_token=True)
    assert tokenizer.bos_token is None and tokenizer.bos_token_id is None
    before = tokenizer("a cat", "b")["input_ids"]
    tokenizer.bos_token = tokenizer.eos_token  # TransformerLens' setup_tokenizer
    tokenizer.add_bos_token = True
    tokenizer.add_eos_token = True
    assert tokenizer("a cat", "b")["input_ids"] == before
    again = AutoTokenizer.from_pretrained(folder, add_bos_token=True, **_reloaded(tokenizer))
    assert again("a cat", "b")["input_ids"] == before


def _reloaded(tokenizer: Any) -> dict[str, Any]:
    """What TransformerLens hands to AutoTokenizer when it makes a tokenizer anew."""
    kept: dict[str, Any] = copy.deepcopy(tokenizer.init_kwargs)
    return {k: v for k, v in kept.items() if k not in ("name_or_path", "add_bos_token")}


def test_a_role_may_be_set_by_id(tokenizer: Any) -> None:
    changed = copy.deepcopy(tokenizer)
    changed.pad_token_id = 2
    assert (changed.pad_token, changed.pad_token_id) == ("</s>", 2)
    assert tokenizer.pad_token_id == 0


def test_copies_give_the_same_ids(tokenizer: Any) -> None:
    expected = tokenizer(["<|user|> a", " b"], padding=True)["position_ids"]
    for twin in (copy.deepcopy(tokenizer), pickle.loads(pickle.dumps(tokenizer))):
        assert twin(["<|user|> a", " b"], padding=True)["position_ids"] == expected
        assert twin.generation == "chatglm3"


def test_saved_folders_are_read_again(tokenizer: Any, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)
    assert (tmp_path / "tokenizer.model").read_bytes() == sentencepiece_bytes()
    expected = tokenizer("  <|user|> a")["input_ids"]
    for gone in ("tokenizer.model", "chat_template.jinja", "tokenizer_config.json"):
        (tmp_path / gone).unlink()
        again = ChatGLMTokenizer.from_pretrained(tmp_path)
        assert again("  <|user|> a")["input_ids"] == expected
        assert again.get_vocab() == tokenizer.get_vocab()
        assert again.chat_template == tokenizer.chat_template
    plain = PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"))
    assert plain("  <|user|> a")["input_ids"] == expected


def test_added_tokens_survive_saving(folder: Path, tmp_path: Path) -> None:
    tokenizer = ChatGLMTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["<mark>"])
    tokenizer.save_pretrained(tmp_path)
    assert AutoTokenizer.from_pretrained(tmp_path)("<mark>")["input_ids"][-1] == PIECES + 9


def test_a_foreign_tokenizer_json_is_passed_over(folder: Path, tmp_path: Path) -> None:
    from transformers import LlamaTokenizer

    LlamaTokenizer.from_pretrained(folder).save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"no tokenizer\.json that it saved"):
        ChatGLMTokenizer.from_pretrained(tmp_path, generation="chatglm3")
    shutil.copy(folder / "tokenizer.model", tmp_path)
    tokenizer = ChatGLMTokenizer.from_pretrained(tmp_path, generation="chatglm3")
    assert tokenizer.tokenize(" Hello")[0] == "▁▁"


@pytest.mark.parametrize(
    "options", [{}, {"use_fast": True}, {"use_fast": False}, {"padding_side": "right"}]
)
@pytest.mark.parametrize("config", ["config.json", None])
def test_auto_tokenizer_reads_published_folders(
    tmp_path: Path, config: str | None, options: dict[str, Any]
) -> None:
    write_sentencepiece(tmp_path / "three")
    write_tiktoken(tmp_path / "four")
    for folder in (tmp_path / "three", tmp_path / "four"):
        if config is not None:
            (folder / config).write_text(json.dumps(original_config()))
    three = AutoTokenizer.from_pretrained(tmp_path / "three", **options)
    four = AutoTokenizer.from_pretrained(tmp_path / "four", **options)
    assert (type(three), three.generation) == (ChatGLMTokenizer, "chatglm3")
    assert (type(four), four.generation) == (ChatGLM4Tokenizer, "glm4")
    assert three.padding_side == options.get("padding_side", "left")


@pytest.mark.parametrize("trusted", [True, False, None])
def test_published_code_is_not_run_even_where_it_is_trusted(
    tmp_path: Path, trusted: bool | None
) -> None:
    for name, write in (("three", write_sentencepiece), ("four", write_tiktoken)):
        folder = write(tmp_path / name)
        (folder / "config.json").write_text(json.dumps(original_config()))
        (folder / "tokenization_chatglm.py").write_text("raise SystemExit  # <|observation|>")
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trusted)
        assert isinstance(tokenizer, ChatGLMTokenizer)


def test_a_folder_without_tokenizer_config_needs_only_its_config(tmp_path: Path) -> None:
    write_sentencepiece(tmp_path)
    (tmp_path / "tokenizer_config.json").unlink()
    config = original_config(generation="chatglm2")
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert AutoTokenizer.from_pretrained(tmp_path).generation == "chatglm2"


class TestGeneration:
    """Which special tokens there are is told by the files, or said by the caller."""

    @staticmethod
    def told(folder: Path, **options: Any) -> str:
        return str(ChatGLMTokenizer.from_pretrained(folder, **options).generation)

    def test_by_the_published_name(self, tmp_path: Path) -> None:
        for generation in ("chatglm2", "chatglm3"):
            folder = write_sentencepiece(tmp_path / generation, generation=generation)
            assert self.told(folder) == generation

    def test_by_the_chat_template(self, tmp_path: Path) -> None:
        template = "{% for message in messages %}<|{{ message['role'] }}|>{% endfor %}"
        config = {"name_or_path": "mine", "chat_template": template}
        assert self.told(write_sentencepiece(tmp_path, config=config)) == "chatglm3"

    def test_by_what_a_training_run_saved(self, tmp_path: Path) -> None:
        mine = {"name_or_path": "mine"}
        added = {str(PIECES + 6): {"content": "<|user|>", "special": False}}
        folder = write_sentencepiece(tmp_path / "a", config={**mine, "added_tokens_decoder": added})
        tokenizer: Any = ChatGLMTokenizer.from_pretrained(folder)
        assert tokenizer.generation == "chatglm3"
        assert PIECES + 6 not in tokenizer("<|user|>")["input_ids"]
        folder = write_sentencepiece(tmp_path / "b", config=mine)
        (folder / "chat_template.jinja").write_text("<|user|>{{ messages[0]['content'] }}")
        assert self.told(folder) == "chatglm3"

    def test_by_the_published_code_which_is_read_and_never_run(self, tmp_path: Path) -> None:
        write_sentencepiece(tmp_path, config={"name_or_path": "mine"})
        code = tmp_path / "tokenization_chatglm.py"
        code.write_text("raise SystemExit('run')")
        assert self.told(tmp_path) == "chatglm2"
        code.write_text("raise SystemExit('run')  # <|observation|>")
        assert self.told(tmp_path) == "chatglm3"
        assert AutoTokenizer.from_pretrained(tmp_path).generation == "chatglm3"

    def test_the_caller_is_believed_first(self, tmp_path: Path) -> None:
        write_sentencepiece(tmp_path)
        assert self.told(tmp_path, generation="chatglm2") == "chatglm2"

    def test_it_is_never_guessed(self, tmp_path: Path) -> None:
        write_sentencepiece(tmp_path, config={"name_or_path": "mine"})
        with pytest.raises(InputError, match="Pass generation='chatglm2' or 'chatglm3'"):
            ChatGLMTokenizer.from_pretrained(tmp_path)

    def test_what_the_file_contradicts_is_refused(self, tmp_path: Path) -> None:
        write_tiktoken(tmp_path / "four")
        with pytest.raises(InputError, match="the vocabulary is of glm4"):
            ChatGLMTokenizer.from_pretrained(tmp_path / "four", generation="chatglm3")
        with pytest.raises(InputError, match="one of chatglm2, chatglm3, glm4"):
            ChatGLMTokenizer.from_pretrained(tmp_path / "four", generation="chatglm4")

    def test_chatglm2_has_five_specials_that_decode_to_nothing(self, tmp_path: Path) -> None:
        write_sentencepiece(tmp_path, generation="chatglm2")
        tokenizer = ChatGLMTokenizer.from_pretrained(tmp_path)
        assert len(tokenizer) == PIECES + 5
        ids = tokenizer("a cat")["input_ids"]
        assert ids[:2] == [PIECES + 1, PIECES + 3]
        assert tokenizer.decode(ids) == "a cat"
        assert tokenizer.convert_ids_to_tokens(PIECES + 1) == ""
        assert tokenizer.decode([PIECES + 6]) == ""


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "unigram"}, "is a sentencepiece model of type 1, not BPE"),
        ({"normalization_rule_name": "nmt_nfkc"}, "normalises texts"),
        ({"add_dummy_prefix": False}, "normalises texts"),
        ({"treat_whitespace_as_suffix": True}, "writes spaces in another way"),
        ({"user_defined_symbols": "<x>"}, "has pieces of type 4"),
        ({"byte_fallback": False, "pieces": 160}, "has 0 pieces for the 256 bytes"),
        ({"unk_piece": "[unk]"}, "has no <unk> as its unk"),
        ({"control_symbols": "[gMASK]"}, r"names one token twice \(\[gMASK\]\)"),
    ],
)
def test_another_kind_of_sentencepiece_file_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    model = tmp_path / "tokenizer.model"
    model.write_bytes(sentencepiece_bytes(**({"pieces": PIECES} | changes)))
    with pytest.raises(InputError, match=message):
        ChatGLMTokenizer(vocab_file=model, generation="chatglm3")


def test_what_is_no_tokenizer_file_is_refused(tmp_path: Path) -> None:
    model = tmp_path / "tokenizer.model"
    model.write_bytes(b"version https://git-lfs.github.com/spec/v1")
    with pytest.raises(InputError, match="is no sentencepiece model"):
        ChatGLMTokenizer(vocab_file=model, generation="chatglm3")
    with pytest.raises(InputError, match=r"^What was given has no tokenizer\.model to build"):
        ChatGLMTokenizer(vocab_file=tmp_path / "none.model")
