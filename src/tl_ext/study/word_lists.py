"""The words whose chance to come next is measured, for a concept and against it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tl_ext.errors import InputError

if TYPE_CHECKING:
    from tl_ext.concepts.concept import Concept
    from tl_ext.study.session import Session

MOST = 6  # words of each side
WITHOUT_SPACES = ("zh", "ja", "th")


def continuations(words: tuple[str, ...], language: str) -> list[str]:
    """Words as they continue a text: after a space, where the language writes any."""
    space = "" if language in WITHOUT_SPACES else " "
    return [space + word for word in words]


def opposed(session: Session, concept: Concept) -> tuple[list[str], list[str]]:
    """A concept's words, and those of the study's next concept in its language or of its controls.

    Raises:
        InputError: Nothing tells the two apart.
    """
    said = {one.name: one for one in session.concepts if one.language == concept.language}
    other = next((said[name] for name in said if name != concept.name), None)
    listed = concept.control_words if other is None else other.words
    apart = tuple(word for word in listed if word not in concept.words)
    if not apart:
        raise InputError(f"{concept.label} has no other words to be held against.")
    return (
        continuations(concept.words[:MOST], concept.language),
        continuations(apart[:MOST], concept.language),
    )
