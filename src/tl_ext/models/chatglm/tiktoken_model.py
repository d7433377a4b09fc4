"""The tiktoken-style file of GLM-4, LongWriter and CodeGeeX4, as a fast tokenizer.

Each line holds a token in base64 and its rank, which is its id. Within each word that a pattern cuts
from the text, the two neighbours whose union has the best rank are joined, the leftmost of equals,
unless the word is itself a token.

Source: `_byte_pair_merge` of https://github.com/openai/tiktoken; the pattern is that of the published
`tokenization_chatglm.py` of glm-4-9b.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from tokenizers.pre_tokenizers import PreTokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

from tl_ext.errors import InputError

_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def is_tiktoken(file: str | Path) -> bool:
    """Whether a tokenizer.model is in tiktoken's format: lines of base64 and a rank."""
    with Path(file).open("rb") as handle:
        first = handle.readline(1000)
    try:
        _line(first)
    except ValueError:
        return False
    return True


def ranks(file: str | Path) -> dict[bytes, int]:
    """The tokens of a tiktoken-style file and their ids.

    Raises:
        InputError: A line is not a token in base64 and a rank, or two share a rank.
    """
    table: dict[bytes, int] = {}
    for number, line in enumerate(Path(file).read_bytes().splitlines(), start=1):
        if line.strip():
            try:
                token, rank = _line(line)
            except ValueError as error:
                raise InputError(
                    f"Line {number} of {file} is {line[:40]!r}; a token in base64, a space and its rank "
                    "are expected. Fetch the file again."
                ) from error
            table[token] = rank
    if len(set(table.values())) != len(table):
        raise InputError(f"{file} gives one rank to two tokens. Fetch the file again.")
    if missing := [byte for byte in range(256) if bytes([byte]) not in table]:
        raise InputError(
            f"{file} has no token for {len(missing)} of the 256 bytes ({missing[:5]}...), so not every "
            "text could be read. Fetch the file again."
        )
    return table


def backend(file: str | Path, specials: Mapping[str, int] | tuple[str, ...]) -> Tokenizer:
    """A fast tokenizer that gives the ids of a tiktoken-style file.

    Args:
        file: The published tokenizer.model.
        specials: The special tokens and their ids, or only their names, which then stand behind the
            file's own.

    Returns:
        The tokenizer, without what stands before a text.

    Raises:
        InputError: The file is broken, or a special token has the id or the name of another one.
    """
    table = ranks(file)
    if not isinstance(specials, Mapping):
        specials = {name: len(table) + n for n, name in enumerate(specials)}
    letters = bytes_to_unicode()
    spelled = {token: token.decode("latin-1").translate(letters) for token in table}
    vocabulary = {spelled[token]: rank for token, rank in table.items()}
    ids = set(table.values())
    if taken := [name for name, id in specials.items() if id in ids or name in vocabulary]:
        raise InputError(
            f"The special tokens {', '.join(taken)} have ids or names of tokens in {file}, which counts "
            f"{len(table)} of them. Give the tokenizer_config.json that was published with it."
        )
    vocabulary |= specials
    merges = [
        (rank, spelled[token[:cut]], spelled[token[cut:]])
        for token, rank in table.items()
        for cut in range(1, len(token))
        if token[:cut] in table and token[cut:] in table
    ]
    merges.sort(key=lambda merge: (merge[0], len(merge[1])))
    tokenizer = Tokenizer(
        models.BPE(
            vocab=vocabulary,
            merges=[(left, right) for _, left, right in merges],
            fuse_unk=False,
            ignore_merges=True,
        )
    )
    tokenizer.pre_tokenizer = pre_tokenizer()
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(name, normalized=False) for name in specials])
    return tokenizer


def pre_tokenizer() -> PreTokenizer:
    """The words that the published pattern cuts a text into, written byte by byte."""
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def _line(line: bytes) -> tuple[bytes, int]:
    token, rank = line.split()
    try:
        return base64.b64decode(token, validate=True), int(rank)
    except binascii.Error as error:
        raise ValueError(str(error)) from error
