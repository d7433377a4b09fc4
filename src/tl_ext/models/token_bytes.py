"""Single tokens as bytes, so that any run of them can be shown as text without the tokenizer."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def token_bytes(tokenizer: PreTrainedTokenizerBase, ids: Iterable[int]) -> dict[int, bytes]:
    """What each token adds to a text, as UTF-8; a token may hold a part of a character.

    Args:
        tokenizer: Any Hugging Face tokenizer.
        ids: Token ids.
    """
    ids = list(dict.fromkeys(ids))
    names = tokenizer.convert_ids_to_tokens(ids)
    # After another token: by itself one may lose its leading space.
    anchor = list(tokenizer("a", add_special_tokens=False)["input_ids"])[-1:]
    start = _decoded(tokenizer, [anchor])[0]
    texts = _decoded(tokenizer, [[*anchor, one] for one in ids])
    out = {}
    for id, name, text in zip(ids, names, texts, strict=True):
        said = text[len(start) :] if text.startswith(start) else text
        raw = _raw(str(name)) if "\ufffd" in said else None
        out[id] = said.encode("utf-8", "replace") if raw is None else raw
    return out


def strings(ids: Iterable[int], known: Mapping[int, bytes]) -> list[str]:
    """Each token as text; the pieces of one character appear where it ends.

    Args:
        ids: Tokens that follow each other.
        known: Their bytes.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    return [decoder.decode(known.get(id, b"")) for id in ids]


def _decoded(tokenizer: PreTrainedTokenizerBase, rows: list[list[int]]) -> list[str]:
    return [
        str(tokenizer.decode(row, skip_special_tokens=False, clean_up_tokenization_spaces=False))
        for row in rows
    ]


def _raw(name: str) -> bytes | None:
    """The bytes of a token's name, in the two spellings there are; None for any other."""
    match = re.fullmatch(r"<0x([0-9A-Fa-f]{2})>", name)
    if match:
        return bytes([int(match[1], 16)])
    table = _byte_letters()
    return bytes(table[one] for one in name) if all(one in table for one in name) else None


@cache
def _byte_letters() -> dict[str, int]:
    """The letters that byte-level BPE writes for bytes: printable ones for themselves.

    Source: Radford et al. 2019, GPT-2, `bytes_to_unicode`.
    """
    plain = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    other: Iterator[int] = iter(range(256, 512))
    return {chr(one if one in plain else next(other)): one for one in range(256)}
