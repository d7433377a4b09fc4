"""Qwen2's tokenizer as published: no BOS, padding that is not EOS, the chat template kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.models.qwen2 import checkpoints
from transformer_lens.model_bridge import TransformerBridge
from transformers import AutoTokenizer

import tl_ext
from tl_ext.models.loading import load_model
from tl_ext.models.tokens import batch, prefix_ids

TEXT = "The cat sat on the mat."
MESSAGES = [{"role": "user", "content": "Le chat?"}]
CHAT = (
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    "<|im_start|>user\nLe chat?<|im_end|>\n<|im_start|>assistant\n"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("qwen2")
    checkpoints.write(path, "Qwen2ForCausalLM")
    return path


@pytest.fixture(scope="module")
def published(folder: Path) -> Any:
    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module", params=["load_model", "boot_transformers", "with a tokenizer"])
def bridge(request: pytest.FixtureRequest, folder: Path, published: Any) -> Any:
    """The ways to a hooked model of a folder."""
    if request.param == "load_model":
        return load_model(folder)
    tl_ext.activate(quiet=True)
    given = {} if request.param == "boot_transformers" else {"tokenizer": published}
    return TransformerBridge.boot_transformers(str(folder), **given)


def test_nothing_is_put_before_a_text(bridge: Any, published: Any) -> None:
    plain = published(TEXT, add_special_tokens=False)["input_ids"]
    assert published(TEXT)["input_ids"] == plain
    assert bridge.to_tokens(TEXT).tolist() == [plain]
    assert bridge.to_tokens(TEXT, prepend_bos=False).tolist() == [plain]
    assert bridge.to_str_tokens(TEXT) == published.batch_decode([[token] for token in plain])
    assert bridge.cfg.default_prepend_bos is False
    assert bridge.cfg.tokenizer_prepends_bos is bridge.cfg.tokenizer_appends_eos is False
    assert prefix_ids(bridge.tokenizer) == []
    assert batch(bridge, [TEXT]).ids.tolist() == [plain]


def test_padding_is_not_the_end_of_a_message(bridge: Any) -> None:
    tokenizer = bridge.tokenizer
    assert (tokenizer.pad_token, tokenizer.eos_token) == ("<|endoftext|>", "<|im_end|>")
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id) == (300, 302)
    two = batch(bridge, [TEXT, "Le chat<|im_end|>"])
    assert two.ids[1, -1] == tokenizer.pad_token_id
    assert two.ids[1][two.mask[1]][-1] == tokenizer.eos_token_id
    upstreams = bridge.to_tokens([TEXT, "Le chat<|im_end|>"])
    assert upstreams.tolist() == two.ids.tolist()


def test_the_chat_template_stays(bridge: Any, published: Any) -> None:
    assert bridge.tokenizer.chat_template == published.chat_template == checkpoints.TEMPLATE
    chat = bridge.tokenizer.apply_chat_template(
        MESSAGES, tokenize=False, add_generation_prompt=True
    )
    assert chat == CHAT
    ids = bridge.to_tokens(chat)
    assert ids[0, 0] == bridge.tokenizer.convert_tokens_to_ids("<|im_start|>")
    assert bridge.tokenizer.decode(ids[0]) == CHAT


def test_bos_is_none_and_eos_does_not_stand_in_for_it(folder: Path) -> None:
    """Upstream's own booting names EOS as BOS; asked for BOS it then puts EOS before a text."""
    ours = load_model(folder)
    plain = ours.to_tokens(TEXT)
    assert ours.tokenizer.bos_token is None
    assert ours.to_tokens(TEXT, prepend_bos=True).tolist() == plain.tolist()
    theirs = TransformerBridge.boot_transformers(str(folder))
    assert theirs.tokenizer.bos_token == "<|im_end|>"
    assert theirs.to_tokens(TEXT, prepend_bos=True)[0].tolist() == [302, *plain[0].tolist()]


def test_what_the_caller_added_is_kept_by_load_model(folder: Path, published: Any) -> None:
    import copy

    mine = copy.deepcopy(published)
    mine.add_tokens(["xhosa"])
    mine.padding_side = "left"
    hooked = load_model(folder, tokenizer=mine)
    assert hooked.to_tokens("xhosa").tolist() == [[303]]
    assert hooked.tokenizer.padding_side == "left"
