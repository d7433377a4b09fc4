"""Frames shared by words, and words put in the place of others."""

from __future__ import annotations

import pytest

from tl_ext.concepts import Concept, Example, emotions
from tl_ext.concepts.matched import built_in, frame_of, in_place_of, in_shared_frames
from tl_ext.errors import InputError


def concept(name: str, *texts: str, language: str = "en") -> Concept:
    return Concept(name, language, tuple(Example(text.replace("{}", name), name) for text in texts))


def test_a_frame_is_the_text_without_its_word() -> None:
    assert frame_of(Example("I am so, so happy, happy.", "happy")) == "I am so, so \0, \0."
    assert frame_of(Example("我乐乐乐。", "乐乐")) == "我\0乐。"


def test_only_frames_that_all_have_are_compared_in_the_order_of_the_concept() -> None:
    proud = concept("proud", "I am {}.", "She was {} again.", "Not {}, no.")
    tall = concept("tall", "She was {} again.", "I am {}.")
    old = concept("old", "You are {}.", "I am {}.", "She was {} again.")
    own, (first, second) = in_shared_frames(proud, [tall, old])
    assert [one.text for one in own] == ["I am proud.", "She was proud again."]
    assert [one.text for one in first] == ["I am tall.", "She was tall again."]
    assert [one.text for one in second] == ["I am old.", "She was old again."]
    assert in_shared_frames(proud, [concept("wet", "It is {}.")]) == ((), [()])


def test_words_take_the_place_of_concepts_in_every_frame() -> None:
    said = [
        concept("proud", "I am {}.", "So {}."),
        concept("calm", "I am {}.", "{} again, I am {}."),
    ]
    tall = in_place_of(said, ["tall"])[0]
    assert [one.text for one in tall.examples] == [
        "I am tall.",
        "So tall.",
        "tall again, I am tall.",
    ]
    with pytest.raises(InputError, match=r"in \['en', 'fr'\]"):
        in_place_of([*said, concept("fier", "Je suis {}.", language="fr")], ["grand"])


def test_built_in_words_come_in_the_built_in_frames_or_in_the_concepts_own() -> None:
    assert built_in(emotions.concepts()) == emotions.matched()
    old = emotions.matched(["en"])[2]
    assert built_in([old]) == [one for one in emotions.matched(["en"]) if one != old]
    proud = concept("proud", "I am {}.", "She, {} again.")
    found = built_in([proud, concept("tall", "He is {}.")])
    assert "tall" not in {one.name for one in found} and len(found) >= 59
    assert {one.text for one in found[0].examples} == {
        text.format(found[0].name) for text in ("I am {}.", "She, {} again.", "He is {}.")
    }


def test_there_are_none_where_words_would_have_to_agree_or_the_language_is_unknown() -> None:
    assert built_in([concept("fier", "Je suis {}.", language="fr")]) == []
    assert built_in([concept("stolz", "Ich bin {}.", language="de")]) == []
