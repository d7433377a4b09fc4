"""Chats as ids: what the template writes may be a special token, what people wrote never is.

A chat is rendered to text with marks around every special word that came from outside. Behind the
marks a word is text again, without them it is its token. The text between two tokens is encoded in one
piece, so that the ids are those of the original code.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any

from jinja2.exceptions import TemplateError
from transformers.utils.chat_template_utils import render_jinja_template

from tl_ext.errors import InputError

_PRIVATE = range(0xF0000, 0xFFFFE)  # the first private plane of Unicode
_IN_A_ROLE = re.compile(r"[<|>\[\]]")


@dataclass(frozen=True)
class Part:
    """A stretch of a rendered chat: a text, or the name of a special token."""

    text: str
    special: bool


class Marks:
    """Marks around special words of what people wrote, in characters that they did not write.

    Args:
        specials: The names of the special tokens.
        given: Everything that will be rendered: messages, tools, documents, further values.
    """

    def __init__(self, specials: Sequence[str], given: Any) -> None:
        written = set("".join(_strings(given)))
        free = (chr(code) for code in _PRIVATE if chr(code) not in written)
        self._open, self._close = islice(free, 2)
        names = sorted(specials, key=len, reverse=True)
        self._word = re.compile("|".join(map(re.escape, names)))
        marked = f"{self._open}({self._word.pattern}){self._close}"
        self._token = re.compile(f"{marked}|({'|'.join(map(_as_token, names))})")

    def put(self, value: Any) -> Any:
        """The value with marks around the special words of its strings, keys included."""
        if isinstance(value, str):
            return self._word.sub(f"{self._open}\\g<0>{self._close}", value)
        if isinstance(value, Mapping):
            return {self.put(key): self.put(each) for key, each in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.put(each) for each in value]
        if value is None or isinstance(value, (bool, int, float)) or callable(value):
            return value
        raise InputError(
            f"A chat holds a {type(value).__name__}; strings, numbers, lists and dicts are read. "
            "Convert it first."
        )

    def parts(self, rendered: str) -> list[Part]:
        """A chat rendered from marked values, cut into texts and special tokens."""
        parts: list[Part] = []
        text, last = "", 0
        for found in self._token.finditer(rendered):
            text += rendered[last : found.start()]
            last = found.end()
            if found[1] is not None:
                text += found[1]
            else:
                parts += [Part(self._bare(text), False), Part(found[0], True)]
                text = ""
        parts.append(Part(self._bare(text + rendered[last:]), False))
        return [part for part in parts if part.text]

    def _bare(self, text: str) -> str:
        # A template that splits a string may have parted two marks.
        return text.replace(self._open, "").replace(self._close, "")


def check_roles(conversation: Any) -> None:
    """Refuse roles that could spell a special token once a template writes them.

    Raises:
        InputError: A role has a character of the special tokens' names in it.
    """
    for value in _mappings(conversation):
        role = value.get("role")
        if isinstance(role, str) and _IN_A_ROLE.search(role):
            raise InputError(
                f"The role of a message is {role!r}; a word such as 'user' or 'assistant' is expected."
            )


@lru_cache
def agree(template: str, ours: str) -> bool:
    """Whether two templates write a chat of plain messages alike."""
    chat = [
        {"role": role, "content": f"{role} says x"}
        for role in ("system", "user", "assistant", "observation", "user")
    ]
    try:
        texts = {
            render_jinja_template([chat], chat_template=each, add_generation_prompt=True)[0][0]
            for each in (template, ours)
        }
    except (TemplateError, TypeError, ValueError):
        return False
    return len(texts) == 1


def ids_of(
    parts: Sequence[Part],
    *,
    prefix: Sequence[int],
    special: Callable[[str], int],
    beginning: Callable[[str], list[int]],
    following: Callable[[str], list[int]],
) -> list[int]:
    """The ids of a rendered chat.

    Args:
        parts: Its texts and special tokens.
        prefix: What stands before a chat that does not begin with a special token itself.
        special: The id of a special token.
        beginning: Encodes a text that stands first.
        following: Encodes a text that follows a special token.
    """
    ids: list[int] = []
    for n, part in enumerate(parts):
        if part.special:
            ids.append(special(part.text))
        elif n == 0:
            ids += [*prefix, *beginning(part.text)]
        else:
            ids += following(part.text)
    return ids


def _as_token(name: str) -> str:
    # "sop" and "eop" are words: a template means the token where it stands alone or after a mask.
    escaped = re.escape(name)
    return rf"(?<=MASK\]){escaped}|\b{escaped}\b" if name.isalpha() else escaped


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from _strings([*value, *value.values()])
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _strings(each)


def _mappings(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, Mapping):
        yield value
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _mappings(each)
