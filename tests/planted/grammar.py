"""Two made-up languages, in which one concept must be carried across and one must not.

A document is two sentences, each in one of the languages: `subject word . subject echo .`
What the echo must be follows from the word:

| word | echo in the word's language | echo in the other language |
|---|---|---|
| mood | `sing` after glad, `weep` after grim, `rest` after calm | the same, in its words |
| hue | `day` after red, `night` after blue, `dusk` after green | any of these, at random |
| plain | any, at random | any, at random |

So a model that predicts well holds one mood for both languages, and has no reason to hold one hue.
No word belongs to both languages, and every word stands in every place of its kind.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from tl_ext.concepts.concept import Concept, Example

LANGUAGES = ("a", "b")
FORMS = 2  # words that say the same
SUBJECTS, PLAIN = 4, 20
MOODS = {"glad": "sing", "grim": "weep", "calm": "rest"}
HUES = {"red": "day", "blue": "night", "green": "dusk"}
ECHOES = (*MOODS.values(), *HUES.values())


@dataclass(frozen=True)
class Sentence:
    """Two words of one language."""

    subject: str
    word: str

    def __str__(self) -> str:
        return f"{self.subject} {self.word} ."


def forms(language: str, meaning: str) -> list[str]:
    """The words by which a language says something: `a-glad0`, `a-glad1`."""
    return [f"{language}-{meaning}{number}" for number in range(FORMS)]


def plain(language: str) -> list[str]:
    """Words that stand where a mood stands, and say nothing of what follows."""
    return [f"{language}-plain{number}" for number in range(PLAIN)]


def vocabulary() -> list[str]:
    """Every word, and the full stop."""
    words = ["."]
    for language in LANGUAGES:
        words += [f"{language}-subject{number}" for number in range(SUBJECTS)]
        words += plain(language)
        words += [form for one in (*MOODS, *HUES, *ECHOES) for form in forms(language, one)]
    return words


def sentence(language: str, word: str, source: random.Random) -> Sentence:
    """A sentence around a word."""
    return Sentence(f"{language}-subject{source.randrange(SUBJECTS)}", word)


def document(source: random.Random) -> str:
    """Two sentences; half of the documents change their language between them."""
    first, second = source.choice(LANGUAGES), source.choice(LANGUAGES)
    kind = source.choice(("mood", "hue", "plain"))
    meanings = {"mood": list(MOODS), "hue": list(HUES), "plain": [""]}[kind]
    meaning = source.choice(meanings)
    word = source.choice(forms(first, meaning) if meaning else plain(first))
    if kind == "mood":
        echo = MOODS[meaning]
    elif kind == "hue":
        echo = HUES[meaning] if first == second else source.choice(list(HUES.values()))
    else:
        echo = source.choice(ECHOES)
    said = source.choice(forms(second, echo))
    return f"{sentence(first, word, source)} {sentence(second, said, source)}"


def documents(count: int, *, seed: int) -> list[str]:
    """So many documents."""
    source = random.Random(seed)
    return [document(source) for _ in range(count)]


def concept(meaning: str, language: str, *, texts: int = 32, seed: int = 0) -> Concept:
    """A meaning in one language: sentences that say it, and as many with plain words in their place."""
    source = random.Random(seed)
    examples, controls = [], []
    for number in range(texts):
        word = forms(language, meaning)[number % FORMS]
        other = plain(language)[number % PLAIN]
        frame = sentence(language, "{}", source)
        examples.append(Example(str(frame).format(word), word))
        controls.append(Example(str(frame).format(other), other))
    return Concept(meaning, language, tuple(examples), tuple(controls))


def matched(language: str, *, texts: int = 32, seed: int = 0) -> list[Concept]:
    """Every plain word of a language as a concept of its own, in the frames of `concept`."""
    source = random.Random(seed)
    frames = [str(sentence(language, "{}", source)) for _ in range(texts)]
    return [
        Concept(word, language, tuple(Example(frame.format(word), word) for frame in frames))
        for word in plain(language)
    ]


def prompts(language: str, count: int, *, seed: int = 0) -> list[str]:
    """Texts that end before an echo, whose first sentence says nothing of it."""
    source = random.Random(seed)
    return [
        f"{sentence(language, source.choice(plain(language)), source)} "
        f"{language}-subject{source.randrange(SUBJECTS)}"
        for _ in range(count)
    ]
