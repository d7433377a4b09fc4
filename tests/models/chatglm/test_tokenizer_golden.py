"""The tokenizer against what the original one wrote: every golden value of both folders."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from tl_ext.models.chatglm.tokenization import ChatGLMTokenizer

ROWS = ("input_ids", "attention_mask", "position_ids")


@pytest.fixture(scope="module", params=["tokenizer_real", "tokenizer_tiny"])
def folder(
    request: pytest.FixtureRequest, shared: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """One of the fixture's folders with its tokenizer.model unpacked."""
    source = shared / "fixtures" / "chatglm" / request.param
    if not (source / "golden.json").is_file():
        pytest.skip(f"needs the golden values of the original tokenizer: none in {source}")
    folder = tmp_path_factory.mktemp(request.param)
    for name in ("golden.json", "tokenizer_config.json"):
        shutil.copy(source / name, folder)
    if (source / "tokenizer.model").is_file():
        shutil.copy(source / "tokenizer.model", folder)
    else:
        raw = gzip.decompress((source / "tokenizer.model.gz").read_bytes())
        (folder / "tokenizer.model").write_bytes(raw)
    return folder


@pytest.fixture(scope="module")
def golden(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "golden.json").read_text("utf-8"))
    return content


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Any:
    return AutoTokenizer.from_pretrained(folder)


def test_what_it_says_of_itself(tokenizer: Any, golden: dict[str, Any]) -> None:
    assert isinstance(tokenizer, ChatGLMTokenizer)
    assert tokenizer.is_fast
    assert len(tokenizer) == tokenizer.vocab_size == golden["vocab_size"]
    assert len(tokenizer.get_vocab()) == golden["vocab_size"]
    assert tokenizer.get_prefix_tokens() == golden["prefix_tokens"]
    assert tokenizer.padding_side == golden["padding_side"]
    assert tokenizer.model_input_names == golden["model_input_names"]
    for name, id in golden["special_token_ids"].items():
        assert tokenizer.convert_tokens_to_ids(name) == id
    for name, value in golden["bos_eos_pad_unk"].items():
        if name != "sp_bos":
            assert getattr(tokenizer, name) == value


def test_texts(tokenizer: Any, golden: dict[str, Any]) -> None:
    for case in golden["strings"]:
        text, encoded = case["text"], tokenizer(case["text"])
        assert tokenizer.tokenize(text) == case["pieces"]
        assert tokenizer.encode(text, add_special_tokens=False) == case["ids"]
        assert [encoded[row] for row in ROWS] == [
            case["ids_with_prefix"],
            case["attention_mask"],
            case["position_ids"],
        ]


def test_what_ids_spell(tokenizer: Any, golden: dict[str, Any]) -> None:
    for case in golden["strings"]:
        whole = case["ids_with_prefix"]
        assert tokenizer.decode(case["ids"]) == case["decode_ids"]
        assert tokenizer.decode(whole) == case["decode_ids_with_prefix"]
        assert (
            tokenizer.decode(whole, skip_special_tokens=True)
            == case["decode_ids_with_prefix_skip_special"]
        )
    for case in golden["single_ids"] + golden["ids_beyond_vocab"]:
        assert tokenizer.convert_ids_to_tokens(case["id"]) == case["token"]
        assert tokenizer.convert_ids_to_tokens([case["id"]]) == [case["token"]]
        assert tokenizer.decode([case["id"]]) == tokenizer.decode(case["id"]) == case["decode"]


def test_batches_and_pairs(tokenizer: Any, golden: dict[str, Any]) -> None:
    for case in golden["left_padded_batches"]:
        together = tokenizer(case["texts"], padding=True)
        as_tensors = tokenizer(case["texts"], padding=True, return_tensors="pt")
        afterwards = tokenizer.pad([tokenizer(text) for text in case["texts"]])
        for row in ROWS:
            assert together[row] == as_tensors[row].tolist() == afterwards[row] == case[row]
    for case in golden["pairs"]:
        assert tokenizer.encode(case["a"], case["b"]) == case["ids"]


def test_chats(tokenizer: Any, golden: dict[str, Any]) -> None:
    for case in golden["build_chat_input"]:
        question = {"role": case.get("role", "user"), "content": case["query"]}
        messages = [*case.get("history", ()), question]
        encoded = tokenizer.apply_chat_template(messages, add_generation_prompt=True)
        text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        options = {key: case[key] for key in ("role", "history") if key in case}
        built = tokenizer.build_chat_input(case["query"], **options)
        for row in ROWS:
            assert encoded[row] == case[row]
            assert built[row].tolist() == [case[row]]
        assert tokenizer.decode(case["input_ids"]) == text == case["decode"]
    for case in golden["build_single_message"]:
        ids = tokenizer.build_single_message(case["role"], case["metadata"], case["message"])
        assert ids == case["ids"]


def test_special_tokens_read_in_texts_on_demand(folder: Path, golden: dict[str, Any]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder, encode_special_tokens=True)
    for case in golden["strings"]:
        ids = tokenizer.encode(case["text"], add_special_tokens=False)
        assert ids == case["ids_encode_special_tokens_all"]
        assert tokenizer.decode(case["ids_with_prefix"]) == case["decode_ids_with_prefix"]


def test_saved_and_read_again(tokenizer: Any, golden: dict[str, Any], tmp_path: Path) -> None:
    tokenizer(["a", "b c"], padding=True, truncation=True, max_length=4)  # leaves no trace
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "tokenizer.model").unlink()
    again = AutoTokenizer.from_pretrained(tmp_path)
    for case in golden["strings"]:
        assert again(case["text"])["input_ids"] == case["ids_with_prefix"]
        assert again.decode(case["ids_with_prefix"]) == case["decode_ids_with_prefix"]
