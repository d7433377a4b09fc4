"""The words the embedded model learns from: sentence pairs, their split, and documents made of them.

The corpus is a file of aligned English and French sentences, one pair a line, the two separated by
a tab. The sentences themselves are never stored with the project; only what was learned is.

One pass over the training pairs is a shuffled mixture of four kinds of document, and of nothing
else (no code, no markup, no sentence that changes its language halfway):

| kind | text | why |
|---|---|---|
| `english` | 1 to 12 English sentences in a row | a language model of English |
| `french` | the same in French | and of French |
| `en-fr` | lines `I am happy. = Je suis heureux.` | a meaning must be carried across |
| `fr-en` | lines `Je suis heureux. = I am happy.` | and back |

Each pass uses every distinct English sentence once, every distinct French sentence once, and every
pair twice, once in either direction. Half of the monolingual documents gather sentences that share a
word, because a text that keeps to its subject is what makes a model carry a subject along; the other
half, and all translations, are drawn at random. Three translation documents in four are a single line,
the others up to five: so small a model learns to translate where the sentence to be translated begins
at the first position, and goes on from there. Sentences follow one another so that every position up to
the context length is trained, although the sentences are short.
"""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from tl_ext.errors import InputError

T = TypeVar("T")
Language = Literal["english", "french"]
Kind = Literal["english", "french", "en-fr", "fr-en"]

LANGUAGES: tuple[Language, ...] = ("english", "french")
DIRECTIONS: tuple[Kind, ...] = ("en-fr", "fr-en")
EQUALS = " = "
"""What stands between a sentence and its translation in a translation document."""

# Each run's length is drawn from these, all equally likely.
_SENTENCES_IN_A_ROW = tuple(range(1, 13))
_PAIRS_IN_A_ROW = (1, 1, 1, 1, 1, 1, 2, 5)


@dataclass(frozen=True, slots=True)
class Pair:
    """One English sentence and one French sentence that translate each other.

    Attributes:
        english: The English sentence.
        french: The French sentence.
    """

    english: str
    french: str


@dataclass(frozen=True, slots=True)
class Split:
    """Two sides that share no sentence of either language.

    Attributes:
        train: Pairs to learn from.
        held_out: Pairs to judge by.
    """

    train: tuple[Pair, ...]
    held_out: tuple[Pair, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """A text as the model is to see it between two end-of-text tokens.

    Attributes:
        kind: Which part of the mixture it belongs to.
        text: The text itself.
    """

    kind: Kind
    text: str


def read_pairs(path: Path) -> tuple[Pair, ...]:
    """Read tab-separated English and French sentences, one pair a line.

    Empty lines are passed over; spaces around a sentence are dropped, repeated pairs kept once.
    No-break spaces become plain ones: French writers put either before "!" and "?", and so small a
    model is not to spend itself on telling which.
    Columns after the second (some distributions append attribution) are ignored.

    Raises:
        InputError: The file cannot be read, a line has fewer than two columns, a sentence is
            empty, or there is no pair at all. The message names the file and the line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"cannot read the sentence pairs from {path}: {error}. Expected a UTF-8 text file "
            "with an English sentence, a tab and its French translation on each line."
        ) from error
    pairs: dict[Pair, None] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        columns = [" ".join(column.split()) for column in line.split("\t")]
        if len(columns) < 2 or not columns[0] or not columns[1]:
            raise InputError(
                f"{path}, line {number}: expected an English sentence, a tab and a French "
                f"sentence, got {line!r}. Mend or remove the line."
            )
        pairs[Pair(english=columns[0], french=columns[1])] = None
    if not pairs:
        raise InputError(f"{path} holds no sentence pairs; expected one on each line.")
    return tuple(pairs)


def same_sentence_key(sentence: str) -> str:
    """What two spellings of one sentence have in common: its words, without case or punctuation."""
    return " ".join(re.findall(r"\w+", sentence.casefold())) or sentence.strip()


def split_pairs(pairs: Sequence[Pair], *, held_out: float = 0.05, seed: int = 0) -> Split:
    """Hold out a share of the pairs so that nothing of a held-out pair is learned in any language.

    An English sentence has several translations and a French sentence several originals, so pairs
    are grouped by the sentences they share, at any number of steps, and groups are dealt out whole.
    Groups too large for the share (very common sentences join hundreds of pairs) stay in training.

    Args:
        pairs: What [`read_pairs`][tl_ext.testbed.corpus.read_pairs] returned.
        held_out: Share of pairs, in (0, 1); reached as nearly as whole groups allow.
        seed: Draws the groups.

    Raises:
        InputError: The share is not in (0, 1), or the pairs form so few groups that one of the two
            sides would be empty.
    """
    if not 0 < held_out < 1:
        raise InputError(f"held_out is a share between 0 and 1, got {held_out}.")
    groups = sentence_groups(pairs)
    random.Random(seed).shuffle(groups)
    wanted = max(1, round(held_out * len(pairs)))
    kept: set[int] = set()
    for group in groups:
        if len(kept) + len(group) <= wanted:
            kept.update(group)
    if not kept or len(kept) == len(pairs):
        raise InputError(
            f"{len(pairs)} pairs in {len(groups)} groups cannot be split with a held-out share of "
            f"{held_out}: one side would be empty. Give more pairs that share no sentence."
        )
    return Split(
        train=tuple(pair for index, pair in enumerate(pairs) if index not in kept),
        held_out=tuple(pair for index, pair in enumerate(pairs) if index in kept),
    )


def sentence_groups(pairs: Sequence[Pair]) -> list[list[int]]:
    """Indices of pairs, grouped by shared sentences in either language (connected components)."""
    parent = list(range(len(pairs)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    first_with: dict[tuple[Language, str], int] = {}
    for index, pair in enumerate(pairs):
        for language in LANGUAGES:
            key = (language, same_sentence_key(getattr(pair, language)))
            parent[root(index)] = root(first_with.setdefault(key, index))
    groups: dict[int, list[int]] = defaultdict(list)
    for index in range(len(pairs)):
        groups[root(index)].append(index)
    return list(groups.values())


def sentences(pairs: Iterable[Pair], language: Language) -> list[str]:
    """The distinct sentences of one language, in the order of the pairs."""
    return list(dict.fromkeys(getattr(pair, language) for pair in pairs))


def documents(pairs: Sequence[Pair], *, seed: int) -> list[Document]:
    """One pass over the pairs as shuffled documents (the mixture is in the module's docstring).

    Args:
        pairs: The pairs of one side of a split.
        seed: Another seed gives another order and other neighbours.
    """
    rng = random.Random(seed)
    made: list[Document] = []
    for language in LANGUAGES:
        shuffled = sentences(pairs, language)
        rng.shuffle(shuffled)
        half = len(shuffled) // 2
        for part in (shuffled[:half], _gathered_by_word(shuffled[half:], rng)):
            made += [
                Document(kind=language, text=" ".join(run))
                for run in _runs(part, _SENTENCES_IN_A_ROW, rng)
            ]
    for kind in DIRECTIONS:
        order = list(pairs)
        rng.shuffle(order)
        for block in _runs(order, _PAIRS_IN_A_ROW, rng):
            made.append(Document(kind=kind, text="\n".join(translation(p, kind) for p in block)))
    rng.shuffle(made)
    return made


def translation(pair: Pair, kind: Kind) -> str:
    """One line of a translation document, in the direction `kind` names."""
    sides = (pair.french, pair.english) if kind == "fr-en" else (pair.english, pair.french)
    return EQUALS.join(sides)


def _gathered_by_word(found: list[str], rng: random.Random) -> list[str]:
    """Put sentences next to each other that share a word drawn from their rarer half."""
    words = [same_sentence_key(sentence).split() for sentence in found]
    counts = Counter(word for one in words for word in set(one))
    by_word: dict[str, list[str]] = defaultdict(list)
    for sentence, one in zip(found, words, strict=True):
        rarest_first = sorted(set(one), key=lambda word: (counts[word], word))
        # A word that occurs once gathers nothing, so it is passed over where there is another.
        shared = [word for word in rarest_first if counts[word] > 1] or rarest_first or [""]
        by_word[rng.choice(shared[: (len(shared) + 1) // 2])].append(sentence)
    gathered = list(by_word.values())
    rng.shuffle(gathered)
    return [sentence for group in gathered for sentence in group]


def _runs(items: Sequence[T], lengths: Sequence[int], rng: random.Random) -> list[Sequence[T]]:
    """Cut a sequence into consecutive runs, each of a length drawn from these."""
    runs: list[Sequence[T]] = []
    start = 0
    while start < len(items):
        length = rng.choice(lengths)
        runs.append(items[start : start + length])
        start += length
    return runs
