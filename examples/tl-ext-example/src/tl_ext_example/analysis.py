"""An analysis in its three parts: tensors from the model, a table from tensors, a figure from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pandas as pd

from tl_ext.activations.capture import capture
from tl_ext.report.marks import Bars
from tl_ext.report.page import Figure

if TYPE_CHECKING:
    from torch import Tensor

    from tl_ext.study.plan import Plan
    from tl_ext.study.session import Session

NAME = "example_lengths"


def collect(session: Session, needs: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The length of the activation at every background token, per hook point: `[row]` each."""
    captured = capture(session.model, session.background, list(session.dictionaries.hook_points))
    return {point: rows.norm(dim=-1) for point, rows in captured.activations.items()}


def tabulate(tensors: Mapping[str, Mapping[str, Tensor]], plan: Plan) -> dict[str, pd.DataFrame]:
    """`example_lengths`: mean and standard deviation of the lengths, a row per hook point."""
    rows = [
        {"hook_point": point, "mean": float(lengths.mean()), "sd": float(lengths.std())}
        for point, lengths in tensors[NAME].items()
    ]
    return {NAME: pd.DataFrame(rows)}


def draw(tables: Mapping[str, pd.DataFrame], plan: Plan) -> dict[str, Figure]:
    """One bar per hook point."""
    table = tables[NAME]
    bars = Bars(
        title="Mean length of the activation",
        labels=list(table["hook_point"]),
        series={"mean": list(table["mean"])},
        orientation="horizontal",
    )
    return {"lengths": Figure(bars, caption="Euclidean length, over all background tokens.")}
