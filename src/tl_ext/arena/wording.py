"""Texts on a figure: wrapped to a width, and mathematics only where matplotlib can set it."""

from __future__ import annotations

from bisect import bisect_right
from functools import lru_cache

from matplotlib.font_manager import FontProperties
from matplotlib.mathtext import MathTextParser
from matplotlib.textpath import TextPath

_parser = MathTextParser("path")


@lru_cache(maxsize=4096)
def is_mathematics(text: str) -> bool:
    """Whether a text has `$mathematics$` in it that matplotlib can set.

    Args:
        text: Any text; "costs $5" and "$\\nonsense$" are words.
    """
    if text.count("$") < 2:
        return False
    try:
        _parser.parse(text)
    except ValueError:
        return False
    return True


@lru_cache(maxsize=4096)
def wrapped(text: str, size: float, width: float, *, bold: bool = False) -> str:
    """Break a text into lines.

    Args:
        text: The text; its own line breaks stay. Mathematics is not broken.
        size: The font's size in points.
        width: What a line may take, in inches.
        bold: Whether it is set in bold.

    Returns:
        The text with line breaks, between words where that is possible.
    """
    if is_mathematics(text):
        return text
    lines: list[str] = []
    for line in text.splitlines():
        lines += _broken(line, size, width, bold)
    return "\n".join(lines)


def _broken(line: str, size: float, width: float, bold: bool) -> list[str]:
    """One line as several, each as long as fits."""
    out: list[str] = []
    rest = line.strip()
    while _inches(rest, size, bold) > width and len(rest) > 1:
        lengths = range(1, len(rest))
        fits = max(1, bisect_right(lengths, width, key=lambda n: _inches(rest[:n], size, bold)))
        space = rest.rfind(" ", 1, fits + 1)
        cut = space if space > 0 else fits
        out.append(rest[:cut].rstrip())
        rest = rest[cut:].lstrip()
    return [*out, rest]


@lru_cache(maxsize=65536)
def _inches(text: str, size: float, bold: bool) -> float:
    """How wide a text is set."""
    font = FontProperties(size=size, weight="bold" if bold else "normal")
    plain = text.replace("$", r"\$").strip()
    if not plain:
        return 0.0
    return float(TextPath((0, 0), plain, prop=font).get_extents().width) / 72
