"""Marks as plotly's own JSON: traces and a layout, written without importing plotly.

Text that comes from prompts, models and labels is escaped here, since plotly reads a little HTML
in every text it draws and `%{...}` in its templates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from tl_ext.errors import InputError
from tl_ext.report import labels, palette
from tl_ext.report.marks import (
    Annotation,
    Axis,
    Bars,
    Heatmap,
    Histogram,
    Lines,
    Mark,
    Marker,
    Panels,
    Scatter,
    Series,
    Stems,
)
from tl_ext.report.wording import cut, short, visible

Json = dict[str, Any]
FONT = 'system-ui, -apple-system, "Segoe UI", "Noto Sans", "Liberation Sans", Arial, sans-serif'
_NOMINAL = (640.0, 290.0)
_NOMINAL_PANEL = (170.0, 150.0)


@dataclass(frozen=True)
class Spec:
    """A plotly figure as JSON, and the room it wants.

    Attributes:
        data: Traces.
        layout: Layout, without a title and without a width.
        height: Pixels.
        min_width: A narrower window scrolls the figure inside its box.
        max_width: Where more width would only stretch it.
    """

    data: list[Json]
    layout: Json
    height: int
    min_width: int = 240
    max_width: int | None = None


def safe(text: str, length: int = 200) -> str:
    """Text for plotly: no HTML, no template, invisible characters shown, cut to a length."""
    text = cut(visible(text), length)
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("%", "&#37;")):
        text = text.replace(character, entity)
    return text


def spec(
    mark: Mark,
    *,
    compact: bool = False,
    across: labels.Range | None = None,
    upward: labels.Range | None = None,
) -> Spec:
    """A mark with two axes as a plotly figure.

    Args:
        mark: Stems, Bars, Lines, Scatter, Histogram or Heatmap.
        compact: Small multiples: smaller letters, no axis titles, no legend.
        across: The range across, in place of the mark's own.
        upward: The range upwards, in place of the mark's own.

    Returns:
        The figure.

    Raises:
        InputError: The mark is text or a table.
    """
    across, upward = across or labels.x_range(mark), upward or labels.y_range(mark)
    if isinstance(mark, Heatmap):
        return _heatmap(mark, compact)
    if isinstance(mark, Stems):
        out = _stems(mark, compact, across or (0.0, 1.0), upward or (0.0, 1.0))
    elif isinstance(mark, Bars):
        out = _bars(mark, compact, upward)
    elif isinstance(mark, Lines):
        out = _lines(mark, compact, across, upward)
    elif isinstance(mark, Scatter):
        out = _scatter(mark, compact, across, upward)
    elif isinstance(mark, Histogram):
        out = _histogram(mark, compact, across, upward)
    else:
        raise InputError(
            f"a {type(mark).__name__} is HTML and no plotly figure; use .save('name.html'), or "
            "show it in a notebook."
        )
    out.layout.setdefault("annotations", []).extend(_annotation(a) for a in mark.annotations)
    return out


def panels(mark: Panels) -> list[tuple[str, Spec]]:
    """Each panel as a small figure of its own, with its title."""
    across, upward = labels.shared(mark)
    return [
        (panel.title, spec(panel, compact=True, across=across, upward=upward))
        for panel in mark.panels
    ]


def composed(mark: Panels) -> Spec:
    """All panels as the subplots of one figure."""
    drawn = panels(mark)
    columns = min(mark.columns, len(drawn))
    rows = math.ceil(len(drawn) / columns)
    width, height = 250 * columns + 60, 215 * rows + 40
    layout = _layout(compact=False, legend=len(mark.series_names) > 1)
    layout["annotations"], layout["shapes"] = [], []
    data: list[Json] = []
    seen: set[str] = set()
    for i, ((title, part), panel) in enumerate(zip(drawn, mark.panels, strict=True)):
        row, column = divmod(i, columns)
        mine = "" if i == 0 else str(i + 1)
        left, bottom = (column + 0.14) / columns, (rows - row - 1 + 0.16) / rows
        domains = {"x": [left, (column + 0.96) / columns], "y": [bottom, (rows - row - 0.1) / rows]}
        for name, other in (("x", "y"), ("y", "x")):
            axis = dict(part.layout[f"{name}axis"])
            axis |= {"domain": domains[name], "anchor": f"{other}{mine}", "automargin": False}
            outer = row == rows - 1 or i + columns >= len(drawn) if name == "x" else column == 0
            if outer:
                label = panel.x_axis.label if name == "x" else panel.y_axis.label
                axis["title"] = {"text": safe(label), "font": {"size": 11}, "standoff": 4}
            layout[f"{name}axis{mine}"] = axis
        for trace in part.data:
            name = trace.get("legendgroup", "")
            trace = trace | {"xaxis": f"x{mine}", "yaxis": f"y{mine}"}
            if "showlegend" in trace:
                trace["showlegend"] = trace["showlegend"] and name not in seen
                seen |= {name} if trace["showlegend"] else set()
            if trace["type"] == "heatmap":
                trace["showscale"] = i == 0
            data.append(trace)
        for kind in ("annotations", "shapes"):
            for item in part.layout.get(kind, []):
                moved = {
                    ref: item[ref].replace(ref[0], f"{ref[0]}{mine}", 1) for ref in ("xref", "yref")
                }
                layout[kind].append(item | moved)
        layout["annotations"].append(
            {
                "text": f"<b>{safe(title, 60)}</b>",
                "x": sum(domains["x"]) / 2,
                "y": domains["y"][1],
                "xref": "paper",
                "yref": "paper",
                "yanchor": "bottom",
                "showarrow": False,
                "font": {"size": 12, "color": palette.INK},
            }
        )
    return Spec(data, layout, height, min_width=width, max_width=width)


def _layout(*, compact: bool, legend: bool) -> Json:
    small = 10 if compact else 12
    return {
        "template": {},
        "font": {"family": FONT, "size": small, "color": palette.INK},
        "paper_bgcolor": palette.PAPER,
        "plot_bgcolor": palette.PAPER,
        "margin": {"l": 40, "r": 8, "t": 6, "b": 26}
        if compact
        else {"l": 58, "r": 16, "t": 56 if legend else 34, "b": 48},
        "showlegend": legend and not compact,
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        "hovermode": "closest",
        "hoverlabel": {"namelength": -1, "font": {"family": FONT, "size": 12}},
        "dragmode": "zoom",
    }


def _axis(axis: Axis, span: labels.Range | None, *, compact: bool) -> Json:
    out: Json = {
        "gridcolor": palette.GRID,
        "linecolor": palette.MUTED,
        "zerolinecolor": palette.MUTED,
        "zerolinewidth": 1,
        "ticks": "outside",
        "ticklen": 3,
        "tickcolor": palette.MUTED,
        "tickfont": {"size": 10 if compact else 12},
        "nticks": 5 if compact else 8,
        "automargin": True,
        "title": {"text": "" if compact else safe(axis.label), "standoff": 8},
    }
    if axis.scale == "log":
        out["type"] = "log"
        if span is not None:
            ticks = labels.log_ticks(*span)
            out |= {"tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}
        span = None if span is None else (math.log10(span[0]), math.log10(span[1]))
    if span is not None:
        out["range"] = [rounded(span[0]), rounded(span[1])]
    return out


def _xy(
    mark: Mark, compact: bool, across: labels.Range | None, upward: labels.Range | None
) -> Json:
    """A layout with the two axes of a mark."""
    names = mark.series_names if isinstance(mark, Stems | Bars | Lines | Scatter) else ()
    layout = _layout(compact=compact, legend=len(names) > 1)
    x, y = getattr(mark, "x_axis", Axis()), getattr(mark, "y_axis", Axis())
    layout["xaxis"] = _axis(x, across, compact=compact) | {
        "showgrid": False,
        "zeroline": False,
    }
    layout["yaxis"] = _axis(y, upward, compact=compact)
    return layout


def rounded(value: float | None) -> float | None:
    """Six digits: more than a screen can show, and half the bytes."""
    return None if value is None else float(f"{value:.6g}")


def _rounded(values: Sequence[float | None] | None) -> list[float | None]:
    return [rounded(value) for value in values or ()]


def _label(text: str, x: float, y: float, **more: Any) -> Json:
    return {
        "text": safe(text, 60),
        "x": x,
        "y": y,
        "xref": "x",
        "yref": "y",
        "showarrow": False,
        "font": {"size": 11},
        "bgcolor": "rgba(255,255,255,0.75)",
        "borderpad": 0,
    } | more


def _annotation(given: Annotation) -> Json:
    return _label(
        given.text,
        given.x,
        given.y,
        showarrow=True,
        arrowhead=0,
        arrowwidth=1,
        arrowcolor=palette.MUTED,
        ax=24,
        ay=-24,
    )


def _stems(mark: Stems, compact: bool, across: labels.Range, upward: labels.Range) -> Spec:
    layout = _xy(mark, compact, across, upward)
    layout["xaxis"]["tickformat"] = "d"
    if mark.arrangement == "mirrored":
        ticks = labels.nice_ticks(*upward)
        layout["yaxis"] |= {"tickvals": ticks, "ticktext": [short(abs(tick)) for tick in ticks]}
    layout["annotations"] = []
    data: list[Json] = []
    font = 9 if compact else 11
    size = _NOMINAL_PANEL if compact else _NOMINAL
    named = labels.named(mark, across, upward, size=size, font=font)
    for n, series in enumerate(mark.series):
        sign = -1.0 if mark.arrangement == "mirrored" and n == 1 else 1.0
        xs: list[Any] = []
        ys: list[Any] = []
        true: list[Any] = []
        for index, value in zip(series.x, series.y, strict=True):
            said = rounded(value)
            xs += [int(index), int(index), None]
            ys += [rounded(sign * value), 0, None]
            true += [said, said, None]
        what = f"{safe(mark.x_axis.title)} %{{x}}<br>{safe(mark.y_axis.title)} %{{customdata:.4~g}}"
        common = {
            "type": "scatter",
            "legendgroup": safe(series.name),
            "name": safe(series.name),
            "hovertemplate": f"{what}<extra>{safe(series.name)}</extra>",
        }
        mine = [one for one in named if one.series == n]
        stems = {
            "mode": "lines",
            "x": xs,
            "y": ys,
            "customdata": true,
            "line": {
                "color": palette.SERIES[n % len(palette.SERIES)],
                "width": 1.4 if compact else 1.8,
            },
            "showlegend": not mine,
        }
        tips = {
            "mode": "markers",
            "x": [one.index for one in mine],
            "y": [rounded(one.height) for one in mine],
            "customdata": [rounded(one.value) for one in mine],
            "marker": _marker(n, 5 if compact else 8),
            "cliponaxis": False,
            "showlegend": bool(mine),
        }
        data += [common | stems, common | tips]
    for one in named:
        look = {"size": font, "color": palette.SERIES_TEXT[one.series % len(palette.SERIES)]}
        dx, dy = (round(shift) for shift in one.offset)
        layout["annotations"].append(
            _label(str(one.index), one.index, one.height, xshift=dx, yshift=dy, font=look)
        )
    return Spec(data, layout, 190 if compact else 390, min_width=200 if compact else 300)


def _marker(n: int, size: float) -> Json:
    place = n % len(palette.SERIES)
    return {
        "color": palette.SERIES[place],
        "symbol": palette.PLOTLY_SYMBOLS[place],
        "size": size,
        "line": {"width": 1.5, "color": palette.SERIES[place]},
    }


def _bars(mark: Bars, compact: bool, upward: labels.Range | None) -> Spec:
    flat = mark.orientation == "horizontal"
    layout = _xy(mark, compact, None, None)
    value, place = ("xaxis", "yaxis") if flat else ("yaxis", "xaxis")
    value_axis, place_axis = (mark.x_axis, mark.y_axis) if flat else (mark.y_axis, mark.x_axis)
    layout[value] = _axis(value_axis, upward, compact=compact)
    layout[place] = _axis(place_axis, None, compact=compact) | {
        "showgrid": False,
        "zeroline": False,
        "tickvals": list(range(len(mark.labels))),
        "ticktext": [safe(label, 40) for label in mark.labels],
        "range": [len(mark.labels) - 0.5, -0.5] if flat else [-0.5, len(mark.labels) - 0.5],
    }
    layout |= {"barmode": "group", "bargap": 0.25}
    data = []
    for n, series in enumerate(mark.series):
        names = [safe(mark.labels[int(i)]) for i in series.x]
        along, size = [int(i) for i in series.x], _rounded(series.y)
        trace: Json = {
            "type": "bar",
            "orientation": "h" if flat else "v",
            "x": size if flat else along,
            "y": along if flat else size,
            "customdata": names,
            "name": safe(series.name),
            "legendgroup": safe(series.name),
            "showlegend": True,
            "hovertemplate": f"%{{customdata}}: %{{{'x' if flat else 'y'}:.4~g}}"
            f"<extra>{safe(series.name)}</extra>",
            "marker": {
                "color": palette.SERIES[n % len(palette.SERIES)],
                "pattern": {
                    "fillmode": "overlay",
                    "shape": palette.PLOTLY_PATTERNS[n % len(palette.PLOTLY_PATTERNS)],
                    "fgcolor": palette.PAPER,
                    "size": 6,
                    "solidity": 0.25,
                },
            },
        }
        if series.low is not None:
            trace["error_x" if flat else "error_y"] = _interval(series)
        data.append(trace)
    height = 90 + 26 * len(mark.labels) * max(1, len(mark.series)) if flat else 360
    return Spec(data, layout, 190 if compact else min(height, 1400), min_width=260)


def _interval(series: Series) -> Json:
    ups = zip(series.y, series.low, series.high, strict=True)
    pairs = [(0.0, 0.0) if None in (y, a, b) else (b - y, y - a) for y, a, b in ups]
    return {
        "type": "data",
        "symmetric": False,
        "array": _rounded([up for up, _ in pairs]),
        "arrayminus": _rounded([down for _, down in pairs]),
        "color": palette.INK,
        "thickness": 1.2,
        "width": 3,
    }


def _lines(
    mark: Lines, compact: bool, across: labels.Range | None, upward: labels.Range | None
) -> Spec:
    layout = _xy(mark, compact, across, upward)
    data: list[Json] = []
    for n, series in enumerate(mark.series):
        color = palette.SERIES[n % len(palette.SERIES)]
        group = {"legendgroup": safe(series.name), "name": safe(series.name)}
        for xs, ys in bands(series):
            data.append(
                {
                    "type": "scatter",
                    "mode": "lines",
                    "x": _rounded(xs),
                    "y": _rounded(ys),
                    "fill": "toself",
                    "fillcolor": rgba(color, 0.18),
                    "line": {"width": 0},
                    "hoverinfo": "skip",
                    "showlegend": False,
                }
                | group
            )
        data.append(
            {
                "type": "scatter",
                "mode": "lines+markers" if len(series.x) <= 60 else "lines",
                "x": _rounded(series.x),
                "y": _rounded(series.y),
                "customdata": [
                    safe(label) for label in series.labels or [short(x) for x in series.x]
                ],
                "line": {
                    "color": color,
                    "width": 2,
                    "dash": palette.PLOTLY_DASHES[n % len(palette.PLOTLY_DASHES)],
                },
                "marker": _marker(n, 4 if compact else 6),
                "showlegend": True,
                "hovertemplate": f"{safe(mark.x_axis.title)} %{{customdata}}<br>"
                f"{safe(mark.y_axis.title)} %{{y:.4~g}}<extra>{safe(series.name)}</extra>",
            }
            | group
        )
    _mark_values(layout, mark.markers, across, compact)
    return Spec(data, layout, 190 if compact else 380)


def bands(series: Series) -> list[tuple[list[float], list[float]]]:
    """The outline of each unbroken stretch of a series' interval."""
    if series.low is None:
        return []
    out: list[tuple[list[float], list[float]]] = []
    stretch: list[tuple[float, float, float]] = []
    for x, low, high in [*zip(series.x, series.low, series.high, strict=True), (0.0, None, None)]:
        if low is not None and high is not None:
            stretch.append((x, low, high))
        elif stretch:
            back = stretch[::-1]
            out.append(
                ([p[0] for p in stretch + back], [p[1] for p in stretch] + [p[2] for p in back])
            )
            stretch = []
    return out


def rgba(color: str, alpha: float) -> str:
    """A colour with transparency, as CSS writes it."""
    return f"rgba({int(color[1:3], 16)},{int(color[3:5], 16)},{int(color[5:7], 16)},{alpha})"


def _scatter(
    mark: Scatter, compact: bool, across: labels.Range | None, upward: labels.Range | None
) -> Spec:
    layout = _xy(mark, compact, across, upward)
    data: list[Json] = []
    for n, series in enumerate(mark.series):
        named = series.labels is not None
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": _rounded(series.x),
                "y": _rounded(series.y),
                "customdata": [safe(label) for label in series.labels or ()],
                "name": safe(series.name),
                "legendgroup": safe(series.name),
                "showlegend": True,
                "marker": _marker(n, 5 if compact else 7),
                "opacity": 0.8,
                "hovertemplate": ("%{customdata}<br>" if named else "")
                + f"{safe(mark.x_axis.title)} %{{x:.4~g}}<br>{safe(mark.y_axis.title)} "
                f"%{{y:.4~g}}<extra>{safe(series.name)}</extra>",
            }
        )
    if mark.diagonal and across and upward:
        low, high = max(across[0], upward[0]), min(across[1], upward[1])
        layout.setdefault("shapes", []).append(
            _line({"x0": low, "x1": high, "y0": low, "y1": high}, palette.MUTED, "dot")
        )
    return Spec(data, layout, 190 if compact else 420)


def _line(ends: Json, color: str, dash: str, **refs: str) -> Json:
    line = {"color": color, "width": 1.6, "dash": dash}
    return {"type": "line", "xref": "x", "yref": "y", "line": line} | ends | refs


def _mark_values(
    layout: Json, markers: Sequence[Marker], across: labels.Range | None, compact: bool
) -> None:
    """A line from bottom to top at each value, named at its top."""
    for i, marker in enumerate(markers):
        x = rounded(marker.value)
        layout.setdefault("shapes", []).append(
            _line({"x0": x, "x1": x, "y0": 0, "y1": 1}, palette.ACCENT, "dash", yref="y domain")
        )
        late = across is not None and marker.value > sum(across) / 2
        if marker.label:
            layout.setdefault("annotations", []).append(
                _label(
                    marker.label,
                    marker.value,
                    1.0 - 0.07 * (i % 4),
                    yref="y domain",
                    yanchor="top",
                    xanchor="right" if late else "left",
                    xshift=-4 if late else 4,
                    font={"size": 9 if compact else 11, "color": palette.ACCENT},
                )
            )


def _histogram(
    mark: Histogram, compact: bool, across: labels.Range | None, upward: labels.Range | None
) -> Spec:
    edges, counts = mark.counted()
    layout = _xy(mark, compact, across, upward) | {"bargap": 0}
    spans = [f"{short(a)} to {short(b)}" for a, b in pairwise(edges)]
    data: list[Json] = [
        {
            "type": "bar",
            "x": [rounded((a + b) / 2) for a, b in pairwise(edges)],
            "width": [rounded(b - a) for a, b in pairwise(edges)],
            "y": list(counts),
            "customdata": spans,
            "marker": {
                "color": rgba(palette.SERIES[0], 0.75),
                "line": {"color": palette.PAPER, "width": 0.6},
            },
            "showlegend": False,
            "hovertemplate": "%{customdata}: %{y}<extra></extra>",
        }
    ]
    _mark_values(layout, mark.markers, across, compact)
    return Spec(data, layout, 190 if compact else 340)


def _heatmap(mark: Heatmap, compact: bool) -> Spec:
    rows, columns = len(mark.rows), len(mark.columns)
    cell = labels.cell_size(mark, compact=compact)
    font = max(7, min(10 if compact else 12, cell - 2))
    low, high = mark.drawn_limits
    layout = _layout(compact=compact, legend=False)
    layout["plot_bgcolor"] = palette.UNDEFINED
    longest = max(len(label) for label in mark.columns)
    upright = longest * font * 0.62 > cell
    for name, names, span in (
        ("xaxis", mark.columns, [-0.5, columns - 0.5]),
        ("yaxis", mark.rows, [rows - 0.5, -0.5]),
    ):
        step = 1 + (len(names) - 1) // 150
        layout[name] = _axis(getattr(mark, f"{name[0]}_axis"), None, compact=compact) | {
            "range": span,
            "tickvals": list(range(0, len(names), step)),
            "ticktext": [safe(label, 28) for label in names[::step]],
            "tickfont": {"size": font},
            "showgrid": False,
            "zeroline": False,
            "ticklen": 2,
        }
    layout["xaxis"]["tickangle"] = (-45 if cell >= 26 else -90) if upright else 0
    shapes, notes = _groups(mark, cell, compact)
    layout |= {"shapes": shapes, "annotations": notes}
    colours = palette.stops(mark.scale)
    trace: Json = {
        "type": "heatmap",
        "z": [_rounded(row) for row in mark.values],
        "zmin": rounded(low),
        "zmax": rounded(high),
        "colorscale": [[i / (len(colours) - 1), colour] for i, colour in enumerate(colours)],
        "hoverongaps": False,
        "hovertemplate": f"%{{y}}<br>%{{x}}<br>{safe(mark.value_name)} %{{z:.4~g}}<extra></extra>",
        "xgap": 1 if cell >= 26 else 0,
        "ygap": 1 if cell >= 26 else 0,
        "showscale": not compact,
        "colorbar": {
            "title": {"text": _scale_title(mark), "side": "top", "font": {"size": 12}},
            "thickness": 12,
            "outlinewidth": 0,
            "len": 1,
            "x": 1.01,
            "xpad": 10 + (_group_room(mark.row_groups) if not compact else 0),
        },
    }
    if mark.shows_text and not compact:
        trace |= {
            "text": [["" if v is None else short_cell(v) for v in row] for row in mark.values],
            "texttemplate": "%{text}",
            "textfont": {"size": 11},
        }
    letters = min(28, longest) * font * 0.62
    below = letters * (0.75 if cell >= 26 else 1.0) + 12 if upright else 28
    below += 22 if mark.x_axis.label and not compact else 0
    left = min(28, max(len(label) for label in mark.rows)) * font * 0.62 + 44
    top = 10
    if mark.column_groups and not compact:
        flat = labels.names_fit(mark.column_groups, cell)
        top = 26 if flat else 4 + _group_room(mark.column_groups)
    layout["margin"] = {"l": 20, "r": 12, "t": top, "b": 20}
    width = round(columns * cell + left + (20 if compact else 150 + _group_room(mark.row_groups)))
    height = round(rows * cell + below + top + 20)
    least = 200 if compact else width
    return Spec([trace], layout, height, min_width=least, max_width=max(width, 240))


def short_cell(value: float) -> str:
    """A number for a cell: two decimals where that says enough."""
    return f"{value:.2f}" if abs(value) < 100 else short(value)


def _scale_title(mark: Heatmap) -> str:
    return safe(mark.value_name) + ("<br>grey: undefined" if mark.undefined else "")


def _group_room(groups: Sequence[str]) -> int:
    return 0 if not groups else 8 + round(6.2 * max(len(cut(name, 16)) for name in groups))


def _groups(mark: Heatmap, cell: int, compact: bool) -> tuple[list[Json], list[Json]]:
    """Lines between groups, and the names of groups above and at the right."""
    shapes: list[Json] = []
    notes: list[Json] = []
    rows, columns = len(mark.rows), len(mark.columns)
    for _, start, _ in labels.runs(mark.row_groups)[1:]:
        ends = {"x0": -0.5, "x1": columns - 0.5, "y0": start - 0.5, "y1": start - 0.5}
        shapes.append(_line(ends, palette.INK, "solid"))
    for _, start, _ in labels.runs(mark.column_groups)[1:]:
        ends = {"x0": start - 0.5, "x1": start - 0.5, "y0": -0.5, "y1": rows - 0.5}
        shapes.append(_line(ends, palette.INK, "solid"))
    if compact:
        return shapes, notes
    plain = {"bgcolor": "rgba(0,0,0,0)", "font": {"size": 11, "color": palette.MUTED}}
    for name, start, end in labels.runs(mark.row_groups):
        middle = (start + end - 1) / 2
        notes.append(
            _label(cut(name, 16), columns - 0.5, middle, xanchor="left", xshift=5, **plain)
        )
    upright = not labels.names_fit(mark.column_groups, cell)
    for name, start, end in labels.runs(mark.column_groups):
        middle = (start + end - 1) / 2
        turned = {"textangle": -90} if upright else {}
        notes.append(
            _label(cut(name, 16), middle, -0.5, yanchor="bottom", yshift=3, **plain, **turned)
        )
    return shapes, notes
