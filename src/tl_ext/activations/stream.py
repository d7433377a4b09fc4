"""Texts of any number, read once and in order: files, data sets and iterators, cut to contexts.

`TextReader` gives texts and knows how far it is, so that a stream can be continued; `chunks` cuts them
to contexts a model can read, and `captured` reads those in batches.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from jaxtyping import Int
from torch import Tensor

from tl_ext.activations.capture import CapturedBatch, run
from tl_ext.errors import InputError
from tl_ext.models.tokens import from_ids
from tl_ext.upstream import prefix_ids

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

LongTexts = Literal["windows", "cut"]
"""What is done with a text longer than a context: read it all, window after window, or cut it."""
FileTexts = Literal["lines", "whole"]
"""What a text of a file is: a line, or the file itself, in blocks."""

CHUNK_TEXTS = 256
CHUNK_CHARACTERS = 2**16
"""How much is held at a time and sorted by length; a stream can be continued where a chunk ends."""
BLOCK = 2**16
"""Characters of a file read as a whole that are tokenised at a time."""


@dataclass(frozen=True)
class Position:
    """How far a stream has been read.

    Attributes:
        texts: How many texts.
        digest: A mark of what they were, in order.
    """

    texts: int = 0
    digest: str = ""


class TextReader:
    """Texts one by one, from whatever holds them.

    Attributes:
        position: How far it has been read.
        total: How many texts there are; None where the source does not say.
    """

    def __init__(
        self,
        source: object,
        *,
        column: str = "text",
        file_texts: FileTexts = "lines",
    ) -> None:
        """Take a source; nothing is read yet.

        Args:
            source: A path; a Hugging Face `Dataset` or `IterableDataset`, or any iterable of rows; or
                an iterable of texts.
            column: The column of a row that holds its text.
            file_texts: "lines": each line of a file is a text. "whole": the file is one, read in
                blocks that end between words; no context spans two blocks.

        Raises:
            InputError: No such file, one string, or a data set of several splits.
        """
        self.position = Position()
        self.total: int | None = None
        self._column = column
        self._texts = self._open(source, file_texts)

    def _open(self, source: Any, file_texts: FileTexts) -> Iterator[str]:
        if isinstance(source, Path):
            path = source.expanduser()
            if not path.is_file():
                raise InputError(f"There is no text file {path}.")
            return _lines(path) if file_texts == "lines" else _blocks(path)
        if isinstance(source, str):
            raise InputError(
                f"Texts are expected, not one string: pass [{source[:40]!r}], or Path(...) for a file."
            )
        if isinstance(source, Mapping):
            raise InputError(
                f"One split of a data set is expected, not all of {', '.join(map(str, source))}: "
                "choose one by its name."
            )
        if not isinstance(source, Iterable):
            raise InputError(
                f"Texts, a Path or a data set is expected, not {type(source).__name__}."
            )
        self.total = len(source) if isinstance(source, Sized) else None
        return (self._text(row, number) for number, row in enumerate(source))

    def _text(self, row: object, number: int) -> str:
        if isinstance(row, Mapping):
            if self._column not in row:
                raise InputError(
                    f"Row {number} has no column {self._column!r}; it has "
                    f"{', '.join(map(str, row))}. Name one: column=..."
                )
            row = row[self._column]
        if not isinstance(row, str):
            raise InputError(
                f"Text {number} is {type(row).__name__}, not a string. Rows of a data set need the "
                "column that holds their text: column=..."
            )
        return row

    def __iter__(self) -> Iterator[tuple[int, str]]:
        """Each text with its number."""
        for text in self._texts:
            number, before = self.position.texts, self.position.digest
            said = before.encode() + text.encode("utf-8", "surrogatepass")
            self.position = Position(number + 1, hashlib.blake2b(said, digest_size=16).hexdigest())
            yield number, text

    def skip(self, position: Position) -> None:
        """Read up to where an earlier stream stopped.

        Raises:
            InputError: These are not the texts that stream read.
        """
        if position.texts:
            for number, _ in self:
                if number + 1 == position.texts:
                    break
        if self.position != position:
            raise InputError(
                f"The first {position.texts} texts are not those that were read before. Give the "
                "texts of before, or another folder."
            )


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8") as file:
        yield from (line.rstrip("\n") for line in _decoded(path, file))


def _blocks(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8") as file:
        held = ""
        for piece in _decoded(path, iter(lambda: file.read(BLOCK), "")):
            held += piece
            end = max(held.rfind(" "), held.rfind("\n"))
            if len(held) < BLOCK or end < 1:
                continue
            yield held[:end]
            held = held[end:]
        if held:
            yield held


def _decoded(path: Path, pieces: Iterable[str]) -> Iterator[str]:
    try:
        yield from pieces
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is not UTF-8 text ({error.reason} at byte {error.start}). Convert it first."
        ) from error


@dataclass(frozen=True)
class Context:
    """What the model reads at once: a text, or a window of a longer one.

    Attributes:
        text: The number of its text.
        start: Which token of the text it begins with.
        ids: Its tokens, without prefix.
    """

    text: int
    start: int
    ids: Sequence[int]


@dataclass(frozen=True, eq=False)
class StreamedBatch:
    """A batch of contexts and what the model computed on them.

    Attributes:
        part: The batch; `part.texts` are the numbers of the texts.
        start: For each row, which token of its text it begins with.
    """

    part: CapturedBatch
    start: Int[Tensor, " text"]


def chunks(
    model: TransformerBridge,
    reader: TextReader,
    *,
    max_tokens: int,
    long_texts: LongTexts = "windows",
) -> Iterator[list[Context]]:
    """Contexts of some texts at a time; `reader.position` is where the chunk ends.

    Windows of a text follow each other without overlap. Texts without a token have no context.

    Args:
        model: The model they are for.
        reader: The texts.
        max_tokens: Length of a context, prefix included.
        long_texts: What is done with longer ones.

    Raises:
        InputError: A length that leaves no room for a token or is more than the model's context.
    """
    room = max_tokens - len(prefix_ids(model.tokenizer))
    if room < 1 or max_tokens > int(model.cfg.n_ctx):
        raise InputError(
            f"max_tokens is {max_tokens}; from {max_tokens - room + 1} (the prefix and a token) to "
            f"{int(model.cfg.n_ctx)} (the model's context) is expected."
        )
    numbers: list[int] = []
    texts: list[str] = []
    for number, text in reader:
        numbers.append(number)
        texts.append(text)
        if len(texts) == CHUNK_TEXTS or sum(map(len, texts)) >= CHUNK_CHARACTERS:
            yield _contexts(model, numbers, texts, room, long_texts)
            numbers, texts = [], []
    if texts:
        yield _contexts(model, numbers, texts, room, long_texts)


def _contexts(
    model: TransformerBridge,
    numbers: Sequence[int],
    texts: Sequence[str],
    room: int,
    long_texts: LongTexts,
) -> list[Context]:
    rows = model.tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
    return [
        Context(number, start, ids[start : start + room])
        for number, ids in zip(numbers, rows, strict=True)
        for start in range(0, len(ids) if long_texts == "windows" else min(1, len(ids)), room)
    ]


def captured(
    model: TransformerBridge,
    contexts: Sequence[Context],
    hook_points: Sequence[str],
    *,
    batch_size: int,
) -> Iterator[StreamedBatch]:
    """What the model computes on contexts, those of similar length together.

    Args:
        model: A hooked model.
        contexts: What it reads.
        hook_points: Where to read activations.
        batch_size: Contexts in a forward pass.
    """
    head = prefix_ids(model.tokenizer)
    order = sorted(contexts, key=lambda one: len(one.ids))
    for first in range(0, len(order), batch_size):
        chosen = order[first : first + batch_size]
        tokens = from_ids(model, [[*head, *one.ids] for one in chosen], prefix_length=len(head))
        part = CapturedBatch(
            tokens, torch.tensor([one.text for one in chosen]), run(model, tokens, hook_points)
        )
        yield StreamedBatch(part, torch.tensor([one.start for one in chosen]))
