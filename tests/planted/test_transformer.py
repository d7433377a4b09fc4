"""What is carried from one made-up language to the other is found, and what is not is not."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import pytest
import torch
from tests.planted import grammar, transformer
from torch import Tensor

from tl_ext.analysis.crosslingual import Said, firing_chance
from tl_ext.analysis.intervals import mean_interval
from tl_ext.analysis.overlap import Pairing, pairing, word_counts
from tl_ext.dictionaries.reading import background_statistics, word_latents
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


@cache
def belonging(meaning: str, language: str) -> Tensor:
    """1 where a latent belongs to a meaning, or to a plain word, in a language; one row."""
    model, dictionary = transformer.trained(), transformer.dictionary()
    concept = next(
        (one for one in grammar.matched(language) if one.name == meaning), None
    ) or grammar.concept(meaning, language)
    controls = grammar.concept(next(iter(grammar.MOODS)), language).controls
    at_word, at_controls = (
        word_latents(model, dictionary, group, over_tokens="mean")[dictionary.id]
        for group in (concept.examples, controls)
    )
    [known] = background_statistics(model, dictionary, grammar.documents(300, seed=3)).values()
    chance = firing_chance(known.firing_rate, known.tokens, torch.ones(len(at_word)))
    return Said(at_word, at_controls, chance).belongs().double()


def shared_beyond_other_words(meanings: Iterable[str], language: str, other: str) -> Pairing:
    """Whether meanings share more latents with their own words of the other language than with its
    other words."""
    own = list(meanings)
    words = [*grammar.MOODS, *grammar.HUES, *grammar.plain(other)]
    both, either = word_counts(
        torch.cat([belonging(one, language) for one in own]),
        torch.cat([belonging(one, other) for one in words]),
    )
    return pairing(both, either, [words.index(one) for one in own])


@pytest.mark.parametrize(("language", "other"), [("a", "b"), ("b", "a")])
def test_latents_of_a_mood_are_shared_and_of_a_hue_are_not(language: str, other: str) -> None:
    moods = shared_beyond_other_words(grammar.MOODS, language, other)
    hues = shared_beyond_other_words(grammar.HUES, language, other)
    assert moods.decision == "shown" and moods.share > 0.2
    assert hues.decision == "not shown" and hues.share < 0.1
