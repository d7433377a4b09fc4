"""What a concept is here: a name, a language, and texts in which a word says it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tl_ext.concepts.spans import not_found, occurrences
from tl_ext.errors import InputError


@dataclass(frozen=True)
class Example:
    """One text, and the word in it that is looked at.

    The word belongs to the text, not to the concept, for its form differs from text to text: glad
    where others say happy, heureuse where others say heureux.

    Attributes:
        text: The text.
        word: The word, as it is written in the text.

    Raises:
        WordNotFoundError: The word does not stand in the text.
        InputError: Text or word is empty.
    """

    text: str
    word: str

    def __post_init__(self) -> None:
        if not occurrences(self.text, self.word):
            raise not_found(self.text, self.word)


@dataclass(frozen=True, repr=False)
class Concept:
    """A concept as one language says it.

    Attributes:
        name: What is said, in English: "happy".
        language: The language it is said in, an ISO 639-1 code: "en", "fr".
        examples: Texts whose word says it.
        controls: Texts in the same frames whose word says something else ("I'm so tired"): what an
            example shares with these belongs to the frame and not to the concept.

    Raises:
        InputError: There are no examples, or something is of the wrong type.
    """

    name: str
    language: str
    examples: tuple[Example, ...]
    controls: tuple[Example, ...] = ()

    def __post_init__(self) -> None:
        for field in ("name", "language"):
            given = getattr(self, field)
            if not isinstance(given, str) or not given.strip():
                raise InputError(f"A concept's {field} is a word; this is {given!r}.")
        for field in ("examples", "controls"):
            object.__setattr__(self, field, _examples(self.label, field, getattr(self, field)))
        if not self.examples:
            raise InputError(
                f"The concept {self.label} has no examples. Give at least one Example(text, word)."
            )

    @property
    def label(self) -> str:
        """Name and language, as tables and figures show them: `happy (fr)`."""
        return f"{self.name} ({self.language})"

    @property
    def words(self) -> tuple[str, ...]:
        """The distinct forms of the word in the examples, in order of appearance."""
        return _distinct(example.word for example in self.examples)

    @property
    def control_words(self) -> tuple[str, ...]:
        """The distinct forms of the word in the controls, in order of appearance."""
        return _distinct(example.word for example in self.controls)

    def __repr__(self) -> str:
        described = f"{len(self.examples)} examples of {_some(self.words)}"
        if self.controls:
            described += f"; {len(self.controls)} controls of {_some(self.control_words)}"
        return f"<Concept {self.label}: {described}>"


def _examples(label: str, field: str, given: object) -> tuple[Example, ...]:
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise InputError(f"The {field} of {label} are {given!r}. Give a sequence of Example.")
    examples = tuple(given)
    for i, example in enumerate(examples):
        if not isinstance(example, Example):
            raise InputError(
                f"{field}[{i}] of {label} is {example!r}. Give an Example(text, word)."
            )
    return examples


def _distinct(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(words))


def _some(words: tuple[str, ...], most: int = 4) -> str:
    return ", ".join(words[:most]) + (", ..." if len(words) > most else "")
