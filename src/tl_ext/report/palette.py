"""Colours that stay apart for colour-blind readers and on grey paper.

Series: the palette of Okabe and Ito, ordered so that neighbours differ in lightness too; each also
has a marker and a dash of its own. Scales: ColorBrewer's YlGnBu (sequential, monotone in lightness)
and RdBu (diverging, red negative, blue positive). Grey belongs to no scale and means "undefined".

Source: Okabe and Ito, Color Universal Design (2008); Brewer, colorbrewer2.org.
"""

from __future__ import annotations

from collections.abc import Sequence

SERIES = (
    *("#0072b2", "#e69f00", "#00664a", "#cc79a7", "#333333", "#56b4e9", "#d55e00"),
    *(
        "#7b4fa3",
        "#8a8f98",
        "#8c7a00",
    ),  # ours: where there are more series than Okabe and Ito named
)
SERIES_TEXT = (
    *("#005a8e", "#8f5b00", "#00513b", "#93456f", "#222222", "#1f6f9e", "#a34700"),
    *("#663c8f", "#5b616b", "#6b5d00"),
)
PLOTLY_SYMBOLS = (
    "circle",
    "diamond-open",
    "square",
    "triangle-up-open",
    "x",
    "circle-open",
    "triangle-down",
    "square-open",
    "cross",
    "star",
)
MATPLOTLIB_SYMBOLS = ("o", "D", "s", "^", "x", "o", "v", "s", "P", "*")
OPEN_SYMBOLS = (False, True, False, True, False, True, False, True, False, False)
PLOTLY_DASHES = (
    *("solid", "dash", "dot", "dashdot", "longdash", "longdashdot", "solid"),
    *("5px,2px", "2px,5px", "9px,2px,2px,2px,2px,2px"),
)
MATPLOTLIB_DASHES = (
    *("-", "--", ":", "-.", (0, (8, 3)), (0, (8, 3, 1, 3)), "-"),
    *((0, (5, 2)), (0, (2, 5)), (0, (9, 2, 2, 2, 2, 2))),
)
PLOTLY_PATTERNS = ("", "/", "x", ".", "\\", "-", "+", "|", "/", "x")
MATPLOTLIB_HATCHES = ("", "///", "xxx", "...", "\\\\\\", "---", "+++", "|||", "//", "xx")

SEQUENTIAL = (
    "#ffffd9",
    "#edf8b1",
    "#c7e9b4",
    "#7fcdbb",
    "#41b6c4",
    "#1d91c0",
    "#225ea8",
    "#253494",
    "#081d58",
)
DIVERGING = (
    "#67001f",
    "#b2182b",
    "#d6604d",
    "#f4a582",
    "#fddbc7",
    "#f7f7f7",
    "#d1e5f0",
    "#92c5de",
    "#4393c3",
    "#2166ac",
    "#053061",
)
UNDEFINED = "#d4d4d4"
INK = "#1f2430"
MUTED = "#5b6270"
GRID = "#e6e8ec"
PAPER = "#ffffff"
ACCENT = "#b3261e"


def stops(scale: str) -> tuple[str, ...]:
    """The colours of the scale of that name, lowest first."""
    return DIVERGING if scale == "diverging" else SEQUENTIAL


def _channels(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def colour_at(colours: Sequence[str], share: float) -> str:
    """The colour a share in [0, 1] of the way along a scale."""
    place = min(max(share, 0.0), 1.0) * (len(colours) - 1)
    low = min(int(place), len(colours) - 2)
    part = place - low
    pairs = zip(_channels(colours[low]), _channels(colours[low + 1]), strict=True)
    return "#" + "".join(f"{round(a + (b - a) * part):02x}" for a, b in pairs)


def luminance(colour: str) -> float:
    """Relative luminance in [0, 1].

    Source: WCAG 2.1, "relative luminance".
    """
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
        for c in (channel / 255 for channel in _channels(colour))
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def text_on(colour: str) -> str:
    """Ink or white, whichever reads better on a colour."""
    light = luminance(colour)
    on_white = 1.05 / (light + 0.05)
    on_ink = (light + 0.05) / (luminance(INK) + 0.05)
    return INK if on_ink >= on_white else PAPER
