"""Marks as HTML, through templates that escape whatever they are given."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tl_ext.report import dashboard, palette, plotly_spec
from tl_ext.report.dashboard import Dashboard, Dashboards
from tl_ext.report.marks import Mark, Panels, Samples, TableMark, TokenText
from tl_ext.report.wording import cut, short, visible

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

TEMPLATES = Path(__file__).parent / "templates"
_SEPARATOR = "\u00b7"


@cache
def environment() -> Environment:
    """The templates; everything put into them is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        loader=FileSystemLoader(TEMPLATES, encoding="utf-8"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "prose": prose,
        "visible": visible,
        "lines": lines,
        "short": short,
        "cut": cut,
        "number": number,
        "link": link,
    }
    return made


def source(name: str) -> str:
    """A style sheet or script that lies beside the templates."""
    return (TEMPLATES / name).read_text(encoding="utf-8").replace("\r\n", "\n")


def script_json(value: object) -> Markup:
    """JSON that can stand inside a script element: no `<`, `>`, `&` or non-ASCII letter in it."""
    from markupsafe import Markup

    written = json.dumps(value, separators=(",", ":"), allow_nan=False, ensure_ascii=True)
    for character in "<>&":
        written = written.replace(character, f"\\u{ord(character):04x}")
    return Markup(written)


def prose(text: str) -> Markup:
    """A sentence of ours: escaped, with `backticks` as code."""
    from markupsafe import Markup, escape

    parts = re.split(r"`([^`]+)`", visible(" ".join(str(text).split("\n"))))
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if i % 2 else escape(part)
        for i, part in enumerate(parts)
    )


def lines(text: str) -> str:
    """Text of a model as it is shown: line breaks marked and kept, hidden characters written out."""
    return "↵\n".join(visible(line) for line in re.split("\r\n|[\n\u2028]", text))


def link(text: object) -> str | None:
    """The address, if a text is a plain http or https address and nothing else."""
    if not isinstance(text, str) or not re.fullmatch(r"https?://[^\s<>\"'\\]+", text):
        return None
    try:
        return text if urlsplit(text).hostname else None
    except ValueError:
        return None


def number(value: Any, form: str | None) -> str:
    """A cell of a table as text."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float) and form:
        return format(value, form)
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) != float("inf") else str(value)
    return lines(str(value))


def fragment(mark: Mark, name: str) -> Markup:
    """A mark as a piece of a page.

    Args:
        mark: Any mark.
        name: What the ids in it begin with; unique on its page.

    Returns:
        HTML that needs the page's style sheet and script.
    """
    from markupsafe import Markup

    if isinstance(mark, TokenText):
        template, values = "tokens.html", {"tokens": _tokens(mark), "bar": _bar(mark)}
    elif isinstance(mark, TableMark):
        template, values = "table.html", _table(mark)
    elif isinstance(mark, Samples):
        template, values = "samples.html", {}
    elif isinstance(mark, Dashboard | Dashboards):
        template, values = "dashboard.html", _dashboards(mark)
    else:
        template, values = "plot.html", _plots(mark, name)
    drawn = environment().get_template(template).render(mark=mark, name=name, **values)
    return Markup(drawn)


def alone(mark: Mark, content: Markup) -> str:
    """A fragment with its styles and title, for a notebook."""
    page = environment().get_template("alone.html")
    from markupsafe import Markup

    return page.render(mark=mark, content=content, styles=Markup(source("marks.css")))


def notebook_figure(mark: Mark, name: str, *, picture: str, alt: str) -> str:
    """A picture, and what turns it into an interactive figure where plotly.js is there."""
    from markupsafe import Markup

    page = environment().get_template("notebook.html")
    return page.render(
        name=name,
        title=mark.title,
        picture=picture,
        alt=alt,
        figure=fragment(mark, name),
        styles=Markup(source("marks.css")),
        script=Markup(source("draw.js")),
    )


def _plots(mark: Mark, name: str) -> dict[str, Any]:
    """The figures of a mark, and the legend and axes that small multiples share."""
    several = isinstance(mark, Panels)
    drawn = plotly_spec.panels(mark) if isinstance(mark, Panels) else [("", plotly_spec.spec(mark))]
    panels = [
        {
            "id": f"{name}-plot-{i}",
            "title": title,
            "alt": visible((mark.panels[i] if isinstance(mark, Panels) else mark).alt_text),
            "spec": part,
            "json": script_json({"data": part.data, "layout": part.layout}),
        }
        for i, (title, part) in enumerate(drawn)
    ]
    out: dict[str, Any] = {"panels": panels, "several": several, "legend": [], "axes": []}
    if isinstance(mark, Panels):
        names = mark.series_names
        if len(names) > 1:
            colours = palette.SERIES
            marks = "●◇■△✕○▼"
            out["legend"] = [
                {"name": one, "colour": colours[i % 7], "symbol": marks[i % 7]}
                for i, one in enumerate(names)
            ]
        first = mark.panels[0]
        out["axes"] = [
            (direction, axis.label)
            for direction, axis in (("across", first.x_axis), ("up", first.y_axis))
            if axis.label
        ]
        out["least"] = max(part.min_width for _, part in drawn)
        out["columns"] = mark.columns
    return out


def _dashboards(mark: Dashboard | Dashboards) -> dict[str, Any]:
    if isinstance(mark, Dashboard):
        return {"several": (), "drawn": dashboard.values_of(mark)}
    groups = mark.groups or ("",) * len(mark.latents)
    return {
        "several": [
            (one, dashboard.values_of(one), "" if group == last else group)
            for one, group, last in zip(mark.latents, groups, ("", *groups[:-1]), strict=True)
        ]
    }


def _bar(mark: TokenText) -> dict[str, Any]:
    low, high = mark.drawn_limits
    return {"colours": ", ".join(palette.stops(mark.scale)), "low": short(low), "high": short(high)}


def _tokens(mark: TokenText) -> list[dict[str, Any]]:
    low, high = mark.drawn_limits
    colours = palette.stops(mark.scale)
    out = []
    for token, value in zip(mark.tokens, mark.values, strict=True):
        fill = None if value is None else palette.colour_at(colours, (value - low) / (high - low))
        told = "undefined" if value is None else f"{value:.4g}"
        out.append(
            {
                "shown": visible(token, space=_SEPARATOR) or "∅",
                "breaks": token.count("\n"),
                "fill": fill,
                "ink": palette.text_on(fill) if fill else None,
                "number": short_share(value),
                "told": f"{visible(token)!r} — {mark.value_name}: {told}",
            }
        )
    return out


def short_share(value: float | None) -> str:
    """A number below a token: two decimals, or that it is less."""
    if value is None:
        return "–"
    if 0 < value < 0.005:
        return "<.01"
    return f"{value:.2f}" if abs(value) < 10 else short(value)


def _table(mark: TableMark) -> dict[str, Any]:
    forms = dict(mark.formats)
    rows = [
        [
            {
                "text": number(value, forms.get(column)),
                "link": link(value),
                "key": "" if value is None else value,
                "numeric": numeric,
                "long": len(str(value)) > 28,
            }
            for column, numeric, value in zip(mark.columns, mark.numeric, row, strict=True)
        ]
        for row in mark.data[: mark.first]
    ]
    for row in rows:
        for cell in row:
            if cell["link"]:
                cell["text"] = cut(str(cell["text"]).split("://", 1)[1], 48)
    return {"rows": rows, "heads": list(zip(mark.columns, mark.numeric, strict=True))}
