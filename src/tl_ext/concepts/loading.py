r"""Concepts from a YAML file, and back.

A file holds one document for each language, set apart by `---`:

    language: en
    frames:                       # every concept below stands in each of these ...
      - I am so {word} today.
      - The {word} girl waited for the bus.
    controls: [tired, busy]       # ... and so do the words that take its place
    matched: [tall, old]          # ... and these, each by itself in all of them (see below)
    concepts:
      happy:
        words: [happy, cheerful]
        frames:                   # its own frames come before the common ones
          - I got the job and I'm so {word}.
          - frame: I'm so {word} I got the job I wanted.
            words: [glad]                                     # only in this frame
            control: I'm so {word} and I got the job I wanted.  # the frame for the control word
        examples:                 # texts that are no frames
          - {text: Happiness is a warm puppy., word: Happiness}
        control_examples:
          - {text: Tea is a warm drink., word: Tea}

Words and control words are taken in turn: the first frame has the first word, the second the
second, and so on round. So each frame gives one text with a word and one with a control word.

A word that changes with what it is said of is a mapping of forms, and the slot names the form:

    language: fr
    controls:
      - {m: fatigué, f: fatiguée}
    concepts:
      happy:
        words:
          - {m: heureux, f: heureuse}
        frames:
          - Elle est si {f} aujourd'hui.

A word without forms fits every slot. `matched` words are read by `load_matched`: each becomes a
concept of its own in the common frames, so that many such words show what chance does. They are
words that fit the slots and say nothing like the concepts; 59 of them or more serve well. A concept
needs `words` where it has frames, and frames or `examples` in any case; everything else may be left
out. All slots are in braces, one to a frame; a frame that begins with one is quoted, as YAML asks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import regex
import yaml

from tl_ext.concepts.concept import Concept, Example
from tl_ext.errors import InputError, nearest

_SLOT = regex.compile(r"\{(\w+)\}")
_DOCUMENT = ("language", "frames", "controls", "matched", "concepts")
_CONCEPT = ("words", "frames", "controls", "examples", "control_examples")
_FRAME = ("frame", "words", "control")
_EXAMPLE = ("text", "word")

Word = str | Mapping[str, str]


def load_concepts(path: str | Path) -> list[Concept]:
    """Read the concepts of a YAML file; its format is described at the head of this module.

    Args:
        path: The file, in UTF-8.

    Returns:
        The concepts, in the file's order.

    Raises:
        InputError: The file cannot be read, or something in it is missing, misspelled or of the
            wrong kind, or two concepts have one name and language. The message names the file and
            the place in it.
        WordNotFoundError: A word does not stand in its text.
    """
    return parse_concepts(_source(path), str(path))


def load_matched(path: str | Path) -> list[Concept]:
    """Read the matched words of a YAML file, each as a concept of its own in the common frames.

    Args:
        path: The file, in UTF-8; its format is described at the head of this module.

    Returns:
        A concept per word, named by the word (by the first of its forms), in the file's order. Empty
        where the file lists none.

    Raises:
        InputError: As for `load_concepts`; or a word is there twice, or there are words and no frames.
    """
    return parse_matched(_source(path), str(path))


def parse_concepts(source: str, name: str) -> list[Concept]:
    """Read concepts from YAML text; `name` is what messages call it."""
    concepts: list[Concept] = []
    for document, at in _documents(source, name):
        _add(concepts, _language(document, at), at)
    if not concepts:
        raise InputError(f"{name} has no concepts. Give a language and its concepts.")
    return concepts


def parse_matched(source: str, name: str) -> list[Concept]:
    """Read matched words from YAML text; `name` is what messages call it."""
    concepts: list[Concept] = []
    for document, at in _documents(source, name):
        _add(concepts, _matched(document, at), at / "matched")
    return concepts


def _source(path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The concept file {path} cannot be read: {error}.") from error


def _documents(source: str, name: str) -> Iterator[tuple[object, _Place]]:
    try:
        documents = list(yaml.load_all(source, Loader=_Loader))
    except yaml.YAMLError as error:
        raise InputError(f"{name} is no valid YAML: {error}") from error
    for i, document in enumerate(documents):
        yield document, _Place(name, f"document {i + 1}" if len(documents) > 1 else "")


def _add(concepts: list[Concept], more: Iterable[Concept], at: _Place) -> None:
    for concept in more:
        if concept.label in {other.label for other in concepts}:
            raise at.error(f"{concept.label} is there already. Give each name once a language.")
        concepts.append(concept)


def dump_concepts(concepts: Iterable[Concept]) -> str:
    """Write concepts as YAML that `load_concepts` reads back: every text in full, no frames.

    Args:
        concepts: The concepts.

    Returns:
        The text of the file.
    """
    by_language: dict[str, dict[str, Any]] = {}
    for concept in concepts:
        texts = by_language.setdefault(concept.language, {})
        if concept.name in texts:
            raise InputError(f"{concept.label} is given twice. Give each name once a language.")
        texts[concept.name] = {
            key: [{"text": example.text, "word": example.word} for example in examples]
            for key, examples in (
                ("examples", concept.examples),
                ("control_examples", concept.controls),
            )
            if examples
        }
    return yaml.safe_dump_all(
        [{"language": language, "concepts": texts} for language, texts in by_language.items()],
        allow_unicode=True,
        sort_keys=False,
        width=1000,
    )


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, which would otherwise let the second of two equal keys win silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for i, key in enumerate(keys):
            if key in keys[:i]:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key!r} is there twice", node.value[i][0].start_mark
                )
        return super().construct_mapping(node, deep=deep)


@dataclass(frozen=True)
class _Place:
    """Where in which file we are, for messages."""

    file: str
    place: str = ""

    def __truediv__(self, key: str | int) -> _Place:
        if isinstance(key, int):
            return _Place(self.file, f"{self.place}[{key}]")
        return _Place(self.file, f"{self.place}.{key}".lstrip("."))

    def error(self, message: str) -> InputError:
        return InputError(f"{self.file}, {self.place or 'at the top'}: {message}")

    def mapping(
        self, given: object, keys: tuple[str, ...], needed: tuple[str, ...] = ()
    ) -> Mapping[str, Any]:
        if not isinstance(given, dict):
            raise self.error(f"a mapping of {', '.join(keys)} is expected, this is {given!r}.")
        for key in given:
            if key not in keys:
                raise self.error(
                    f"{key!r} is unknown.{nearest(str(key), keys)} There are: {', '.join(keys)}."
                )
        for key in needed:
            if key not in given:
                raise self.error(f"{key!r} is missing.")
        return given

    def strings(self, given: object) -> str:
        if not isinstance(given, str) or not given:
            raise self.error(
                f"text is expected, this is {given!r}. Quote it where YAML takes it for something "
                "else (no, yes, 12, {...})."
            )
        return given

    def items(self, given: object) -> Iterator[tuple[_Place, Any]]:
        if given is None:
            return
        if not isinstance(given, list):
            raise self.error(f"a list is expected, this is {given!r}.")
        for i, item in enumerate(given):
            yield self / i, item


@dataclass(frozen=True)
class _Frame:
    text: str
    words: list[Word]
    control: str
    at: _Place


def _language(document: object, at: _Place) -> Iterator[Concept]:
    given = at.mapping(document, _DOCUMENT, needed=("language", "concepts"))
    language = (at / "language").strings(given["language"])
    frames = list(_frames(given.get("frames"), at / "frames"))
    controls = list(_words(given.get("controls"), at / "controls"))
    concepts = given["concepts"]
    here = at / "concepts"
    if not isinstance(concepts, dict) or not concepts:
        raise here.error(f"a mapping from names to concepts is expected, this is {concepts!r}.")
    for name, concept in concepts.items():
        here.strings(name)
        yield _concept(name, language, concept, here / name, frames, controls)


def _matched(document: object, at: _Place) -> Iterator[Concept]:
    """Each matched word in every common frame, where a control word's frame differs in that one."""
    given = at.mapping(document, _DOCUMENT, needed=("language", "concepts"))
    language = (at / "language").strings(given["language"])
    frames = list(_frames(given.get("frames"), at / "frames"))
    words = list(_words(given.get("matched"), at / "matched"))
    if words and not frames:
        raise (at / "matched").error("there are no common 'frames' to put these words in.")
    for word in words:
        name = word if isinstance(word, str) else next(iter(word.values()))
        yield Concept(
            name, language, tuple(_filled(frame.control, word, frame.at) for frame in frames)
        )


def _concept(
    name: str,
    language: str,
    given: object,
    at: _Place,
    common: list[_Frame],
    common_controls: list[Word],
) -> Concept:
    given = at.mapping(given, _CONCEPT)
    words = list(_words(given.get("words"), at / "words"))
    controls = list(_words(given.get("controls"), at / "controls")) or common_controls
    frames = list(_frames(given.get("frames"), at / "frames"))
    if frames and not words and not all(frame.words for frame in frames):
        raise at.error("'words' is missing: there are frames to put them in.")
    examples = list(_examples(given.get("examples"), at / "examples"))
    control_examples = list(_examples(given.get("control_examples"), at / "control_examples"))
    # A concept without words has texts of its own and takes no part in the common frames.
    for i, frame in enumerate([*frames, *common] if words else frames):
        chosen = frame.words or words
        examples.append(_filled(frame.text, chosen[i % len(chosen)], frame.at))
        if controls:
            control = controls[i % len(controls)]
            control_examples.append(_filled(frame.control, control, frame.at))
    if not examples:
        raise at.error("no texts. Give 'examples', or 'words' and frames to put them in.")
    return Concept(name, language, tuple(examples), tuple(control_examples))


def _frames(given: object, at: _Place) -> Iterator[_Frame]:
    for here, frame in at.items(given):
        if not isinstance(frame, dict):
            text = _one_slot(frame, here)
            yield _Frame(text, [], text, here)
            continue
        frame = here.mapping(frame, _FRAME, needed=("frame",))
        text = _one_slot(frame["frame"], here / "frame")
        words = list(_words(frame.get("words"), here / "words"))
        control = _one_slot(frame.get("control", text), here / "control")
        yield _Frame(text, words, control, here)


def _one_slot(given: object, at: _Place) -> str:
    text = at.strings(given)
    slots = _SLOT.findall(text)
    if len(slots) != 1:
        raise at.error(
            f"a frame has one slot, such as {{word}}; {text!r} has {len(slots) or 'none'}."
        )
    return text


def _words(given: object, at: _Place) -> Iterator[Word]:
    for here, word in at.items(given):
        if isinstance(word, dict):
            for form, surface in word.items():
                (here / str(form)).strings(surface)
            yield word
        else:
            yield here.strings(word)


def _examples(given: object, at: _Place) -> Iterator[Example]:
    for here, example in at.items(given):
        example = here.mapping(example, _EXAMPLE, needed=_EXAMPLE)
        text = (here / "text").strings(example["text"])
        yield _example(text, (here / "word").strings(example["word"]), here)


def _filled(frame: str, word: Word, at: _Place) -> Example:
    """The frame with the word, in the form that the slot asks for."""
    match = _SLOT.search(frame)
    assert match is not None  # every frame was read by _one_slot
    form = match[1]
    if isinstance(word, str):
        surface = word
    elif form in word:
        surface = word[form]
    else:
        raise at.error(
            f"the slot {{{form}}} of {frame!r} asks for a form that {dict(word)} lacks. It has: "
            f"{', '.join(word)}."
        )
    return _example(frame[: match.start()] + surface + frame[match.end() :], surface, at)


def _example(text: str, word: str, at: _Place) -> Example:
    try:
        return Example(text, word)
    except InputError as error:
        raise type(error)(f"{at.file}, {at.place}: {error}") from error
