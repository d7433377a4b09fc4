"""Scores of what was generated. A scorer reads a `Generations` and needs no model.

Each gives one number a row, indexed as `Generations.to_frame()`; NaN where a continuation leaves
nothing to score. `*_to_unit` maps a score to [0, 1], 1 being best; scores without one lie there.
`concept` and `side_effect` are of the edit rather than of one text: they are given what was measured
(`word_log_probabilities`, `divergence_each`), and put it beside the text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import regex
from jaxtyping import Float
from torch import Tensor

from tl_ext.concepts.spans import occurrences
from tl_ext.errors import InputError, nearest

if TYPE_CHECKING:
    from tl_ext.steering.generations import Generations

Scorer = Callable[["Generations"], "pd.Series[float]"]

LANGUAGES = ("en", "fr")
"""The languages in play where a caller names none: those of the shipped model."""

_WORD = regex.compile(r"\w+")


def fluency(generations: Generations) -> pd.Series[float]:
    """Mean log-probability of a new token under the unsteered model, in nats; higher is better.

    Its negative exponential is the perplexity. Plain repetition is likely too, so read it beside
    `diversity`.

    Args:
        generations: Made with `log_probs="both"`.

    Raises:
        InputError: The generations hold no unsteered log-probabilities.
    """
    if generations.unsteered_log_probs is None:
        raise InputError(
            "These generations hold no log-probabilities of the unsteered model, by which fluency is "
            "measured. Generate with log_probs='both'."
        )
    return _series(generations.unsteered_log_probs.nanmean(-1).tolist(), "fluency")


def fluency_to_unit(score: pd.Series[float]) -> pd.Series[float]:
    """The geometric mean probability of a token, 1 / perplexity: in (0, 1]."""
    return pd.Series(np.exp(score.to_numpy()).clip(0, 1), index=score.index, name=score.name)


def concept(
    generations: Generations, *, word_log_probs: Float[Tensor, "prompt continuation"] | None = None
) -> pd.Series[float]:
    """How probable the concept's words are after the row's prompt, in nats: a log-probability.

    Of the words together, each over all its tokens, under the edit; the same for all samples.

    Args:
        generations: What to score.
        word_log_probs: For each prompt the log-probability of each word of the list, as
            [`word_log_probabilities`][tl_ext.steering.words.word_log_probabilities] gives it.

    Raises:
        InputError: There are no log-probabilities, or not as many rows as prompts.
    """
    if word_log_probs is None or len(word_log_probs) != len(generations.prompts):
        given = "none" if word_log_probs is None else f"{len(word_log_probs)} rows of them"
        raise InputError(
            f"The words' log-probabilities are needed after each of {len(generations.prompts)} "
            f"prompts, and {given} were given: pass word_log_probs=word_log_probabilities(...)."
        )
    return _series(word_log_probs.logsumexp(-1)[generations.prompt].tolist(), "concept")


def concept_to_unit(score: pd.Series[float]) -> pd.Series[float]:
    """The probability itself, in [0, 1]."""
    return fluency_to_unit(score)


def side_effect(
    generations: Generations, *, divergence: Float[Tensor, " text"] | None = None
) -> pd.Series[float]:
    """What the edit does to neutral texts: mean divergence per token, in nats; lower is better.

    Args:
        generations: What to score; all rows get the same number.
        divergence: For each neutral text KL(unsteered || steered), as
            [`divergence_each`][tl_ext.steering.divergence.divergence_each] gives it.

    Raises:
        InputError: There are no divergences.
    """
    if divergence is None or not len(divergence):
        raise InputError(
            "The divergence on neutral texts is needed: pass divergence=divergence_each(...)[0]."
        )
    return _series([float(divergence.nanmean())] * len(generations), "side_effect")


def side_effect_to_unit(score: pd.Series[float]) -> pd.Series[float]:
    """exp(-KL), in (0, 1]: 1 where neutral texts are left as they were."""
    return fluency_to_unit(-score)


def diversity(generations: Generations, *, n: int = 2) -> pd.Series[float]:
    """Distinct-n: the share of distinct n-grams of tokens within a continuation, 0 to 1.

    Tokens, not words, so that it means something in languages without spaces; shares in different
    vocabularies do not compare. A stop token is left out.

    Args:
        generations: What to score.
        n: Length of the n-grams.

    Returns:
        1 where nothing is repeated; NaN for continuations shorter than n tokens.

    Raises:
        InputError: `n` is below 1.

    Source: Li et al. 2016, A Diversity-Promoting Objective Function (arXiv 1510.03055).
    """
    if n < 1:
        raise InputError(f"n is {n}; 1 or more is expected.")
    stops = set(generations.settings.get("stop_ids", ()))
    shares = []
    for ids, mask in zip(generations.new_ids, generations.new_mask, strict=True):
        tokens = [token for token in ids[mask].tolist() if token not in stops]
        grams = [tuple(tokens[start : start + n]) for start in range(len(tokens) - n + 1)]
        shares.append(len(set(grams)) / len(grams) if grams else np.nan)
    return _series(shares, "diversity")


def language_kept(
    generations: Generations,
    *,
    expected: str | None = None,
    among: Sequence[str] = LANGUAGES,
) -> pd.Series[float]:
    """The probability that a continuation is in the expected language, 0 to 1.

    Identified by py3langid among the languages in play alone: on short texts, candidates nobody
    speaks here would win now and then.

    Args:
        generations: What to score.
        expected: The language, an ISO 639-1 code. None: that of each row's prompt, as it is itself
            identified, so that the score tells whether a text keeps its language.
        among: The languages in play.

    Returns:
        NaN for continuations without a letter.

    Raises:
        InputError: Fewer than two languages, one that py3langid lacks, or an expected language that
            is not in play.
    """
    if expected is not None and expected not in among:
        raise InputError(
            f"The expected language {expected!r} is not among those in play: {', '.join(among)}."
        )
    probabilities = language_probabilities(generations.texts, among)
    if expected is not None:
        return _series(probabilities[expected].tolist(), "language_kept")
    prompt = generations.prompt.numpy()
    own = language_probabilities(generations.prompts, among).to_numpy()[prompt]
    column = np.nan_to_num(own).argmax(axis=-1)
    kept = probabilities.to_numpy()[np.arange(len(generations)), column]
    # A prompt without a letter is in no language, and its continuations cannot keep it.
    return _series(np.where(np.isnan(own).any(-1), np.nan, kept).tolist(), "language_kept")


def language_probabilities(texts: Sequence[str], among: Sequence[str]) -> pd.DataFrame:
    """For each text the probability of each language in play.

    Args:
        texts: The texts.
        among: ISO 639-1 codes of the languages in play, two or more.

    Returns:
        One row a text, one column a language; NaN for a text without a letter.

    Raises:
        InputError: Fewer than two languages, or one that py3langid lacks.
    """
    among = tuple(dict.fromkeys(among))
    if len(among) < 2:
        raise InputError(f"The languages in play are {list(among)}; two or more are expected.")
    identifier = _identifier(among)
    table = np.full((len(texts), len(among)), np.nan)
    for row, text in enumerate(texts):
        if any(character.isalpha() for character in text):
            found = dict(identifier.rank(text))
            table[row] = [found[code] for code in among]
    return pd.DataFrame(table, columns=list(among))


def concept_words(
    generations: Generations, *, words: Sequence[str] | None = None
) -> pd.Series[float]:
    """How much of a continuation consists of words on a list, 0 to 1.

    A blunt score: it sees only the words on the list. Whole words, case ignored; the share is counted
    in letters and digits, so that it means the same in scripts without spaces.

    Args:
        generations: What to score.
        words: The list; there is none to fall back on.

    Returns:
        NaN for a continuation without letters and digits.

    Raises:
        InputError: There is no list of words.
    """
    if isinstance(words, str) or not words:
        raise InputError(
            f"words is {words!r}; pass the concept's words, as words=['happy', 'glad']."
        )
    folded = {word.casefold() for word in words}
    shares = []
    for text in (each.casefold() for each in generations.texts):
        counted = {place for match in _WORD.finditer(text) for place in range(*match.span())}
        inside = {
            place for word in folded for span in _places(text, word) for place in range(*span)
        }
        shares.append(len(counted & inside) / len(counted) if counted else np.nan)
    return _series(shares, "concept_words")


def _places(text: str, word: str) -> list[tuple[int, int]]:
    return occurrences(text, word) if text else []


@cache
def _identifier(among: tuple[str, ...]) -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    unknown = [code for code in among if code not in identifier.labels]
    if unknown:
        raise InputError(
            f"py3langid does not know the languages {unknown}.{nearest(unknown[0], identifier.labels)} "
            "ISO 639-1 codes such as 'en' are expected."
        )
    identifier.set_languages(list(among))
    return identifier


def _series(values: Sequence[float], name: str) -> pd.Series[float]:
    return pd.Series(list(values), name=name, dtype=float)
