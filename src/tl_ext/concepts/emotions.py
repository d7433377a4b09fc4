"""The built-in sets: the exploration's happy, sad and excited, in three languages.

The texts are frames with a slot, kept in `frames/<language>.yaml` beside this module in the format
that `load_concepts` reads, so that they serve as its example too.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib import resources

from tl_ext.concepts.concept import Concept
from tl_ext.concepts.loading import parse_concepts, parse_matched
from tl_ext.errors import InputError, nearest

NAMES = ("happy", "sad", "excited")
LANGUAGES = ("en", "fr", "zh")


def concepts(
    names: Sequence[str] = NAMES, languages: Sequence[str] = ("en", "fr")
) -> list[Concept]:
    """The built-in concepts, each with 33 texts and as many controls in the same frames.

    The first five texts of "happy" are the exploration's own, in English word for word. Ask for
    Chinese ("zh") where the model's card lists it: others see bytes.

    Args:
        names: Which concepts, of "happy", "sad" and "excited".
        languages: In which languages, of "en", "fr" and "zh".

    Returns:
        The concepts, language by language, in the order asked for.

    Raises:
        InputError: There is no such concept or language, or none is asked for.
    """
    _check("concept", names, NAMES)
    _check("language", languages, LANGUAGES)
    return [_of(language)[name] for language in languages for name in names]


def matched(languages: Sequence[str] = ("en", "fr")) -> list[Concept]:
    """Words that say no feeling, each as a concept of its own in the 28 frames of the emotions.

    What a dictionary does at many such words is what chance does at a word in that place; see
    [`similarity_null`][tl_ext.study.calls.similarity_null.similarity_null].

    Args:
        languages: In which languages, of "en", "fr" and "zh".

    Returns:
        A concept per word, named by the word, language by language; 80 or more in each.

    Raises:
        InputError: There is no such language, or none is asked for.
    """
    _check("language", languages, LANGUAGES)
    return [concept for language in languages for concept in _matched(language)]


@cache
def _of(language: str) -> dict[str, Concept]:
    return {concept.name: concept for concept in parse_concepts(*_file(language))}


@cache
def _matched(language: str) -> tuple[Concept, ...]:
    return tuple(parse_matched(*_file(language)))


def _file(language: str) -> tuple[str, str]:
    """The text of a language's file, and what messages call it."""
    file = resources.files("tl_ext.concepts") / "frames" / f"{language}.yaml"
    return file.read_text(encoding="utf-8"), f"frames/{language}.yaml"


def _check(kind: str, asked: Sequence[str], known: tuple[str, ...]) -> None:
    if isinstance(asked, str):
        raise InputError(f"One string where a list is expected: {asked!r}. Give [{asked!r}].")
    if not asked:
        raise InputError(f"No {kind} is asked for. There are: {', '.join(known)}.")
    for each in asked:
        if each not in known:
            raise InputError(
                f"There is no built-in {kind} {each!r}.{nearest(str(each), known)} "
                f"There are: {', '.join(known)}."
            )
