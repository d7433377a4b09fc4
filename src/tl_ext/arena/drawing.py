"""Feature vectors drawn from the origin, on a figure that pyplot does not know."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tl_ext.arena.arrays import Array, Features
from tl_ext.arena.colors import Colors
from tl_ext.arena.layout import PANEL, Grid, ticks
from tl_ext.arena.wording import is_mathematics, wrapped
from tl_ext.errors import InputError

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.text import Text

INK = "#1f2430"
_MUTED = "#6b7280"
_FRAME = "#c9ced6"
_CROSS = "#e4e7ec"
_DPI = 150

# In inches.
_LEFT, _RIGHT, _TOP, _BOTTOM = 0.45, 0.15, 0.12, 0.34
_BETWEEN, _BETWEEN_LABELS = 0.16, 0.42
_TITLE, _PANEL_TITLE = 0.215, 0.165  # the height of a line
_BAR = 0.8

_TITLE_SIZE, _PANEL_TITLE_SIZE, _TICK_SIZE = 12.5, 9.5, 7.5


@dataclass(frozen=True)
class Plan:
    """All that a figure shows.

    Attributes:
        features: The vectors.
        colors: Their colours.
        cmap: The colour map, for the colour bar.
        color_label: What the numbers on the colour bar are.
        title: The figure's title at each timestep.
        titles: The panels' titles at each timestep.
        grid: The rows of panels.
        reaches: How far each panel's axes reach.
        fps: Timesteps per second, for an animation.
    """

    features: Features
    colors: Colors
    cmap: Colormap
    color_label: str
    title: tuple[str, ...]
    titles: tuple[tuple[str, ...], ...]
    grid: Grid
    reaches: tuple[float, ...]
    fps: float


class FeatureFigure(Figure):
    """A figure of features, and an animation where `W` has timesteps.

    It is a matplotlib figure that belongs to nobody else: pyplot keeps no reference, so there is
    nothing to close. A notebook shows it, moving where it moves. `savefig` writes the timestep that
    is shown.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        sheet = _Sheet(plan)
        super().__init__(figsize=sheet.size, dpi=_DPI, facecolor="white")
        FigureCanvasAgg(self)
        sheet.lay(self)
        self._panels = [
            _Panel(axes, n, reach)
            for axes, n, reach in zip(
                sheet.panels, plan.features.n_features, plan.reaches, strict=True
            )
        ]
        self._title = sheet.title
        self._wrapped_title, self._wrapped_titles = sheet.wrapped_title, sheet.wrapped_titles
        self._timestep = -1
        self.show_timestep(plan.features.n_timesteps - 1)

    @property
    def n_timesteps(self) -> int | None:
        """How many timesteps there are; None where nothing moves."""
        return self.plan.features.n_timesteps if self.plan.features.moving else None

    @property
    def timestep(self) -> int:
        """The timestep that is shown, from 0; the last one at first."""
        return self._timestep

    def show_timestep(self, timestep: int) -> None:
        """Draw another timestep.

        Args:
            timestep: Its number from 0; a negative one counts from the end.

        Raises:
            InputError: There is no such timestep.
        """
        n = self.plan.features.n_timesteps
        if not -n <= timestep < n:
            raise InputError(f"There is no timestep {timestep}; there are {n}, from 0.")
        self._timestep = timestep % n
        _write(self._title, self._wrapped_title[self._timestep])
        titles = self._wrapped_titles[self._timestep]
        vectors = self.plan.features.vectors[self._timestep]
        rgba = self.plan.colors.rgba[self._timestep]
        for panel, one, colors, text in zip(self._panels, vectors, rgba, titles, strict=True):
            panel.show(one, colors, text)

    def moving_artists(self) -> list[Artist]:
        """All that `show_timestep` changes, in the order in which it is drawn."""
        return [self._title, *(one for panel in self._panels for one in panel.moving_artists())]

    def show(self, warn: bool = True) -> None:
        """There is no window to show it in.

        Args:
            warn: As in matplotlib.

        Raises:
            InputError: Always, with what to do instead.
        """
        raise InputError(
            "This figure opens no window. In a notebook make it the last value of a cell, or call "
            'display(figure); elsewhere figure.save("features.png") and open the file.'
        )

    def save(self, path: str | Path) -> Path:
        """Write the figure; the file appears under its name only when it is complete.

        Args:
            path: The file, whose ending says what it is: `.png`, `.svg` and `.pdf` for what stands
                still, `.gif` and `.html` for both. An HTML file is whole: it asks the network for
                nothing.

        Returns:
            The path.

        Raises:
            InputError: The ending is none of these, or one that cannot show what moves.
            OutputError: It cannot be written there.
        """
        from tl_ext.arena.saving import save

        return save(self, Path(path))

    def _repr_png_(self) -> bytes:
        from tl_ext.arena.saving import still

        return still(self, "png")

    def _repr_html_(self) -> str | None:
        from tl_ext.arena.saving import in_a_frame

        return in_a_frame(self) if self.plan.features.moving else None


class _Sheet:
    """The measures of a figure, and the axes laid out by them."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        rows, columns = len(plan.grid.rows), plan.grid.n_columns
        self._own = len(set(plan.reaches)) > 1
        self._across = _BETWEEN_LABELS if self._own else _BETWEEN
        inner = columns * PANEL + (columns - 1) * self._across
        self.wrapped_title = [
            wrapped(text, _TITLE_SIZE, inner + _LEFT / 2, bold=True) for text in plan.title
        ]
        self.wrapped_titles = [
            [wrapped(text, _PANEL_TITLE_SIZE, PANEL + self._across / 2) for text in texts]
            for texts in plan.titles
        ]
        lines = max((text.count("\n") + 1 if text else 0) for text in self.wrapped_title)
        self._title_height = lines * _TITLE + 0.1 * (lines > 0)
        places = plan.grid.places()
        self._above = [0.06] * rows  # the height of the titles over each row
        for texts in self.wrapped_titles:
            for (row, _), text in zip(places, texts, strict=True):
                height = (text.count("\n") + 1) * _PANEL_TITLE + 0.06 if text else 0.06
                self._above[row] = max(self._above[row], height)
        self._between = 0.3 if self._own else 0.12
        bar = _BAR if plan.colors.scale is not None else 0.0
        height = sum(self._above) + rows * PANEL + (rows - 1) * self._between
        self._inner = inner
        self.size = (_LEFT + inner + _RIGHT + bar, _TOP + self._title_height + height + _BOTTOM)

    def lay(self, figure: Figure) -> None:
        """Make the axes and the title."""
        width, height = self.size
        plan, inner = self.plan, self._inner
        self.title = figure.text(
            (_LEFT + inner / 2) / width, 1 - _TOP / height, "", ha="center", va="top",
            fontsize=_TITLE_SIZE, fontweight="bold", color=INK, linespacing=1.15,
        )  # fmt: skip
        self.panels: list[Axes] = []
        top = height - _TOP - self._title_height
        tops = []
        for above in self._above:
            tops.append(top - above)
            top -= above + PANEL + self._between
        for row, column in plan.grid.places():
            left = _LEFT + column * (PANEL + self._across)
            place = (left, tops[row] - PANEL, PANEL, PANEL)
            axes = figure.add_axes(_relative(place, self.size))
            first = column == 0 or self._own
            lowest = plan.grid.is_lowest(row, column) or self._own
            _dress(axes, plan.reaches[len(self.panels)], across=lowest, up=first)
            self.panels.append(axes)
        if plan.colors.scale is not None:
            self._bar(figure, tops)

    def _bar(self, figure: Figure, tops: list[float]) -> None:
        """The colour bar, beside the panels and no longer than a panel and a half."""
        low, high = tops[-1] - PANEL, tops[0]
        length = min(high - low, 1.5 * PANEL)
        place = (_LEFT + self._inner + 0.2, (low + high - length) / 2, 0.09, length)
        axes = figure.add_axes(_relative(place, self.size))
        scale = ScalarMappable(self.plan.colors.scale, self.plan.cmap)
        bar: Any = figure.colorbar(scale, cax=axes, ticks=MaxNLocator(5))
        bar.outline.set(edgecolor=_FRAME, linewidth=0.6)
        axes.tick_params(
            labelsize=_TICK_SIZE, labelcolor=_MUTED, color=_FRAME, length=2.5, width=0.6
        )
        axes.set_ylabel("", fontsize=_TICK_SIZE + 1, color=_MUTED)
        _write(axes.yaxis.label, self.plan.color_label)


class _Panel:
    """One instance: a line from the origin to each vector and a point at its end."""

    def __init__(self, axes: Axes, n_features: int, reach: float) -> None:
        width, size = _weights(n_features)
        self._axes = axes
        self._lines = LineCollection([], linewidths=width, capstyle="round", zorder=2.6)
        self._lines.set_clip_on(False)
        axes.add_collection(self._lines, autolim=False)
        self._points: PathCollection = axes.scatter(
            [], [], s=size**2, linewidths=0.12 * size, edgecolors="white", zorder=3, clip_on=False
        )

    def moving_artists(self) -> list[Artist]:
        return [self._lines, self._points, self._axes.title]

    def show(self, vectors: Array, rgba: Array, title: str) -> None:
        ends = vectors.T
        self._lines.set_segments(list(np.stack([np.zeros_like(ends), ends], axis=1)))
        self._lines.set_color(list(map(tuple, rgba)))
        self._points.set_offsets(ends)
        self._points.set_facecolor(list(map(tuple, rgba)))
        _write(self._axes.title, title)


def _weights(n_features: int) -> tuple[float, float]:
    """Line width and point size: many features are drawn finely."""
    for most, width, size in ((8, 2.2, 7.5), (24, 1.6, 6.0), (80, 1.0, 4.2), (300, 0.6, 3.2)):
        if n_features <= most:
            return width, size
    return 0.35, 2.4


def _dress(axes: Axes, reach: float, *, across: bool, up: bool) -> None:
    """Limits, ticks, a cross through the origin and a thin frame."""
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", facecolor="white")
    marks = ticks(reach)
    labels = [f"{mark:g}".replace("-", "−") for mark in marks]
    axes.set_xticks(marks, labels if across else [""] * 3)
    axes.set_yticks(marks, labels if up else [""] * 3)
    axes.tick_params(
        labelsize=_TICK_SIZE, labelcolor=_MUTED, color=_FRAME, length=2.5, width=0.6, pad=2
    )
    axes.axhline(0, color=_CROSS, linewidth=0.8, zorder=1)
    axes.axvline(0, color=_CROSS, linewidth=0.8, zorder=1)
    for spine in axes.spines.values():
        spine.set(color=_FRAME, linewidth=0.8)
    axes.set_title("", fontsize=_PANEL_TITLE_SIZE, color=INK, y=1.0, pad=4.5, linespacing=1.1)


def _write(text: Text, words: str) -> None:
    """Put words where a text stands; as mathematics only where they are."""
    text.set_parse_math(is_mathematics(words))
    text.set_text(words)


def _relative(
    place: tuple[float, float, float, float], size: tuple[float, float]
) -> tuple[float, float, float, float]:
    """A place in inches as parts of the figure."""
    (left, bottom, width, height), (across, up) = place, size
    return left / across, bottom / up, width / across, height / up
