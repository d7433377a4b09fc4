from __future__ import annotations

from typing import Any

import pytest
import regex
from transformers import PreTrainedTokenizerFast

from tl_ext.concepts import Concept, emotions, occurrences, word_spans_many
from tl_ext.concepts.matched import in_shared_frames
from tl_ext.errors import InputError

ALL = emotions.concepts(languages=emotions.LANGUAGES)
HAPPY_PROMPTS = [
    "I'll be on a vacation tomorrow and I'm so happy.",
    "My mom brings home a new puppy and I'm so happy.",
    "I'm so glad I got the job I wanted.",
    "I feel so happy when I'm with my friends.",
    "I'm so happy I got the promotion I wanted.",
]


def test_the_explorations_five_come_first_word_for_word() -> None:
    happy = emotions.concepts(["happy"], ["en"])[0]
    assert [example.text for example in happy.examples[:5]] == HAPPY_PROMPTS
    assert [example.word for example in happy.examples[:5]] == [
        *("happy", "happy", "glad", "happy", "happy")
    ]
    french = emotions.concepts(["happy"], ["fr"])[0]
    assert french.examples[4].text == "J'ai obtenu la promotion que je voulais et je suis heureux."


def test_the_order_is_the_one_asked_for() -> None:
    assert [concept.label for concept in emotions.concepts()] == [
        *("happy (en)", "sad (en)", "excited (en)", "happy (fr)", "sad (fr)", "excited (fr)")
    ]
    asked = emotions.concepts(["sad", "happy"], ["zh"])
    assert [concept.label for concept in asked] == ["sad (zh)", "happy (zh)"]


@pytest.mark.parametrize("concept", ALL, ids=lambda concept: concept.label)
class TestEach:
    def test_thirty_different_texts_and_as_many_controls(self, concept: Concept) -> None:
        assert len({example.text for example in concept.examples}) >= 30
        assert len(concept.controls) == len(concept.examples)
        assert len({example.text for example in concept.controls}) == len(concept.controls)
        assert not set(concept.words) & set(concept.control_words)

    def test_a_word_stands_once_in_its_text_and_never_first(self, concept: Concept) -> None:
        for example in concept.examples + concept.controls:
            ((start, _),) = occurrences(example.text, example.word)
            assert start > 0
            assert (
                sum(
                    bool(occurrences(example.text, word))
                    for word in concept.words + concept.control_words
                )
                == 1
            )

    def test_a_control_has_the_frame_of_its_example(self, concept: Concept) -> None:
        same = [
            example.text.replace(example.word, "_") == control.text.replace(control.word, "_")
            for example, control in zip(concept.examples, concept.controls, strict=True)
        ]
        assert sum(same) >= 30

    def test_a_sentence_is_short_and_ends(self, concept: Concept) -> None:
        for example in concept.examples + concept.controls:
            assert example.text[-1] in ".?。？吗"
            assert len(example.text) <= 80
            assert not regex.search(r"[{}]|  ", example.text)

    def test_spans_on_the_real_tokenizer(
        self, concept: Concept, gpt2_tokenizer: PreTrainedTokenizerFast
    ) -> None:
        texts, words = zip(*((each.text, each.word) for each in concept.examples), strict=True)
        for text, word, spans in zip(
            texts, words, word_spans_many(gpt2_tokenizer, texts, words), strict=True
        ):
            ids = gpt2_tokenizer(text)["input_ids"]
            assert len(ids) <= 45
            ((start, end),) = spans
            assert gpt2_tokenizer.decode(ids[start:end]).strip() == word
            assert start > 0


def test_languages_have_one_number_of_texts() -> None:
    assert len({len(concept.examples) for concept in ALL}) == 1


@pytest.mark.parametrize(
    ("names", "languages", "message"),
    [
        (["hapy"], ["en"], "no built-in concept 'hapy'. Nearest: happy. There are: happy, sad"),
        (["happy"], ["de"], "no built-in language 'de'"),
        (["happy"], [], "No language is asked for"),
        ([], ["en"], "No concept is asked for"),
        ("happy", ["en"], r"Give \['happy'\]"),
        (["happy"], "en", r"Give \['en'\]"),
    ],
)
def test_what_there_is_not(names: Any, languages: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        emotions.concepts(names, languages)


@pytest.mark.parametrize("language", emotions.LANGUAGES)
def test_matched_words_stand_in_the_frames_of_the_emotions_and_say_none(language: str) -> None:
    words, said = emotions.matched([language]), emotions.concepts(languages=[language])
    assert len(words) >= 59
    assert len({concept.label for concept in words}) == len(words)
    taken = {word for concept in said for word in concept.words + concept.control_words}
    for concept in words:
        assert not taken & set(concept.words)
        for example in concept.examples:
            ((start, _),) = occurrences(example.text, example.word)
            assert start > 0
            assert not any(occurrences(example.text, word) for word in taken)
    for concept in said:
        own, others = in_shared_frames(concept, words)
        assert own == concept.examples[5:]  # the common frames come last
        assert {len(one) for one in others} == {len(own)}


def test_french_matched_words_agree_with_what_they_are_said_of() -> None:
    old = {concept.name: concept for concept in emotions.matched(["fr"])}["vieux"]
    assert set(old.words) == {"vieux", "vieille", "vieilles"}
    happy = emotions.concepts(["happy"], ["fr"])[0].examples[5:]
    feminine = [example.word.startswith("heureuse") for example in happy]
    assert feminine == [example.word.startswith("vieille") for example in old.examples]
