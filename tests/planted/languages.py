"""A concept in two made-up languages, with directions of both and of one, or of neither.

A word's activation in a frame is the frame's vector and the word's own, and noise. A word's own vector
is what it means (shared by the languages, or each its own) and how it is spelt (its own in any case).
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from tests.planted.worlds import (
    PlantedDictionary,
    directions,
    generator,
    random_dictionary,
    sparse_activations,
)
from torch import Tensor

from tl_ext.analysis.crosslingual import (
    Said,
    beyond_background_p,
    beyond_controls_p,
    crosslingual_table,
)
from tl_ext.analysis.overlap import Counts, Pairing, compare_kinds, overlap, pairing, word_counts

WIDTH, LATENTS, TEXTS = 48, 160, 24
THRESHOLD = 0.8
RATE = 0.1  # of background tokens on which a latent fires
SPELT, MEANT, NOISE = 4.0, 4.0, 0.25


def frames(texts: int, *, seed: int) -> Float[Tensor, "text width"]:
    """What a sentence puts at the place of its word, whatever the word."""
    return directions(texts, WIDTH, seed=seed)


def at_word(
    word: Float[Tensor, "*text width"], frame: Float[Tensor, "text width"], *, seed: int
) -> Float[Tensor, "text width"]:
    """Activations at a word in each frame; a row a text gives each text its own word."""
    return frame + word + NOISE * torch.randn(frame.shape, generator=generator(seed))


def said(
    dictionary: PlantedDictionary, word: Tensor, controls: Tensor, frame: Tensor, *, seed: int
) -> Said:
    """What a dictionary does at a word and at control words, one a text, in the same frames."""
    concept = dictionary.encode(at_word(word, frame, seed=seed))
    return Said(
        concept,
        dictionary.encode(at_word(controls, frame, seed=seed + 1)),
        torch.full_like(concept, RATE),
    )


def rates(dictionary: PlantedDictionary) -> Float[Tensor, " d_latent"]:
    return torch.full((len(dictionary.directions),), RATE)


def table(
    planted: Float[Tensor, "latent width"], meant: dict[str, Tensor], *, seed: int
) -> pd.DataFrame:
    """The table of a concept that means a vector in each language; planted latents come first.

    Spelling and frames say nothing of what is meant: they are at right angles to it.
    """
    span = torch.linalg.qr(torch.stack(list(meant.values())).T).Q if len(planted) else None
    random = directions(LATENTS - len(planted), WIDTH, seed=seed + 7)
    dictionary = PlantedDictionary(torch.cat([planted, random]), THRESHOLD)
    evidence = {}
    for place, (language, meaning) in enumerate(meant.items()):
        start = seed + 100 * place
        words = _without(SPELT * directions(1 + TEXTS, WIDTH, seed=start + 11), span)
        frame = _without(frames(TEXTS, seed=start + 12), span)
        evidence[language] = said(
            dictionary, words[0] + MEANT * meaning, words[1:], frame, seed=start + 13
        )
    return crosslingual_table(evidence, firing_rate=rates(dictionary))


def _without(rows: Tensor, span: Tensor | None) -> Tensor:
    return rows if span is None else rows - rows @ span @ span.T


def beyond_controls(seed: int) -> float:
    """A latent that fires as often at the concept's word as at control words."""
    both = sparse_activations(2 * TEXTS, 1, rate=0.5, seed=seed)
    chance = torch.full((TEXTS, 1), RATE)
    return float(beyond_controls_p(Said(both[:TEXTS], both[TEXTS:], chance))[0])


def beyond_background(seed: int) -> float:
    """A latent that fires at the concept's word as often as on the background."""
    fires = sparse_activations(TEXTS, 1, rate=0.3, seed=seed)
    return float(beyond_background_p(Said(fires, fires, torch.full((TEXTS, 1), 0.3)))[0])


def any_shared(seed: int) -> float:
    """One language has the concept; in the other its word is but one more of the control words."""
    dictionary = random_dictionary(LATENTS, WIDTH, seed=seed, threshold=THRESHOLD)
    evidence = {}
    for place, language in enumerate(("en", "fr")):
        start = 1000 * seed + 100 * place
        words = SPELT * directions(2 * TEXTS, WIDTH, seed=start)
        frame = frames(TEXTS, seed=start + 1)
        word = words[0] + MEANT * directions(1, WIDTH, seed=start + 2)[0]
        # Another word in each text, on both sides: within a frame nothing tells them apart.
        word = word if language == "en" else words[TEXTS:]
        evidence[language] = said(dictionary, word, words[:TEXTS], frame, seed=start + 3)
    return float(crosslingual_table(evidence, firing_rate=rates(dictionary))["adjusted"].min())


def any_shared_of_two_words(seed: int) -> float:
    """Two words that have nothing in common: some latent fires on both, and texts cannot tell."""
    meant = {one: torch.zeros(WIDTH) for one in ("en", "fr")}
    found = table(torch.empty(0, WIDTH), meant, seed=1000 * seed)
    return float(found["adjusted"].min())


def members(
    dictionary: PlantedDictionary, words: Float[Tensor, "word width"], *, texts: int, seed: int
) -> Float[Tensor, "word d_latent"]:
    """Which latents belong to each word, in the same frames and against the same control words."""
    controls = SPELT * directions(texts, WIDTH, seed=seed)
    frame = frames(texts, seed=seed + 1)
    return torch.stack(
        [
            said(dictionary, word, controls, frame, seed=seed + 2 + 2 * place).belongs()[0].double()
            for place, word in enumerate(words)
        ]
    )


def own_words(seed: int, *, concepts: int = 3, words: int = 20, meant: float = 0.0) -> Pairing:
    """Concepts' words among other words, in a random decoder; `meant` is what own words share."""
    dictionary = random_dictionary(LATENTS, WIDTH, seed=seed, threshold=THRESHOLD)
    start = 1000 * seed
    meaning = meant * directions(concepts, WIDTH, seed=start)
    spelt = SPELT * directions(2 * concepts + words, WIDTH, seed=start + 1)
    first = spelt[:concepts] + meaning
    second = spelt[concepts:]
    second[:concepts] += meaning
    both, either = word_counts(
        members(dictionary, first, texts=8, seed=start + 2),
        members(dictionary, second, texts=8, seed=start + 300),
    )
    return pairing(both, either, list(range(concepts)), draws=199, seed=seed)


def own_words_are_others(seed: int) -> float:
    """Words without anything in common, at random vectors in a random decoder."""
    return own_words(seed).p


def own_word_is_another(seed: int) -> float:
    """The same with one concept: its word is ranked among all words."""
    return own_words(seed, concepts=1, words=19).p


def kind_of_counts(share: float, *, seed: int, latents: int = 40, sure: float = 0.6) -> Counts:
    """Latents that fire on a text with this probability: a share of them on both languages' texts."""
    source = generator(seed)
    both = round(share * latents)
    evidence = {}
    for place, language in enumerate(("en", "fr")):
        fires = torch.rand(TEXTS, latents, generator=source) < sure
        own = torch.arange(latents) % 2 == place
        fires &= (torch.arange(latents) < both) | own
        concept = fires * (1 + torch.rand(TEXTS, latents, generator=source))
        evidence[language] = Said(
            concept, torch.zeros_like(concept), torch.full_like(concept, RATE)
        )
    return overlap(evidence, draws=199, seed=seed)


def kinds_alike(seed: int) -> float:
    """Two kinds with the same share: below the level where their interval excludes no difference."""
    sides = [{0: [kind_of_counts(0.4, seed=2 * seed + place)]} for place in range(2)]
    found = compare_kinds(*sides, names=("A", "B"))
    return 0.01 if found.interval.excludes(0.0) else 1.0


def found_kind(first: float, second: float, *, seed: int) -> str:
    """The verdict on two kinds with these shares."""
    sides = [
        {0: [kind_of_counts(share, seed=2 * seed + place)]}
        for place, share in enumerate((first, second))
    ]
    return compare_kinds(*sides, names=("A", "B")).verdict


def rate_of(found: list[bool]) -> float:
    return float(np.mean(found))
