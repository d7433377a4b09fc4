"""What is carried from one made-up language to the other is found, and what is not is not."""

from __future__ import annotations

import pytest
import torch
from tests.planted import grammar, transformer
from torch import Tensor

from tl_ext.analysis.intervals import mean_interval
from tl_ext.steering.vectors import SteeringVector, diff_of_means
from tl_ext.steering.words import log_odds

PAIRS = [(first, second) for first in grammar.LANGUAGES for second in grammar.LANGUAGES]
ECHO_OF = {**grammar.MOODS, **grammar.HUES}
MOOD, OTHER_MOOD, HUE, OTHER_HUE = "glad", "grim", "red", "blue"


def echoes(meaning: str, language: str) -> list[str]:
    """The words that follow a meaning in a language, as continuations."""
    return [f" {form}" for form in grammar.forms(language, ECHO_OF[meaning])]


def odds_after(texts: list[str], meaning: str, other: str, language: str, edits=()) -> Tensor:
    """Log-odds of a meaning's echo over another's, in a second sentence of a language."""
    prompts = [f"{text} {language}-subject0" for text in texts]
    return log_odds(
        transformer.trained(),
        prompts,
        echoes(meaning, language),
        echoes(other, language),
        edits,
    )


def vector(meaning: str, other: str, language: str) -> SteeringVector:
    return diff_of_means(
        transformer.trained(),
        transformer.HOOK_POINT,
        grammar.concept(meaning, language).examples,
        grammar.concept(other, language).examples,
    )


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_the_model_carries_the_mood(first: str, second: str) -> None:
    texts = [example.text for example in grammar.concept(MOOD, first, texts=8).examples]
    assert odds_after(texts, MOOD, OTHER_MOOD, second).min() > 3


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_the_model_keeps_the_hue_at_home(first: str, second: str) -> None:
    texts = [example.text for example in grammar.concept(HUE, first, texts=8).examples]
    odds = odds_after(texts, HUE, OTHER_HUE, second)
    assert odds.min() > 1.5 if first == second else odds.abs().max() < 1.5


@pytest.mark.parametrize(("made", "tried"), PAIRS)
def test_a_mood_steers_in_both_languages(made: str, tried: str) -> None:
    mood = vector(MOOD, OTHER_MOOD, made)
    plain = [one.examples[0].text for one in grammar.matched(tried, texts=1)]
    before = odds_after(plain, MOOD, OTHER_MOOD, tried)
    forth = odds_after(plain, MOOD, OTHER_MOOD, tried, mood.at(2.0)) - before
    back = odds_after(plain, MOOD, OTHER_MOOD, tried, mood.reversed().at(2.0)) - before
    assert mean_interval(forth)[1].low > 1
    assert mean_interval(back)[1].high < -1


def test_the_dictionary_sees_what_the_model_computes() -> None:
    rows = transformer.activations(grammar.documents(100, seed=9))
    dictionary = transformer.dictionary()
    rest = rows - dictionary.decode(dictionary.encode(rows))
    unexplained = rest.square().sum() / (rows - rows.mean(0)).square().sum()
    assert float(unexplained) < 0.1
    assert (dictionary.encode(rows) > 0).sum(-1).max() <= transformer.ACTIVE
    assert torch.isfinite(rows).all()


@pytest.mark.parametrize(("made", "tried"), [("a", "b"), ("b", "a")])
def test_a_hue_does_not_steer_the_other_language(made: str, tried: str) -> None:
    plain = [one.examples[0].text for one in grammar.matched(tried, texts=1)]

    def change(meaning: str, other: str) -> float:
        edit = vector(meaning, other, made).at(1.0)
        before = odds_after(plain, meaning, other, tried)
        return float((odds_after(plain, meaning, other, tried, edit) - before).mean())

    assert abs(change(HUE, OTHER_HUE)) < 0.2 * change(MOOD, OTHER_MOOD)
