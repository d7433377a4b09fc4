"""Log-probabilities of words: all their tokens, after the prompt, under edits or not."""

from __future__ import annotations

import math
from typing import Any, get_args

import pytest
import torch
from tests.interventions.test_edits import Contextual
from tests.interventions.toy import toy_dictionary
from tests.tiny import CONTEXT, FAMILIES, WIDTH, tiny_model

from tl_ext.errors import InputError
from tl_ext.interventions.edits import Add, Clamp
from tl_ext.models.hook_points import hooked
from tl_ext.models.tokens import batch
from tl_ext.steering.decoding import Positions
from tl_ext.steering.words import (
    log_odds,
    log_odds_each,
    word_log_probabilities,
    word_log_probabilities_each,
)

PROMPTS = ["w5 w6", "w7", "w8 w9 w10 w11"]
WORDS = [" w20", " w21 w22 w23", " w24 w25"]


def by_hand(family: str, prompt: str, continuation: str) -> float:
    """One token after another, from the logits at the token before it."""
    model = tiny_model(family)
    tokens = batch(model, [prompt + continuation])
    begin = int(tokens.offset[0]) + len(prompt.split())
    with torch.no_grad():
        log_probs = model(tokens.ids, **tokens.forward_arguments())[0].log_softmax(-1)
    ids = tokens.ids[0]
    return sum(float(log_probs[place - 1, ids[place]]) for place in range(begin, len(ids)))


@pytest.mark.parametrize("family", ["gpt2", "qwen2"])
def test_every_token_of_a_word_counts(family: str) -> None:
    found = word_log_probabilities(tiny_model(family), PROMPTS, WORDS)
    expected = [[by_hand(family, prompt, word) for word in WORDS] for prompt in PROMPTS]
    torch.testing.assert_close(found, torch.tensor(expected), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("batch_size", [1, 2, 4, 12])
def test_the_batch_size_does_not_matter(batch_size: int) -> None:
    model = tiny_model("gpt2")
    torch.testing.assert_close(
        word_log_probabilities(model, PROMPTS, WORDS, batch_size=batch_size),
        word_log_probabilities(model, PROMPTS, WORDS),
        atol=1e-4,
        rtol=1e-4,
    )


def test_all_words_together_are_certain() -> None:
    model = tiny_model("gpt2")
    every = [f" {model.tokenizer.convert_ids_to_tokens(index)}" for index in range(61)]
    total = word_log_probabilities(model, ["w5"], every).exp().sum()
    assert float(total) == pytest.approx(1.0, abs=1e-3)


def test_edits_act_on_prompt_and_words() -> None:
    model = tiny_model("gpt2")
    vector = torch.randn(WIDTH, generator=torch.Generator().manual_seed(0))
    edit = Add("blocks.1.hook_resid_pre", vector)
    plain = word_log_probabilities(model, PROMPTS, WORDS)
    steered = word_log_probabilities(model, PROMPTS, WORDS, edit)
    assert not torch.allclose(plain, steered, atol=1e-3)
    nothing = Add("blocks.1.hook_resid_pre", torch.zeros(WIDTH))
    assert torch.equal(plain, word_log_probabilities(model, PROMPTS, WORDS, nothing))


def test_log_odds_are_of_summed_probabilities() -> None:
    model = tiny_model("gpt2")
    found = log_odds(model, PROMPTS, WORDS[:2], WORDS[2:])
    p = word_log_probabilities(model, PROMPTS, WORDS).exp()
    expected = [math.log((row[0] + row[1]) / row[2]) for row in p.tolist()]
    assert found.tolist() == pytest.approx(expected, abs=1e-3)
    torch.testing.assert_close(log_odds(model, PROMPTS, WORDS[2:], WORDS[:2]), -found)


def test_bad_input_says_what_to_do() -> None:
    model = tiny_model("gpt2")
    with pytest.raises(InputError, match="Begin it with a space"):
        word_log_probabilities(model, ["w5"], ["w6"])
    with pytest.raises(InputError, match="0 prompts"):
        word_log_probabilities(model, [], WORDS)
    with pytest.raises(InputError, match="both lists"):
        log_odds(model, PROMPTS, WORDS, WORDS[:1])


@pytest.mark.parametrize("positions", get_args(Positions))
@pytest.mark.parametrize("family", FAMILIES)
def test_prompts_read_once_give_what_whole_texts_give(
    family: str, positions: Positions, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model(family)
    vectors = torch.randn(3, WIDTH, generator=torch.Generator().manual_seed(1))
    conditions = [
        (),
        *(Add("blocks.1.hook_resid_pre", each) for each in vectors),
        Clamp(toy_dictionary(), 3, 4.0),
    ]
    given: dict[str, Any] = {"positions": positions, "batch_size": 5}
    shared = word_log_probabilities_each(model, PROMPTS, WORDS, conditions, **given)
    for condition, found in zip(conditions, shared, strict=True):
        alone = word_log_probabilities(model, PROMPTS, WORDS, condition, positions=positions)
        torch.testing.assert_close(found, alone, atol=1e-4, rtol=1e-4)
    monkeypatch.setattr(type(model.adapter), "supports_kv_cache", False, raising=False)
    whole = word_log_probabilities_each(model, PROMPTS, WORDS, conditions, **given)
    torch.testing.assert_close(shared, whole, atol=1e-4, rtol=1e-4)
    assert not model.list_hooks()


def test_a_cache_that_cannot_be_cropped_is_not_relied_on(monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers.cache_utils import DynamicCache

    model = tiny_model("llama")
    expected = word_log_probabilities(model, PROMPTS, WORDS)
    monkeypatch.setattr(DynamicCache, "is_croppable", False)
    found = word_log_probabilities(model, PROMPTS, WORDS)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_a_words_later_tokens_share_one_reading_of_the_prompt() -> None:
    model = tiny_model("gpt2")
    shapes: list[tuple[int, ...]] = []
    with hooked(model, {"blocks.0.hook_resid_pre": lambda x: shapes.append(tuple(x.shape[:2]))}):
        word_log_probabilities_each(model, PROMPTS, WORDS, [()] * 4)
    assert shapes == [(12, 5), (12, 2), (12, 1)], "one-token words cost nothing more"


def test_a_dictionary_that_needs_context_reads_whole_texts() -> None:
    model = tiny_model("gpt2")
    edit = Clamp(Contextual(toy_dictionary()), 1, 3.0)
    together = word_log_probabilities(model, PROMPTS, WORDS, edit)
    for row, prompt in enumerate(PROMPTS):
        alone = word_log_probabilities(model, [prompt], WORDS[1:2], edit)
        torch.testing.assert_close(together[row, 1:2], alone[0], atol=1e-4, rtol=1e-4)


def test_log_odds_under_many_conditions() -> None:
    model = tiny_model("gpt2")
    conditions = [Add("blocks.1.hook_resid_pre", torch.full((WIDTH,), 0.3)), ()]
    found = log_odds_each(model, PROMPTS, WORDS[:2], WORDS[2:], conditions)
    for condition, own in zip(conditions, found, strict=True):
        alone = log_odds(model, PROMPTS, WORDS[:2], WORDS[2:], condition)
        torch.testing.assert_close(own, alone, atol=1e-4, rtol=1e-4)


def test_what_does_not_fit_the_context_is_told() -> None:
    with pytest.raises(InputError, match="context holds"):
        word_log_probabilities(tiny_model("gpt2"), [" ".join(["w5"] * (CONTEXT - 2))], WORDS)
    with pytest.raises(InputError, match="not one string"):
        word_log_probabilities(tiny_model("gpt2"), PROMPTS, " w20")
