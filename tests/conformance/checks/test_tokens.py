"""Faults in reading and writing texts, and in what becomes of the tokenizer, planted one at a time."""

from __future__ import annotations

from typing import Any

import pytest
from tests.conformance.asking import ask, drawn
from tests.conformance.specs import LLAMA
from transformer_lens.model_bridge import TransformerBridge

from tl_ext import fixes
from tl_ext.conformance import subject as subjects
from tl_ext.conformance.checks.tokens import (
    texts_become_the_tokenizers_tokens,
    the_callers_tokenizer_stays_as_it_was,
    tokens_become_the_tokenizers_texts,
    what_was_set_on_the_tokenizer_is_kept,
)

pytestmark = pytest.mark.usefixtures("upstream_as_installed")


def test_bos_that_is_there_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = drawn(LLAMA)
    assert not ask(texts_become_the_tokenizers_tokens, subject)
    original = TransformerBridge.to_tokens

    def to_tokens(self: Any, texts: Any, prepend_bos: Any = None, **options: Any) -> Any:
        return original(self, texts, prepend_bos=True, **options)

    monkeypatch.setattr(TransformerBridge, "to_tokens", to_tokens)
    found = ask(texts_become_the_tokenizers_tokens, subject)
    assert found and all("prepend_bos=False" in one.what for one in found)


def test_padding_on_the_other_side(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = drawn(LLAMA)
    original = TransformerBridge.to_tokens

    def to_tokens(self: Any, texts: Any, padding_side: Any = None, **options: Any) -> Any:
        return original(self, texts, padding_side="right", **options)

    monkeypatch.setattr(TransformerBridge, "to_tokens", to_tokens)
    found = ask(texts_become_the_tokenizers_tokens, subject)
    assert found and all("padding_side='left'" in one.what for one in found)


def test_strings_that_lose_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = drawn(LLAMA)
    assert not ask(tokens_become_the_tokenizers_texts, subject)
    original = TransformerBridge.to_str_tokens

    def to_str_tokens(self: Any, *args: Any, **options: Any) -> Any:
        return original(self, *args, **options)[1:]

    monkeypatch.setattr(TransformerBridge, "to_str_tokens", to_str_tokens)
    assert ask(tokens_become_the_tokenizers_texts, subject)


def test_a_tokenizer_that_booting_writes_into(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not ask(the_callers_tokenizer_stays_as_it_was, drawn(LLAMA))
    original = subjects.boot

    def boot(model: Any, tokenizer: Any = None, **options: Any) -> Any:
        if tokenizer is not None:
            tokenizer.padding_side = "left"
        return original(model, tokenizer, **options)

    monkeypatch.setattr(subjects, "boot", boot)
    found = ask(the_callers_tokenizer_stays_as_it_was, drawn(LLAMA))
    assert {one.what for one in found} == {"padding_side of the caller's tokenizer"}


def test_a_tokenizer_that_is_read_again_from_its_folder() -> None:
    whats = [one.what for one in ask(what_was_set_on_the_tokenizer_is_kept, drawn(LLAMA))]
    assert whats == ["an added token", "the chat template"]
    with fixes.applied("callers-tokenizer-reloaded-at-boot"):
        assert not ask(what_was_set_on_the_tokenizer_is_kept, drawn(LLAMA))
