"""Marks as interactive figures: plotly objects, and HTML for notebooks.

A notebook shows a picture that any viewer can show. Where plotly.js is on the page, which
`notebook()` puts there once, the picture becomes an interactive figure in its place.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from tl_ext.report import html, plotly_spec
from tl_ext.report.dashboard import Dashboard, Dashboards
from tl_ext.report.marks import Mark, Panels, Samples, TableMark, TokenText
from tl_ext.report.wording import visible


def figure(mark: Mark) -> Any:
    """A mark as a plotly figure.

    Args:
        mark: Any mark that is not text or a table.

    Returns:
        A `plotly.graph_objects.Figure`.

    Raises:
        InputError: The mark is text or a table.
    """
    import plotly.graph_objects as go

    spec = plotly_spec.composed(mark) if isinstance(mark, Panels) else plotly_spec.spec(mark)
    layout = dict(spec.layout)
    room = 44 if mark.title else 0
    layout["height"] = spec.height + room
    if spec.max_width is not None:
        layout["width"] = spec.max_width
    if mark.title:
        layout["margin"] = layout["margin"] | {"t": layout["margin"]["t"] + room}
        layout["title"] = {
            "text": plotly_spec.safe(mark.title),
            "x": 0.01,
            "y": 1,
            "yref": "container",
            "yanchor": "top",
            "pad": {"t": 12},
            "font": {"size": 16},
        }
    return go.Figure({"data": spec.data, "layout": layout})


def plotly_js() -> str:
    """The plotly.js that plotly itself ships, ready to stand in a script element."""
    from plotly.offline import get_plotlyjs

    source: str = get_plotlyjs()
    return source.replace("\r\n", "\n").replace("</script", "<\\/script")


@dataclass(frozen=True)
class Notebook:
    """plotly.js for a notebook; shown as the value of a cell."""

    def _repr_html_(self) -> str:
        return f"<script>{plotly_js()}</script><p>Figures below are interactive.</p>"


def notebook() -> Notebook:
    """Make the figures of a notebook interactive: let it be the value of a cell near the top."""
    return Notebook()


def notebook_html(mark: Mark) -> str:
    """A mark as HTML that stands alone in a notebook's output.

    Args:
        mark: Any mark.

    Returns:
        HTML with its styles. Text and tables are HTML altogether; other figures are a picture that
        turns interactive where plotly.js is on the page.
    """
    if isinstance(mark, TokenText | TableMark | Samples | Dashboard | Dashboards):
        return html.alone(mark, html.fragment(mark, "shown"))
    import base64

    from tl_ext.report.png import png_bytes

    picture = png_bytes(mark)
    name = "tlx-" + hashlib.sha256(picture).hexdigest()[:12]
    encoded = base64.b64encode(picture).decode("ascii")
    return html.notebook_figure(
        mark, name, picture=f"data:image/png;base64,{encoded}", alt=visible(mark.alt_text)
    )
