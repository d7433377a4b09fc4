"""From texts and chats to logits: the tokenizer's rows are what the model is to be given."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.models.chatglm.checkpoints import write_checkpoint
from tests.models.chatglm.tiny_tokenizer import write_sentencepiece
from transformers import AutoModelForCausalLM, AutoTokenizer

ROWS = ("input_ids", "attention_mask", "position_ids")
TEXTS = ["The cat sat on the mat, and the dog too.", "你好", " x"]


@pytest.fixture(scope="module")
def golden(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A folder as it is published, model and tokenizer together, and what the original gives."""
    fixtures = shared / "fixtures" / "chatglm"
    source = fixtures / "A_chatglm3"
    if not (source / "e2e.json").is_file():
        pytest.skip(f"needs the golden model with its texts: no e2e.json in {source}")
    folder = tmp_path_factory.mktemp("published")
    for file in ("config.json", "model.safetensors"):
        shutil.copy(source / file, folder)
    for file in ("tokenizer.model", "tokenizer_config.json"):
        shutil.copy(fixtures / "tokenizer_tiny" / file, folder)
    case = json.loads((source / "e2e.json").read_text("utf-8"))
    return folder, {**case, **load_file(source / "e2e.safetensors")}


def test_a_batch_of_texts_and_a_chat(golden: tuple[Path, dict[str, Any]]) -> None:
    folder, case = golden
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    chat = case["chat"]
    messages = [*chat["history"], {"role": chat["role"], "content": chat["query"]}]
    encoded = {
        "batch": tokenizer(case["batch_texts"], padding=True, return_tensors="pt"),
        "chat": tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_tensors="pt"
        ),
    }
    for name, rows in encoded.items():
        for row in ROWS:
            assert torch.equal(rows[row], case[f"{name}.{row}"])
        with torch.no_grad():
            logits = model(**rows).logits
        real = rows["attention_mask"].bool()
        expected = case[f"{name}.logits"]
        torch.testing.assert_close(logits[real], expected[real], atol=1e-4, rtol=0)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    return write_sentencepiece(write_checkpoint(folder, padded_vocab_size=448))


def test_left_padding_changes_nothing(published: Path) -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(published)
    model = AutoModelForCausalLM.from_pretrained(published)
    batch = tokenizer(TEXTS, padding=True, return_tensors="pt")
    new = {"max_new_tokens": 4, "min_new_tokens": 4, "do_sample": False}
    together = model.generate(**batch, **new)[:, -4:]
    with torch.no_grad():
        logits = model(**batch).logits
        for n, text in enumerate(TEXTS):
            alone = tokenizer(text, return_tensors="pt")
            expected = model(**alone).logits[0]
            torch.testing.assert_close(logits[n, -len(expected) :], expected, atol=1e-4, rtol=0)
            assert torch.equal(model.generate(**alone, **new)[0, -4:], together[n])
    assert isinstance(tokenizer.batch_decode(together)[0], str)


def test_ids_of_the_padded_embedding_decode_to_nothing(published: Path) -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(published)
    ids = torch.arange(len(tokenizer), 448)
    assert tokenizer.batch_decode(ids[:, None]) == [""] * len(ids)


def test_generation_of_config_and_tokenizer_agree(tmp_path: Path) -> None:
    for generation in ("chatglm2", "chatglm3"):
        folder = write_checkpoint(tmp_path / generation, transformers_version=...)
        write_sentencepiece(folder, generation=generation)
        model: Any = AutoModelForCausalLM.from_pretrained(folder)
        tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        assert model.config.generation == tokenizer.generation == generation
