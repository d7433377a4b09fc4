"""Marks as PNG, drawn by matplotlib's Agg without touching pyplot or any global setting."""

from __future__ import annotations

import math
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tl_ext.errors import InputError
from tl_ext.files import write_whole
from tl_ext.report import labels, palette
from tl_ext.report.marks import (
    Axis,
    Bars,
    Heatmap,
    Histogram,
    Lines,
    Mark,
    Panels,
    Scatter,
    Series,
    Stems,
    TokenText,
)
from tl_ext.report.plotly_spec import bands, short_cell
from tl_ext.report.wording import cut, short, visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DPI = 150
_FAMILIES = (
    "DejaVu Sans",
    "Noto Sans CJK SC",
    "Noto Sans SC",
    "Source Han Sans SC",
    "WenQuanYi Zen Hei",
    "WenQuanYi Micro Hei",
    "Microsoft YaHei",
    "PingFang SC",
    "Hiragino Sans GB",
    "Noto Sans Arabic",
    "Noto Sans Hebrew",
    "Noto Sans Devanagari",
    "Arial Unicode MS",
    "Unifont",
)


def png_bytes(mark: Mark) -> bytes:
    """A mark as the content of a PNG file.

    Args:
        mark: Any mark but a table or samples.

    Returns:
        The file; the same mark gives the same bytes under one version of matplotlib.

    Raises:
        InputError: The mark is a table or samples.
    """
    figure = draw(mark)
    out = BytesIO()
    figure.savefig(out, format="png", dpi=_DPI, metadata={"Software": None})
    return out.getvalue()


def write_png(mark: Mark, path: str | Path) -> Path:
    """Write a mark as PNG; it appears under its name only when it is complete.

    Args:
        mark: Any mark but a table or samples.
        path: The file.

    Returns:
        The path.

    Raises:
        InputError: The mark is a table or samples.
        OutputError: It cannot be written there.
    """
    return write_whole(Path(path), png_bytes(mark))


def draw(mark: Mark) -> Figure:
    """A mark as a matplotlib figure that belongs to nobody (pyplot does not know it)."""
    pen = _Pen()
    if isinstance(mark, Panels):
        figure = _panels(mark, pen)
    elif isinstance(mark, TokenText):
        figure = _tokens(mark, pen)
    elif isinstance(mark, Heatmap):
        figure = _heat_figure(mark, pen)
    elif isinstance(mark, Stems | Bars | Lines | Scatter | Histogram):
        width, height = 8.0, 4.0
        if isinstance(mark, Bars) and mark.orientation == "horizontal":
            height = 1.3 + 0.27 * len(mark.labels) * len(mark.series)
        figure = _figure(width, height, mark, pen)
        legend = len(mark.series_names) > 1
        top = 0.2 + (0.34 if mark.title else 0.0) + (0.3 if legend else 0.0)
        left = 0.85
        if isinstance(mark, Bars) and mark.orientation == "horizontal":
            left = 0.5 + 0.085 * min(40, max(len(label) for label in mark.labels))
        axes = _axes(figure, left, 0.62, width - left - 0.25, height - 0.62 - top)
        _plane(axes, mark, pen, labels.x_range(mark), labels.y_range(mark))
        if legend:
            _legend(axes, mark.series_names, pen, bars=isinstance(mark, Bars))
    else:
        raise InputError(
            f"a {type(mark).__name__} is text in a table and no picture; use .save('name.html')."
        )
    if pen.missing:
        figure.text(
            0.995, 0.006, "□: no font on this machine has this character", ha="right", va="bottom",
            **pen.font(6, palette.MUTED),
        )  # fmt: skip
    return figure


@cache
def _families() -> tuple[str, ...]:
    """The fonts of our list that this machine has; matplotlib always brings the first."""
    from matplotlib.font_manager import fontManager

    known = set(fontManager.get_font_names())
    return tuple(family for family in _FAMILIES if family in known)


@cache
def _has_glyph(character: str) -> bool:
    """Whether a font of ours can draw a character."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    return any(
        get_font(findfont(FontProperties(family=[family]))).get_char_index(ord(character))
        for family in _families()
    )


class _Pen:
    """Fonts for one figure; notes whether a character could not be drawn."""

    def __init__(self) -> None:
        self.missing = False

    def font(self, size: float, color: str = palette.INK, **more: Any) -> dict[str, Any]:
        """What every text of ours is drawn with: never mathematics, whatever it holds."""
        families = list(_families())
        return {"fontsize": size, "color": color, "family": families, "parse_math": False} | more

    def text(self, text: str, length: int = 200) -> str:
        """The text with invisible characters shown and undrawable ones as □."""
        out = "".join(c if _has_glyph(c) else "□" for c in cut(visible(text), length))
        self.missing = self.missing or out.count("□") > text.count("□")
        return out


def _figure(width: float, height: float, mark: Mark, pen: _Pen) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=_DPI, facecolor=palette.PAPER)
    FigureCanvasAgg(figure)
    if mark.title:
        letters = int(width * 11.5)
        figure.text(
            0.14 / width, 1 - 0.12 / height, pen.text(mark.title, letters), ha="left", va="top",
            **pen.font(11, weight="bold"),
        )  # fmt: skip
    return figure


def _axes(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Axes by inches from the lower left corner."""
    across, up = figure.get_size_inches()
    axes: Axes = figure.add_axes((left / across, bottom / up, width / across, height / up))
    axes.set_facecolor(palette.PAPER)
    for side, spine in axes.spines.items():
        spine.set(visible=side in {"left", "bottom"}, color=palette.MUTED, linewidth=0.8)
    return axes


def _dress(axes: Axes, mark: Any, pen: _Pen, size: float, *, titles: bool = True) -> None:
    """Ticks, grid and titles of the two axes."""
    x, y = mark.x_axis, mark.y_axis
    if titles:
        axes.set_xlabel(pen.text(x.label), **pen.font(size))
        axes.set_ylabel(pen.text(y.label), **pen.font(size))
    axes.tick_params(
        labelsize=size - 1, color=palette.MUTED, labelcolor=palette.INK, length=3, width=0.8,
        labelfontfamily="DejaVu Sans",
    )  # fmt: skip
    axes.grid(axis="y", color=palette.GRID, linewidth=0.8)
    axes.set_axisbelow(True)


def _plane(
    axes: Axes,
    mark: Mark,
    pen: _Pen,
    across: labels.Range | None,
    upward: labels.Range | None,
    *,
    compact: bool = False,
) -> None:
    """One figure with two axes, into the axes given."""
    size = 7 if compact else 9
    if isinstance(mark, Heatmap):
        _heat(axes, mark, pen, compact=True)
        return
    _dress(axes, mark, pen, size, titles=not compact)
    flat = isinstance(mark, Bars) and mark.orientation == "horizontal"
    x_axis: Axis = getattr(mark, "x_axis", Axis())
    y_axis: Axis = getattr(mark, "y_axis", Axis())
    _scales(axes, x_axis, y_axis, compact)
    if across is not None:
        axes.set_xlim(*across)
    if upward is not None:
        (axes.set_xlim if flat else axes.set_ylim)(*upward)
    _log_ticks(axes, x_axis, y_axis)
    if isinstance(mark, Stems):
        _stems(axes, mark, pen, across or (0.0, 1.0), upward or (0.0, 1.0), compact)
    elif isinstance(mark, Bars):
        _bars(axes, mark, pen, size)
    elif isinstance(mark, Lines):
        _lines(axes, mark, compact)
        _mark_values(axes, mark.markers, pen, size)
    elif isinstance(mark, Scatter):
        _points(axes, mark, compact)
    elif isinstance(mark, Histogram):
        edges, counts = mark.counted()
        axes.stairs(counts, edges, fill=True, color=palette.SERIES[0], alpha=0.75)
        _mark_values(axes, mark.markers, pen, size)
    for note in getattr(mark, "annotations", ()):
        axes.annotate(
            pen.text(note.text, 60), (note.x, note.y), (12, 12), textcoords="offset points",
            arrowprops={"arrowstyle": "-", "color": palette.MUTED, "linewidth": 0.8},
            **pen.font(size),
        )  # fmt: skip


def _scales(axes: Axes, x: Axis, y: Axis, compact: bool) -> None:
    from matplotlib.ticker import MaxNLocator

    for axis, direction in ((x, axes.xaxis), (y, axes.yaxis)):
        if axis.scale == "log":
            (axes.set_xscale if direction is axes.xaxis else axes.set_yscale)("log")
        else:
            direction.set_major_locator(MaxNLocator(4 if compact else 7, steps=[1, 2, 2.5, 5, 10]))


def _log_ticks(axes: Axes, x: Axis, y: Axis) -> None:
    for axis, direction in ((x, axes.xaxis), (y, axes.yaxis)):
        if axis.scale == "log":
            ticks = labels.log_ticks(*direction.get_view_interval())
            direction.set_ticks(ticks, [f"{tick:g}" for tick in ticks])
            direction.set_ticks([], minor=True)


def _stems(
    axes: Axes,
    mark: Stems,
    pen: _Pen,
    across: labels.Range,
    upward: labels.Range,
    compact: bool,
) -> None:
    axes.axhline(0, color=palette.MUTED, linewidth=0.8)
    size = (165.0, 95.0) if compact else (495.0, 215.0)
    font = 6 if compact else 8
    named = labels.named(mark, across, upward, size=size, font=font)
    for n, series in enumerate(mark.series):
        sign = -1.0 if mark.arrangement == "mirrored" and n == 1 else 1.0
        place = n % len(palette.SERIES)
        axes.vlines(
            series.x, 0, [sign * value for value in series.y], color=palette.SERIES[place],
            linewidth=0.9 if compact else 1.2,
        )  # fmt: skip
        mine = [one for one in named if one.series == n]
        axes.plot(
            [one.index for one in mine], [one.height for one in mine], linestyle="none",
            clip_on=False, **_marker(place, 3 if compact else 5),
        )  # fmt: skip
    for one in named:
        axes.annotate(
            str(one.index), (one.index, one.height), one.offset, textcoords="offset points",
            ha="center", va="center", annotation_clip=False,
            bbox={"facecolor": "#ffffffbf", "edgecolor": "none", "pad": 0.4},
            **pen.font(font, palette.SERIES_TEXT[one.series % len(palette.SERIES)]),
        )  # fmt: skip
    if mark.arrangement == "mirrored":
        ticks = labels.nice_ticks(*upward)
        axes.set_yticks(ticks, [short(abs(tick)) for tick in ticks])


def _marker(place: int, size: float) -> dict[str, Any]:
    colour = palette.SERIES[place]
    return {
        "marker": palette.MATPLOTLIB_SYMBOLS[place],
        "markersize": size,
        "markerfacecolor": palette.PAPER if palette.OPEN_SYMBOLS[place] else colour,
        "markeredgecolor": colour,
        "markeredgewidth": 1.1,
    }


def _bars(axes: Axes, mark: Bars, pen: _Pen, size: float) -> None:
    flat = mark.orientation == "horizontal"
    wide = 0.8 / len(mark.series)
    for n, series in enumerate(mark.series):
        place = n % len(palette.SERIES)
        at = [x + (n - (len(mark.series) - 1) / 2) * wide for x in series.x]
        heights = [math.nan if y is None else y for y in series.y]
        (axes.barh if flat else axes.bar)(at, heights, wide, **_bar_look(place))
        if series.low is not None:
            ends = {"xerr" if flat else "yerr": _error_ends(series)}
            look: dict[str, Any] = {"fmt": "none", "ecolor": palette.INK, "capsize": 2} | ends
            axes.errorbar(heights if flat else at, at if flat else heights, **look)
    places = range(len(mark.labels))
    names = [pen.text(label, 40) for label in mark.labels]
    (axes.set_yticks if flat else axes.set_xticks)(places, names, **pen.font(size - 1))
    if flat:
        axes.set_ylim(len(mark.labels) - 0.5, -0.5)
        axes.grid(axis="x", color=palette.GRID, linewidth=0.8)
        axes.grid(axis="y", visible=False)
    elif sum(len(name) for name in names) > 75:
        axes.tick_params(axis="x", labelrotation=35)


def _bar_look(place: int) -> dict[str, Any]:
    return {
        "facecolor": palette.SERIES[place],
        "hatch": palette.MATPLOTLIB_HATCHES[place],
        "edgecolor": palette.PAPER,
        "linewidth": 0.5,
    }


def _error_ends(series: Series) -> list[list[float]]:
    lower, upper = [], []
    for y, low, high in zip(series.y, series.low, series.high, strict=True):
        known = None not in (y, low, high)
        lower.append(max(0.0, y - low) if known else 0.0)
        upper.append(max(0.0, high - y) if known else 0.0)
    return [lower, upper]


def _lines(axes: Axes, mark: Lines, compact: bool) -> None:
    for n, series in enumerate(mark.series):
        place = n % len(palette.SERIES)
        for xs, ys in bands(series):
            axes.fill(xs, ys, color=palette.SERIES[place], alpha=0.18, linewidth=0)
        look = _marker(place, 2.5 if compact else 4) if len(series.x) <= 60 else {}
        axes.plot(
            series.x, [math.nan if y is None else y for y in series.y],
            color=palette.SERIES[place], linestyle=palette.MATPLOTLIB_DASHES[place],
            linewidth=1.5, **look,
        )  # fmt: skip


def _points(axes: Axes, mark: Scatter, compact: bool) -> None:
    for n, series in enumerate(mark.series):
        known = [(x, y) for x, y in zip(series.x, series.y, strict=True) if y is not None]
        axes.plot(
            [x for x, _ in known], [y for _, y in known], linestyle="none", alpha=0.8,
            **_marker(n % len(palette.SERIES), 3 if compact else 4.5),
        )  # fmt: skip
    if mark.diagonal:
        axes.axline((0, 0), slope=1, color=palette.MUTED, linestyle=":", linewidth=1.2)


def _mark_values(axes: Axes, markers: Any, pen: _Pen, size: float) -> None:
    for i, marker in enumerate(markers):
        axes.axvline(marker.value, color=palette.ACCENT, linestyle="--", linewidth=1.3)
        late = marker.value > sum(axes.get_xlim()) / 2
        if marker.label:
            axes.annotate(
                pen.text(marker.label, 60), (marker.value, 1 - 0.07 * (i % 4)),
                (-4 if late else 4, -2), ha="right" if late else "left", va="top",
                xycoords=("data", "axes fraction"), textcoords="offset points",
                bbox={"facecolor": "#ffffffbf", "edgecolor": "none", "pad": 0.4},
                **pen.font(size - 1, palette.ACCENT),
            )  # fmt: skip


def _legend(axes: Axes, names: tuple[str, ...], pen: _Pen, *, bars: bool, at: Any = None) -> None:
    from matplotlib.font_manager import FontProperties
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = []
    for n, name in enumerate(names):
        place = n % len(palette.SERIES)
        said = pen.text(name, 60)
        if bars:
            handles.append(Patch(label=said, **_bar_look(place)))
        else:
            look = _marker(place, 5) | {"color": palette.SERIES[place], "linewidth": 1.5}
            handles.append(Line2D([], [], label=said, **look))
    owner = axes.figure if at else axes
    legend = owner.legend(
        handles=handles, loc=at[0] if at else "lower left", ncols=min(len(names), 4),
        bbox_to_anchor=at[1] if at else (0, 1.0), frameon=False, borderaxespad=0.2,
        prop=FontProperties(family=list(_families()), size=9), handlelength=1.8,
    )  # fmt: skip
    for text in legend.get_texts():
        text.set(parse_math=False, color=palette.INK)


def _panels(mark: Panels, pen: _Pen) -> Figure:
    columns = min(mark.columns, len(mark.panels))
    rows = math.ceil(len(mark.panels) / columns)
    heat = any(isinstance(panel, Heatmap) for panel in mark.panels)
    wide, high = 2.85, 2.6 if heat else 1.95
    names = mark.series_names
    top = (0.4 if mark.title else 0.1) + (0.3 if len(names) > 1 else 0.0)
    width, height = wide * columns + 0.3, high * rows + top + 0.3
    figure = _figure(width, height, mark, pen)
    across, upward = labels.shared(mark)
    for i, panel in enumerate(mark.panels):
        row, column = divmod(i, columns)
        left, bottom = 0.3 + column * wide + 0.3, 0.3 + (rows - 1 - row) * high + 0.3
        axes = _axes(figure, left, bottom, wide - 0.5, high - 0.62)
        spans = across or labels.x_range(panel), upward or labels.y_range(panel)
        _plane(axes, panel, pen, *spans, compact=True)
        axes.set_title(pen.text(panel.title, 46), loc="left", pad=4, **pen.font(8, weight="bold"))
        if column == 0:
            axes.set_ylabel(pen.text(panel.y_axis.label, 40), **pen.font(7))
        if i + columns >= len(mark.panels):
            axes.set_xlabel(pen.text(panel.x_axis.label, 40), **pen.font(7))
    if len(names) > 1:
        at = ("upper left", (0.1 / width, 1 - (top - 0.32) / height))
        _legend(figure.axes[0], names, pen, bars=isinstance(mark.panels[0], Bars), at=at)
    return figure


def _heat(axes: Axes, mark: Heatmap, pen: _Pen, *, compact: bool) -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    low, high = mark.drawn_limits
    colours = LinearSegmentedColormap.from_list("scale", list(palette.stops(mark.scale)))
    values = [[math.nan if v is None else v for v in row] for row in mark.values]
    axes.set_facecolor(palette.UNDEFINED)
    image = axes.imshow(
        values, cmap=colours, vmin=low, vmax=high, aspect="auto", interpolation="nearest"
    )
    rows, columns = len(mark.rows), len(mark.columns)
    cell = labels.cell_size(mark, compact=compact)
    font = max(4.0, min(7.0 if compact else 8.5, cell * 0.62))
    for names, put in ((mark.columns, axes.set_xticks), (mark.rows, axes.set_yticks)):
        step = 1 + (len(names) - 1) // 150
        ticks = range(0, len(names), step)
        put(ticks, [pen.text(name, 28) for name in names[::step]], **pen.font(font))
    upright = max(len(name) for name in mark.columns) * font * 0.9 > cell
    axes.tick_params(length=2, color=palette.MUTED, width=0.6, pad=2)
    if upright:
        slanted = cell >= 26 and not compact
        look = {"rotation": 45 if slanted else 90, "ha": "right" if slanted else "center"}
        for label in axes.get_xticklabels():
            label.set(rotation_mode="anchor" if slanted else "default", **look)
    for _, start, _ in labels.runs(mark.row_groups)[1:]:
        axes.axhline(start - 0.5, color=palette.INK, linewidth=1)
    for _, start, _ in labels.runs(mark.column_groups)[1:]:
        axes.axvline(start - 0.5, color=palette.INK, linewidth=1)
    if cell >= 26 and not compact:
        for i in range(1, rows):
            axes.axhline(i - 0.5, color=palette.PAPER, linewidth=0.7, zorder=1.5)
        for i in range(1, columns):
            axes.axvline(i - 0.5, color=palette.PAPER, linewidth=0.7, zorder=1.5)
    if mark.shows_text and not compact:
        for i, row in enumerate(mark.values):
            for j, value in enumerate(row):
                if value is not None:
                    fill = palette.colour_at(
                        palette.stops(mark.scale), (value - low) / (high - low)
                    )
                    axes.text(
                        j, i, short_cell(value), ha="center", va="center",
                        **pen.font(7, palette.text_on(fill)),
                    )  # fmt: skip
    return image


def _heat_figure(mark: Heatmap, pen: _Pen) -> Figure:
    cell = labels.cell_size(mark) / 100
    font = max(4.0, min(8.5, cell * 62))
    letter = font * 0.62 / 72
    rows, columns = len(mark.rows), len(mark.columns)
    left = 0.35 + letter * min(28, max(len(name) for name in mark.rows))
    longest = letter * min(28, max(len(name) for name in mark.columns))
    bottom = 0.3 + (longest * (0.75 if cell >= 0.26 else 1.0) if longest > cell * 0.9 else 0.25)
    flat = labels.names_fit(mark.column_groups, cell * 100)
    side, over = (
        0.0 if not groups else 0.1 + 0.07 * max(len(cut(name, 16)) for name in groups)
        for groups in (mark.row_groups, mark.column_groups)
    )
    over = min(over, 0.25) if flat else over
    top = (0.42 if mark.title else 0.12) + over
    if mark.x_axis.label:
        bottom += 0.18
    if mark.y_axis.label:
        left += 0.2
    wide, high = columns * cell, rows * cell
    width = max(left + wide + side + 1.05, 0.3 + 0.092 * min(len(mark.title), 70))
    figure = _figure(width, bottom + high + top, mark, pen)
    axes = _axes(figure, left, bottom, wide, high)
    image = _heat(axes, mark, pen, compact=False)
    axes.set_xlabel(pen.text(mark.x_axis.label), **pen.font(9))
    axes.set_ylabel(pen.text(mark.y_axis.label), **pen.font(9))
    for name, start, end in labels.runs(mark.row_groups):
        axes.annotate(
            pen.text(name, 16), (columns - 0.5, (start + end - 1) / 2), (4, 0), va="center",
            textcoords="offset points", annotation_clip=False, **pen.font(7, palette.MUTED),
        )  # fmt: skip
    for name, start, end in labels.runs(mark.column_groups):
        axes.annotate(
            pen.text(name, 16), ((start + end - 1) / 2, -0.5), (0, 3), ha="center", va="bottom",
            textcoords="offset points", annotation_clip=False, rotation=0 if flat else 90,
            **pen.font(7, palette.MUTED),
        )  # fmt: skip
    bar = _axes(figure, left + wide + side + 0.15, bottom, 0.13, high)
    scale = figure.colorbar(image, cax=bar)
    scale.outline.set(visible=False)
    note = " · grey: undefined" if mark.undefined else ""
    scale.set_label(pen.text(mark.value_name) + note, **pen.font(8))
    bar.tick_params(labelsize=7, length=2, labelfontfamily="DejaVu Sans")
    return figure


def _tokens(mark: TokenText, pen: _Pen) -> Figure:
    """The text in lines of coloured boxes, each as wide as its token."""
    from matplotlib.backends.backend_agg import RendererAgg
    from matplotlib.font_manager import FontProperties
    from matplotlib.patches import FancyBboxPatch

    width, size, gap = 8.0, 11.0, 0.03
    line = 0.5 if mark.shows_numbers else 0.32
    prop = FontProperties(family=list(_families()), size=size)
    ruler = RendererAgg(1, 1, 72)
    placed = []
    x, row = 0.2, 0
    for token, value in zip(mark.tokens, mark.values, strict=True):
        shown = pen.text(visible(token, space="·") or "∅", 80)
        measured = ruler.get_text_width_height_descent(shown, prop, ismath=False)[0] / 72 + 0.1
        wide = max(measured, 0.34 if mark.shows_numbers else 0.0)
        if x + wide > width - 0.2 and x > 0.2:
            x, row = 0.2, row + 1
        placed.append((shown, value, x, row, wide))
        x += wide + gap
        if "\n" in token:
            x, row = 0.2, row + token.count("\n")
    top = 0.5 if mark.title else 0.15
    height = top + (row + 1) * line + 0.5
    figure = _figure(width, height, mark, pen)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.axis("off")
    low, high = mark.drawn_limits
    colours = palette.stops(mark.scale)
    for shown, value, left, at, wide in placed:
        y = height - top - (at + 1) * line + 0.05
        fill = None if value is None else palette.colour_at(colours, (value - low) / (high - low))
        ink = palette.text_on(fill) if fill else palette.INK
        axes.add_patch(
            FancyBboxPatch(
                (left, y), wide, line - 0.07, boxstyle="round,pad=0,rounding_size=0.03",
                facecolor=fill or "none", edgecolor="none" if fill else "#c4c8d0",
                linestyle="-" if fill else ":", linewidth=0.8,
            )
        )  # fmt: skip
        middle = y + (line - 0.07) * (0.64 if mark.shows_numbers else 0.5)
        axes.text(
            left + wide / 2, middle, shown, ha="center", va="center_baseline", **pen.font(size, ink)
        )
        if mark.shows_numbers:
            from tl_ext.report.html import short_share

            axes.text(
                left + wide / 2, y + 0.04, short_share(value), ha="center", va="bottom",
                **pen.font(6.5, ink),
            )  # fmt: skip
    _token_scale(axes, mark, pen, (width, height))
    return figure


def _token_scale(axes: Axes, mark: TokenText, pen: _Pen, size: tuple[float, float]) -> None:
    """The colours and what they mean, at the foot."""
    low, high = mark.drawn_limits
    colours = palette.stops(mark.scale)
    strip = [[palette.colour_at(colours, i / 63) for i in range(64)]]
    from matplotlib.colors import to_rgb

    axes.imshow(
        [[to_rgb(colour) for colour in strip[0]]], extent=(0.5, 1.9, 0.16, 0.28), aspect="auto"
    )
    axes.set(xlim=(0, size[0]), ylim=(0, size[1]))
    look = pen.font(7, palette.MUTED)
    axes.text(0.45, 0.22, short(low), ha="right", va="center", **look)
    axes.text(1.95, 0.22, short(high), ha="left", va="center", **look)
    told = f"{mark.value_name}   (· a space, ↵ a line break; no colour: no value)"
    axes.text(2.3, 0.22, pen.text(told), ha="left", va="center", **look)
