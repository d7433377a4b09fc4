from __future__ import annotations

import textwrap
from pathlib import Path

import pytest
import regex

from tl_ext.concepts import (
    Concept,
    Example,
    dump_concepts,
    emotions,
    load_concepts,
    load_matched,
    loading,
)
from tl_ext.errors import InputError, WordNotFoundError


def load(tmp_path: Path, source: str) -> list[Concept]:
    path = tmp_path / "mine.yaml"
    path.write_text(textwrap.dedent(source), encoding="utf-8")
    return load_concepts(path)


def test_the_example_in_the_documentation(tmp_path: Path) -> None:
    assert loading.__doc__ is not None
    english, french = regex.findall(r"(?m)(?:^    .*\n)(?:^    .*\n|^\n)+", loading.__doc__)
    (happy,) = load(tmp_path, english)
    assert happy.examples == (
        Example("Happiness is a warm puppy.", "Happiness"),
        Example("I got the job and I'm so happy.", "happy"),
        Example("I'm so glad I got the job I wanted.", "glad"),
        Example("I am so happy today.", "happy"),
        Example("The cheerful girl waited for the bus.", "cheerful"),
    )
    assert happy.controls == (
        Example("Tea is a warm drink.", "Tea"),
        Example("I got the job and I'm so tired.", "tired"),
        Example("I'm so busy and I got the job I wanted.", "busy"),
        Example("I am so tired today.", "tired"),
        Example("The busy girl waited for the bus.", "busy"),
    )
    (heureuse,) = load(tmp_path, french)
    assert heureuse.examples == (Example("Elle est si heureuse aujourd'hui.", "heureuse"),)
    assert heureuse.controls == (Example("Elle est si fatiguée aujourd'hui.", "fatiguée"),)


def test_what_is_dumped_is_loaded_back(tmp_path: Path) -> None:
    concepts = emotions.concepts(languages=emotions.LANGUAGES)
    path = tmp_path / "dumped.yaml"
    path.write_text(dump_concepts(concepts), encoding="utf-8")
    assert load_concepts(path) == concepts
    with pytest.raises(InputError, match="given twice"):
        dump_concepts([concepts[0], concepts[0]])


def test_texts_alone_are_enough_and_take_no_common_frames(tmp_path: Path) -> None:
    (concept,) = load(
        tmp_path,
        """\
        language: en
        frames: ["I see a {word}."]
        concepts:
          dog:
            examples: [{text: The dog barks., word: dog}]
        """,
    )
    assert concept == Concept("dog", "en", (Example("The dog barks.", "dog"),))


@pytest.mark.parametrize(
    ("source", "place", "message"),
    [
        ("concepts: {}", "at the top", "'language' is missing"),
        ("language: en", "at the top", "'concepts' is missing"),
        ("language: no\nconcepts: {a: {}}", "language", "this is False. Quote it"),
        ("language: en\nconcepts: []", "concepts", "a mapping from names"),
        ("language: en\nconcept: {}\nconcepts: {}", "at the top", "Nearest: concepts"),
        ("language: en\nconcepts: {a: {}}", "concepts.a", "no texts"),
        ("language: en\nconcepts: {a: {wrods: [a]}}", "concepts.a", "Nearest: words"),
        ("language: en\nconcepts: {a: {words: b}}", "concepts.a.words", "a list is expected"),
        ("language: en\nconcepts: {a: {words: [12]}}", "concepts.a.words[0]", "this is 12"),
        (
            "language: en\nconcepts: {a: {frames: ['b {word}']}}",
            "concepts.a",
            "'words' is missing",
        ),
        (
            "language: en\nconcepts: {a: {words: [a], frames: [b]}}",
            "concepts.a.frames[0]",
            "has none",
        ),
        (
            "language: en\nframes: ['{a} {b}']\nconcepts: {a: {words: [a]}}",
            "frames[0]",
            "has 2",
        ),
        (
            "language: fr\nframes: ['si {f}']\nconcepts: {a: {words: [{m: heureux}]}}",
            "frames[0]",
            "asks for a form that {'m': 'heureux'} lacks. It has: m",
        ),
        (
            "language: en\nconcepts: {a: {examples: [{text: b}]}}",
            "concepts.a.examples[0]",
            "'word' is missing",
        ),
        (
            "language: en\nconcepts: {a: {words: [a], frames: ['un{word}']}}",
            "concepts.a.frames[0]",
            "only a part of 'una'",
        ),
        (
            "language: en\nconcepts: &c {a: {examples: [{text: a, word: a}]}}\n"
            "---\nlanguage: en\nconcepts: {a: {examples: [{text: a, word: a}]}}",
            "document 2",
            "a (en) is there already",
        ),
    ],
)
def test_an_error_names_the_file_and_the_place(
    tmp_path: Path, source: str, place: str, message: str
) -> None:
    with pytest.raises(InputError) as caught:
        load(tmp_path, source)
    assert f"mine.yaml, {place}: " in str(caught.value)
    assert message in str(caught.value)


def test_an_absent_word_keeps_its_kind(tmp_path: Path) -> None:
    with pytest.raises(WordNotFoundError, match=r"mine\.yaml, concepts\.a\.examples"):
        load(tmp_path, "language: en\nconcepts: {a: {examples: [{text: b, word: c}]}}")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("", "has no concepts"),
        ("a: [", "is no valid YAML"),
        ("!!python/object/apply:os.getcwd []", "is no valid YAML"),
        ("language: en\nlanguage: fr", "'language' is there twice"),
        ("language: en\nconcepts: {a: {words: [b]}, a: {words: [c]}}", "'a' is there twice"),
    ],
)
def test_what_is_no_concept_file(tmp_path: Path, source: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load(tmp_path, source)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        load_concepts(tmp_path / "absent.yaml")
    (tmp_path / "latin.yaml").write_bytes("é".encode("latin-1"))
    with pytest.raises(InputError, match="cannot be read"):
        load_concepts(tmp_path / "latin.yaml")


def test_matched_words_are_concepts_of_their_own_in_the_common_frames(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        """\
language: fr
frames:
  - Elle est {f} ce soir.
  - frame: Il est {m} de venir.
    control: Il est {m} et il vient.
matched: [{m: grand, f: grande}, jeune]
concepts:
  proud: {words: [{m: fier, f: fière}]}
""",
        encoding="utf-8",
    )
    tall, young = load_matched(path)
    assert (tall.label, young.label) == ("grand (fr)", "jeune (fr)")
    assert tall.examples == (
        Example("Elle est grande ce soir.", "grande"),
        Example("Il est grand et il vient.", "grand"),
    )
    (proud,) = load_concepts(path)
    assert not proud.controls


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "matched: [tall, tall]\nframes: ['I am {word}.']",
            r"matched.*tall \(en\) is there already",
        ),
        ("matched: [tall]", "no common 'frames'"),
        ("matched: [{m: tall}]\nframes: ['I am {word}.']", "asks for a form"),
    ],
)
def test_matched_words_that_cannot_be_read_are_told(
    tmp_path: Path, source: str, message: str
) -> None:
    path = tmp_path / "mine.yaml"
    concepts = "concepts: {proud: {examples: [{text: So proud., word: proud}]}}"
    path.write_text(f"language: en\n{source}\n{concepts}\n", encoding="utf-8")
    with pytest.raises(InputError, match=message):
        load_matched(path)
