"""Tables to marks, marks to one page.

Marks say what a figure shows; nothing here imports plotly, matplotlib or pandas until a figure is
drawn.
"""

from __future__ import annotations

from tl_ext.report.dashboard import Dashboard, Dashboards, ShownContext, TokenWeights
from tl_ext.report.interactive import notebook
from tl_ext.report.marks import (
    Annotation,
    Axis,
    Bars,
    Continuation,
    Heatmap,
    Histogram,
    Lines,
    Mark,
    Marker,
    Panels,
    SampleRow,
    Samples,
    Scatter,
    Series,
    Stems,
    TableMark,
    TokenText,
)
from tl_ext.report.page import Figure, Page, Paragraph, Section, render, write_page

__all__ = [
    "Annotation",
    "Axis",
    "Bars",
    "Continuation",
    "Dashboard",
    "Dashboards",
    "Figure",
    "Heatmap",
    "Histogram",
    "Lines",
    "Mark",
    "Marker",
    "Page",
    "Panels",
    "Paragraph",
    "SampleRow",
    "Samples",
    "Scatter",
    "Section",
    "Series",
    "ShownContext",
    "Stems",
    "TableMark",
    "TokenText",
    "TokenWeights",
    "notebook",
    "render",
    "write_page",
]
