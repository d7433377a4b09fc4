"""Words beside a concept's: which texts they share with it, and how to make such texts.

A frame is a text with its word taken out. A concept and a matched word are compared in the frames that
both have, so that nothing differs between them but the word.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tl_ext.concepts import emotions
from tl_ext.concepts.concept import Concept, Example
from tl_ext.concepts.spans import occurrences
from tl_ext.errors import InputError

_SLOT = "\0"  # stands in no text


def frame_of(example: Example) -> str:
    """The text with a mark in place of each occurrence of its word."""
    return _replaced(example, _SLOT)


def in_shared_frames(
    concept: Concept, others: Sequence[Concept]
) -> tuple[tuple[Example, ...], list[tuple[Example, ...]]]:
    """The texts of a concept whose frames every other concept has too, and those of the others.

    Args:
        concept: A concept.
        others: Others in the same language.

    Returns:
        The concept's examples in frames that all share, each frame once, and for each other its
        examples in the same frames in the same order. All empty where no frame is shared.
    """
    by_frame = [{frame_of(one): one for one in other.examples} for other in others]
    own: dict[str, Example] = {}
    for one in concept.examples:
        own.setdefault(frame_of(one), one)
    shared = [frame for frame in own if all(frame in one for one in by_frame)]
    return (
        tuple(own[frame] for frame in shared),
        [tuple(one[frame] for frame in shared) for one in by_frame],
    )


def in_place_of(concepts: Iterable[Concept], words: Sequence[str]) -> list[Concept]:
    """Words put in the place of concepts' words, each as a concept of its own.

    Args:
        concepts: Concepts in one language, whose texts serve as frames.
        words: Words that fit those texts as they stand: of the same kind, and in a language where they
            keep their form.

    Returns:
        A concept per word, in the order given, with a text for each distinct frame.

    Raises:
        InputError: The concepts are of several languages, or there are none.
    """
    said = list(concepts)
    languages = {concept.language for concept in said}
    if len(languages) != 1:
        raise InputError(
            f"Concepts in one language are expected; these are in {sorted(languages) or 'none'}."
        )
    frames = {frame_of(one): one for concept in said for one in concept.examples}
    return [
        Concept(
            word,
            next(iter(languages)),
            tuple(Example(_replaced(one, word), word) for one in frames.values()),
        )
        for word in words
    ]


def built_in(concepts: Sequence[Concept]) -> list[Concept]:
    """The built-in matched words for concepts, in the frames of the built-in ones or in their own texts.

    Args:
        concepts: In any languages.

    Returns:
        A concept per word and language. None in a language that has no built-in words, or whose words
        change with what they are said of, unless the concepts stand in the built-in frames.
    """
    found: list[Concept] = []
    for language in dict.fromkeys(concept.language for concept in concepts):
        if language not in emotions.LANGUAGES:
            continue
        said = [concept for concept in concepts if concept.language == language]
        taken = {word for concept in said for word in concept.words + concept.control_words}
        words = [word for word in emotions.matched([language]) if not taken & set(word.words)]
        if all(in_shared_frames(concept, words)[0] for concept in said):
            found += words
        elif all(len(word.words) == 1 for word in words):
            found += in_place_of(said, [one.name for one in words])
    return found


def _replaced(example: Example, by: str) -> str:
    parts, at = [], 0
    for start, end in occurrences(example.text, example.word):
        if start >= at:  # occurrences may overlap
            parts.append(example.text[at:start])
            at = end
    return by.join([*parts, example.text[at:]])
