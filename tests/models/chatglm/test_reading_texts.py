"""A hooked ChatGLM reads texts behind its prefix, as the original does."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.models.chatglm.checkpoints import write_checkpoint
from tests.models.chatglm.tiny_tokenizer import write_sentencepiece, write_tiktoken

import tl_ext
from tl_ext import fixes
from tl_ext.upstream import prefix_ids

TEXTS = ["The cat sat on the mat, and the dog too.", "你好", "hello world"]
WORDS = 480
GREEDY = {"do_sample": False, "stop_at_eos": False, "verbose": False}


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def boot(folder: Path) -> Any:
    """Plain TransformerLens, after `activate`: model and tokenizer from the folder."""
    from transformer_lens.model_bridge import TransformerBridge

    tl_ext.activate(quiet=True)
    return TransformerBridge.boot_transformers(str(folder), device="cpu").eval()


def load(folder: Path) -> Any:
    return tl_ext.load_model(folder, device="cpu")


LOADERS = {"boot_transformers": boot, "load_model": load}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder of each generation, model and tokenizer, as they are published."""
    root = tmp_path_factory.mktemp("published")
    folders = {}
    for generation in ("chatglm2", "chatglm3", "glm4"):
        folder = write_checkpoint(root / generation, padded_vocab_size=WORDS, generation=generation)
        if generation == "glm4":
            write_tiktoken(folder)
        else:
            write_sentencepiece(folder, generation=generation)
        folders[generation] = folder
    return folders


@pytest.fixture(
    scope="module",
    params=[(how, kind) for how in LOADERS for kind in ("chatglm2", "chatglm3", "glm4")],
    ids=lambda param: " ".join(param),
)
def bridge(request: pytest.FixtureRequest, published: dict[str, Path]) -> Any:
    how, generation = request.param
    return LOADERS[how](published[generation])


def test_the_prefix_is_what_the_tokenizer_puts_there(bridge: Any) -> None:
    tokenizer = bridge.tokenizer
    prefix = prefix_ids(tokenizer)
    assert len(prefix) == 2
    assert tokenizer.eos_token_id not in prefix
    for text in TEXTS:
        alone = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert bridge.to_tokens(text).tolist() == [prefix + alone]
        assert bridge.to_tokens(text, prepend_bos=True).tolist() == [prefix + alone]
        assert bridge.to_tokens(text, prepend_bos=False).tolist() == [alone]
        assert len(bridge.to_str_tokens(text)) == 2 + len(alone)
        for place, token in enumerate(alone):
            assert bridge.get_token_position(token, text, mode="last") >= 2 + place
            assert bridge.get_token_position(token, text, prepend_bos=False) <= place
    single = bridge.to_single_token("hello")
    assert [single] == tokenizer("hello", add_special_tokens=False)["input_ids"]
    assert bridge.get_token_position("hello", "hello world") == 2


def test_texts_together_are_read_and_continued_as_alone(bridge: Any) -> None:
    together = bridge(TEXTS)
    continued = bridge.generate(TEXTS, max_new_tokens=4, return_type="tokens", **GREEDY)[:, -4:]
    losses, tokens = [], []
    for row, text in enumerate(TEXTS):
        alone = bridge(text)[0]
        torch.testing.assert_close(together[row, -len(alone) :], alone, atol=1e-4, rtol=0)
        for cached in (True, False):
            new = bridge.generate(
                text,
                max_new_tokens=4,
                return_type="tokens",
                use_past_kv_cache=cached,
                **GREEDY,
            )
            assert new[0, -4:].tolist() == continued[row].tolist()
        losses.append(bridge(text, return_type="loss"))
        tokens.append(len(alone) - 1)
    weights = torch.tensor(tokens).double()
    mean = (torch.stack(losses).double() * weights).sum() / weights.sum()
    assert float(bridge(TEXTS, return_type="loss")) == pytest.approx(float(mean), abs=1e-4)


def test_our_batches_are_upstream_s_tokens(bridge: Any) -> None:
    batch = tl_ext.batch(bridge, TEXTS, padding_side="left")
    assert batch.ids.tolist() == bridge.to_tokens(TEXTS).tolist()
    assert (batch.offset == (~batch.mask).sum(-1) + 2).all()
    assert not (batch.content & (batch.positions < 2)).any()
    assert batch.content.sum(-1).tolist() == batch.lengths.tolist()


@pytest.mark.parametrize("how", LOADERS)
def test_golden_texts(shared: Path, tmp_path: Path, how: str) -> None:
    """From texts, alone and together, and from a chat to what the original gives."""
    source = shared / "fixtures" / "chatglm" / "A_chatglm3"
    if not (source / "e2e.json").is_file():
        pytest.skip(f"needs the golden model with its texts: no e2e.json in {source}")
    for file in ("config.json", "model.safetensors"):
        shutil.copyfile(source / file, tmp_path / file)
    for file in ("tokenizer.model", "tokenizer_config.json"):
        shutil.copyfile(source.parent / "tokenizer_tiny" / file, tmp_path / file)
    case = json.loads((source / "e2e.json").read_text("utf-8"))
    golden = load_file(source / "e2e.safetensors")
    bridge = LOADERS[how](tmp_path)

    texts, mask = case["batch_texts"], golden["batch.attention_mask"].bool()
    assert torch.equal(bridge.to_tokens(texts), golden["batch.input_ids"])
    expected = golden["batch.logits"]
    torch.testing.assert_close(bridge(texts)[mask], expected[mask], atol=1e-4, rtol=0)
    for row, text in enumerate(texts):
        alone = expected[row][mask[row]]
        torch.testing.assert_close(bridge(text)[0], alone, atol=1e-4, rtol=0)
    chat = case["chat"]
    messages = [*chat["history"], {"role": chat["role"], "content": chat["query"]}]
    ids = bridge.tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, return_tensors="pt"
    )["input_ids"]
    assert torch.equal(ids, golden["chat.input_ids"])
    torch.testing.assert_close(bridge(ids), golden["chat.logits"], atol=1e-4, rtol=0)


def test_activate_applies_the_fix_that_prefixes_need(published: dict[str, Path]) -> None:
    load(published["chatglm3"])
    (status,) = fixes.status("multi-token-prefix")
    assert status.applied >= 1
    assert tl_ext.activate(quiet=True).fixes == ()
