"""How frequent words are to a model: against probabilities computed one by one."""

from __future__ import annotations

import pytest
import torch
from tests.tiny import tiny_model

from tl_ext.concepts.concept import Example
from tl_ext.concepts.spans import word_spans
from tl_ext.models.tokens import batch
from tl_ext.study.collecting import frequencies
from tl_ext.study.collecting.frequencies import log_frequencies

TEXTS = ["w5 w6 w7 w20", "w8 w6", "w30 w31 w32 w9"]


def test_the_first_token_counts_over_the_background_and_the_rest_after_its_text() -> None:
    model = tiny_model("gpt2")
    examples = [Example("w5 w6 w7", "w6"), Example("w8 w20 w21 w3", "w20 w21")]
    found, tokens = log_frequencies(model, examples, TEXTS, batch_size=2, max_tokens=16)
    for example, value, count in zip(examples, found, tokens, strict=True):
        ids = model.tokenizer(example.text, add_special_tokens=False)["input_ids"]
        start, end = word_spans(model.tokenizer, example.text, example.word)[0]
        probabilities = []
        for text in TEXTS:
            part = batch(model, [text])
            with torch.no_grad():
                logits = model(part.ids, **part.forward_arguments())[0]
            rows = logits.softmax(-1)[part.content[0]]
            probabilities += rows[:, ids[start]].tolist()
        expected = torch.tensor(probabilities).mean().log()
        part = batch(model, [example.text])
        with torch.no_grad():
            logits = model(part.ids, **part.forward_arguments())[0].log_softmax(-1)
        offset = int(part.offset[0])
        for token in range(start + 1, end):
            expected = expected + logits[offset + token - 1, ids[token]]
        assert float(value) == pytest.approx(float(expected), abs=1e-4)
        assert int(count) == end - start


def test_the_batch_size_does_not_matter() -> None:
    model = tiny_model("gpt2")
    examples = [Example(f"w5 w{i} w7", f"w{i} w7") for i in range(20, 27)]
    one = log_frequencies(model, examples, TEXTS, batch_size=1)
    many = log_frequencies(model, examples, TEXTS, batch_size=8)
    torch.testing.assert_close(one, many, atol=1e-4, rtol=1e-4)


def test_the_background_counts_from_its_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not its shortest texts, whether they are cut or not."""
    model, examples = tiny_model("gpt2"), [Example("w5 w6 w7", "w6")]
    beginning = log_frequencies(model, examples, TEXTS[:1])
    positions = int(batch(model, TEXTS[:1]).content.sum())
    monkeypatch.setattr(frequencies, "POSITIONS", positions)
    torch.testing.assert_close(log_frequencies(model, examples, TEXTS, batch_size=1), beginning)
