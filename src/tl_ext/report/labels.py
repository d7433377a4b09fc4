"""Where ticks and labels go: the arithmetic both renderers share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from tl_ext.report.marks import (
    Bars,
    Heatmap,
    Histogram,
    Lines,
    Mark,
    Panels,
    Scatter,
    Series,
    Stems,
)

Range = tuple[float, float]


def nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` round numbers between two values."""
    if not high > low:
        return [low]
    rough = (high - low) / count
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= rough)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def log_ticks(low: float, high: float, most: int = 8) -> list[float]:
    """Powers of two between two positive values; powers of ten where those would be too many."""
    for base in (2.0, 10.0):
        first = math.ceil(math.log(low, base) - 1e-9)
        last = math.floor(math.log(high, base) + 1e-9)
        found = [base**power for power in range(first, last + 1)]
        if len(found) <= most:
            return found
    return found[:: -(-len(found) // most)]


@dataclass(frozen=True)
class Named:
    """A latent that is named in a figure of stems.

    Attributes:
        series: Which series it belongs to.
        index: The latent.
        height: Where its stem ends; below zero in the lower half of a mirrored figure.
        value: Its activation.
        offset: From the end of its stem to the centre of its label, across and upwards, in the
            unit of the figure's size.
    """

    series: int
    index: int
    height: float
    value: float
    offset: tuple[float, float]


def named(
    mark: Stems, across: Range, upward: Range, *, size: tuple[float, float], font: float
) -> list[Named]:
    """The latents to name, with their labels apart from each other.

    Args:
        mark: The stems.
        across: The values across that the figure spans.
        upward: The values upwards.
        size: Its width and height, in pixels or points.
        font: Size of a letter, in the same unit.

    Returns:
        The latents, highest first.
    """
    found = []
    for n, series in enumerate(mark.series):
        sign = -1.0 if mark.arrangement == "mirrored" and n == 1 else 1.0
        found += [(n, index, sign * value, value) for index, value in mark.labelled(series)]
    found.sort(key=lambda one: -abs(one[2]))
    x_unit = size[0] / (across[1] - across[0])
    y_unit = size[1] / (upward[1] - upward[0])
    points = [
        ((index - across[0]) * x_unit, (height - upward[0]) * y_unit, str(index), height < 0)
        for _, index, height, _ in found
    ]
    offsets = place(points, size=size, font=font)
    return [Named(*one, offset) for one, offset in zip(found, offsets, strict=True)]


def place(
    points: Sequence[tuple[float, float, str, bool]], *, size: tuple[float, float], font: float
) -> list[tuple[float, float]]:
    """Offsets that keep the labels of points apart.

    Args:
        points: Where each point stands from the lower left corner, its label, and whether the
            label goes below it; the most important first.
        size: Width and height of the figure, in the same unit.
        font: Size of a letter, in the same unit.

    Returns:
        For each label the offset of its centre from its point.
    """
    taken: list[tuple[float, float, float, float]] = []
    tips = [(x - 3, y - 3, x + 3, y + 3) for x, y, _, _ in points]
    out = []
    high = font * 1.2
    for x, y, label, below in points:
        wide = len(label) * font * 0.62 + 2
        tries = _offsets(wide / 2 + 5, -high if below else high)
        boxes = [
            (x + dx - wide / 2, y + dy - high / 2, x + dx + wide / 2, y + dy + high / 2)
            for dx, dy in tries
        ]
        costs = [
            high * (max(0.0, -box[0]) + max(0.0, box[2] - size[0]))
            + sum(_overlap(box, other) for other in taken + tips)
            for box in boxes
        ]
        best = costs.index(min(costs))
        out.append(tries[best])
        taken.append(boxes[best])
    return out


def _offsets(side: float, up: float) -> list[tuple[float, float]]:
    """Where a label may go, best first."""
    return [
        (0.0, up * 0.8),
        (side, 0.0),
        (-side, 0.0),
        (side, up),
        (-side, up),
        (0.0, up * 1.8),
        (side, -up),
        (-side, -up),
        (side, up * 2),
        (-side, up * 2),
        (0.0, up * 2.8),
    ]


def _overlap(
    one: tuple[float, float, float, float], other: tuple[float, float, float, float]
) -> float:
    across = min(one[2], other[2]) - max(one[0], other[0])
    upward = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, across) * max(0.0, upward)


def runs(groups: Sequence[str]) -> list[tuple[str, int, int]]:
    """Neighbours of one group: its name, its first place, and the place after its last."""
    out = []
    start = 0
    for name, members in groupby(groups):
        end = start + len(list(members))
        out.append((name, start, end))
        start = end
    return out


def names_fit(groups: Sequence[str], cell: float) -> bool:
    """Whether the name of every group is narrower than its columns."""
    return all(
        6.5 * min(len(name), 16) <= (end - start) * cell for name, start, end in runs(groups)
    )


def cell_size(mark: Heatmap, *, compact: bool = False) -> int:
    """Pixels per cell: large where numbers are read, small where a pattern is."""
    most = max(len(mark.rows), len(mark.columns))
    if compact:
        return max(6, min(26, 220 // most))
    if mark.shows_text:
        return 46
    return 26 if most <= 30 else 15 if most <= 42 else 11


def x_range(mark: Mark) -> Range | None:
    """The values across that a figure spans; `None` where a renderer may choose (bars, heat)."""
    axis = getattr(mark, "x_axis", None)
    if axis is not None and axis.limits is not None:
        return (axis.limits[0], axis.limits[1])
    if isinstance(mark, Stems):
        return (-0.01 * mark.length, 1.01 * mark.length)
    if isinstance(mark, Histogram):
        edges, _ = mark.counted()
        ends = [edges[0], edges[-1], *(marker.value for marker in mark.markers)]
        return _wider(min(ends), max(ends), 0.03)
    if isinstance(mark, Lines | Scatter):
        values = [value for series in mark.series for value in series.x]
        values += [marker.value for marker in getattr(mark, "markers", ())]
        return _fit(values, mark.x_axis.scale)
    return None


def y_range(mark: Mark) -> Range | None:
    """The values upwards that a figure spans, with room for labels."""
    axis = getattr(mark, "y_axis", None)
    if axis is not None and axis.limits is not None:
        return (axis.limits[0], axis.limits[1])
    if isinstance(mark, Stems):
        if mark.arrangement == "mirrored":
            up, down = (max((abs(v) for v in s.y), default=0.0) for s in mark.series)
            room = 0.2 * max(up, down) or 1.0
            return (-down - room, up + room)
        highest = max((v for s in mark.series for v in s.y), default=0.0)
        lowest = min((v for s in mark.series for v in s.y), default=0.0)
        return (min(0.0, 1.2 * lowest), 1.2 * highest if highest > 0 else 1.0)
    if isinstance(mark, Histogram):
        _, counts = mark.counted()
        return (0.0, max(counts) * (1.18 if mark.markers else 1.05))
    if isinstance(mark, Lines | Scatter):
        return _fit(_heights(mark.series), mark.y_axis.scale)
    if isinstance(mark, Bars):
        values = [0.0, *_heights(mark.series)]
        low, high = min(values), max(values)
        room = 0.06 * (high - low) or 0.5
        return (low - room if low < 0 else 0.0, high + room)
    return None


def shared(panels: Panels) -> tuple[Range | None, Range | None]:
    """The range across and upwards that all panels share, where they share one."""
    across = _cover([x_range(p) for p in panels.panels]) if panels.share_x == "all" else None
    upward = _cover([y_range(p) for p in panels.panels]) if panels.share_y == "all" else None
    return across, upward


def _cover(ranges: Sequence[Range | None]) -> Range | None:
    known = [one for one in ranges if one is not None]
    if not known or len(known) < len(ranges):
        return None
    return min(low for low, _ in known), max(high for _, high in known)


def _heights(series: Sequence[Series]) -> list[float]:
    values: list[float] = []
    for one in series:
        for column in (one.y, one.low, one.high):
            values += [value for value in column or () if value is not None]
    return values


def _fit(values: Sequence[float], scale: str) -> Range | None:
    if scale == "log":
        values = [value for value in values if value > 0]
        if not values:
            return None
        return min(values) / 1.15, max(values) * 1.15
    if not values:
        return None
    return _wider(min(values), max(values), 0.05)


def _wider(low: float, high: float, share: float) -> Range:
    room = share * (high - low) or 0.5
    return low - room, high + room
