"""Text as it is shown: invisible characters made visible, numbers made short."""

from __future__ import annotations

import unicodedata

_SHOWN = {"\n": "↵", "\r": "␍", "\t": "⇥", "\u00a0": "⍽", "\u2028": "↵", "\u2029": "¶"}
_JOINERS = {"\u200c", "\u200d"}


def visible(text: str, *, space: str = " ") -> str:
    """The text with every character that would not be seen written out.

    Line breaks become ↵, tabs ⇥; control and direction characters become ‹U+202E›, so that no
    text can hide or reorder what stands around it. Joiners, which scripts and emoji need, stay.

    Args:
        text: Any text.
        space: What to write for a space.

    Returns:
        Text of one line.
    """
    return "".join(_character(character, space) for character in text)


def _character(character: str, space: str) -> str:
    if character == " ":
        return space
    if character in _SHOWN:
        return _SHOWN[character]
    if character not in _JOINERS and unicodedata.category(character) in {"Cc", "Cf", "Cs"}:
        return f"‹U+{ord(character):04X}›"
    return character


def short(value: float | None) -> str:
    """A number in about three digits: 0.0312, 24.3, 1234, 1.2e-05; an undefined one as –."""
    if value is None:
        return "–"
    if value == int(value) and abs(value) < 1e6:
        return str(int(value))
    size = abs(value)
    if size >= 1e6 or size < 1e-4:
        return f"{value:.2g}"
    if size >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}"


def cut(text: str, length: int) -> str:
    """The text, ended by … where it is longer than `length`."""
    return text if len(text) <= length else text[: length - 1] + "…"
