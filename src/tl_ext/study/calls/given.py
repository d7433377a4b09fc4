"""What a call was given: one dictionary or several, one concept or several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tl_ext.concepts.concept import Concept
from tl_ext.dictionaries.dictionary import Dictionaries, Dictionary
from tl_ext.errors import InputError


def dictionaries_given(dictionaries: Mapping[str, Dictionary] | Dictionary) -> Dictionaries:
    """One dictionary or several, as several.

    Raises:
        InputError: Something else.
    """
    several = dictionaries.values() if isinstance(dictionaries, Mapping) else [dictionaries]
    for one in several:
        if not isinstance(one, Dictionary):
            raise InputError(
                f"A dictionary is expected, or several as load_dictionaries gives them; this is "
                f"{one!r:.80}."
            )
    return Dictionaries(several)


def concepts_given(concepts: Concept | Sequence[Concept]) -> list[Concept]:
    """One concept or several, as several.

    Raises:
        InputError: None, or something else.
    """
    several = [concepts] if isinstance(concepts, Concept) else list(concepts)
    if not several:
        raise InputError("There are no concepts to read: an empty list was given.")
    for one in several:
        if not isinstance(one, Concept):
            raise InputError(
                f"A Concept is expected, such as emotions.concepts() gives; this is {one!r:.80}."
            )
    return several
