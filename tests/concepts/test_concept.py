from __future__ import annotations

from typing import Any

import pytest

from tl_ext.concepts import Concept, Example
from tl_ext.errors import InputError, WordNotFoundError

HAPPY = Example("I'm so happy.", "happy")
GLAD = Example("I'm so glad I got the job I wanted.", "glad")
TIRED = Example("I'm so tired.", "tired")


def test_the_word_differs_from_text_to_text() -> None:
    concept = Concept("happy", "en", (HAPPY, GLAD, HAPPY), (TIRED,))
    assert concept.words == ("happy", "glad")
    assert concept.control_words == ("tired",)
    assert concept.label == "happy (en)"
    assert repr(concept) == ("<Concept happy (en): 3 examples of happy, glad; 1 controls of tired>")


def test_lists_become_tuples_and_equal_concepts_are_equal() -> None:
    given: Any = [HAPPY]
    assert Concept("happy", "en", given) == Concept("happy", "en", (HAPPY,))
    assert hash(Concept("happy", "en", given)) == hash(Concept("happy", "en", (HAPPY,)))


def test_an_example_holds_its_word() -> None:
    with pytest.raises(WordNotFoundError, match="'sad' does not stand in the text"):
        Example("I'm so happy.", "sad")
    with pytest.raises(InputError, match="text is empty"):
        Example("", "sad")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("happy", "en", ()), "has no examples"),
        (("", "en", (HAPPY,)), "A concept's name is a word"),
        (("happy", None, (HAPPY,)), "A concept's language is a word"),
        (("happy", "en", "I'm so happy."), "Give a sequence of Example"),
        (("happy", "en", ["I'm so happy."]), r"examples\[0\] of happy \(en\)"),
        (("happy", "en", (HAPPY,), (("a", "b"),)), r"controls\[0\] of happy \(en\)"),
    ],
)
def test_what_is_no_concept(arguments: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Concept(*arguments)
