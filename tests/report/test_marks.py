"""Marks: what they keep of what they are given, and what they refuse."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.report.demo import cosines, stems

from tl_ext.errors import InputError
from tl_ext.report import (
    Axis,
    Bars,
    Figure,
    Heatmap,
    Histogram,
    Lines,
    Panels,
    SampleRow,
    Samples,
    Scatter,
    Section,
    Series,
    Stems,
    TableMark,
    TokenText,
)
from tl_ext.report.wording import short, visible


def test_arrays_tables_and_lists_make_equal_marks() -> None:
    rows = [[1.0, math.nan], [0.25, 1.0]]
    frame = pd.DataFrame(rows, index=["a", "b"], columns=["c", "d"])
    listed = Heatmap(values=rows, rows=["a", "b"], columns=["c", "d"])
    assert Heatmap(values=frame) == listed
    assert Heatmap(values=np.array(rows), rows=["a", "b"], columns=["c", "d"]) == listed
    assert hash(Heatmap(values=frame)) == hash(listed)
    assert listed.values == ((1.0, None), (0.25, 1.0)) and listed.undefined == 1


def test_tensors_are_taken() -> None:
    import torch

    row = torch.tensor([0.0, 2.5, 0.0], requires_grad=True)
    assert Series.sparse("a", row) == Series("a", [1], [2.5])
    assert Heatmap(values=torch.eye(2)).values == ((1.0, 0.0), (0.0, 1.0))


def test_a_mark_does_not_follow_its_source() -> None:
    values = np.eye(2)
    mark = Heatmap(values=values)
    values[:] = 7
    assert mark.values == ((1.0, 0.0), (0.0, 1.0))


def test_pandas_missing_values_are_undefined() -> None:
    column = pd.Series([1, None, pd.NA], dtype="Int64")
    assert Series("a", [0, 1, 2], column).y == (1.0, None, None)


@given(st.lists(st.floats(allow_infinity=False), min_size=1, max_size=40))
def test_sparse_keeps_exactly_the_nonzero(row: list[float]) -> None:
    series = Series.sparse("a", row)
    kept = {int(i): v for i, v in zip(series.x, series.y, strict=True)}
    assert kept == {i: v for i, v in enumerate(row) if v and not math.isnan(v)}


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60), st.integers(1, 12))
def test_a_histogram_counts_every_value_once(values: list[float], bins: int) -> None:
    edges, counts = Histogram(values=values, bins=bins).counted()
    assert sum(counts) == len(values) and len(edges) == bins + 1
    assert edges[0] <= min(values) and edges[-1] >= max(values) - 1e-6 * abs(max(values)) - 1e-9


def test_the_highest_latents_are_named_and_those_asked_for() -> None:
    mark = Stems(series=Series("a", [1, 5, 7, 9], [2, 8, 8, 1]), length=10, top=2, named=(9,))
    assert mark.labelled(mark.series[0]) == ((5, 8.0), (7, 8.0), (9, 1.0))


def test_alt_text_says_what_is_drawn() -> None:
    assert "5 (8), 7 (8)" in Stems(series=Series("a", [5, 7], [8, 8]), length=9).alt_text
    assert "2 undefined" in Heatmap(values=[[math.nan, 1], [1, math.nan]]).alt_text
    assert Heatmap(values=[[1]], alt="mine").alt_text == "mine"


def test_samples_from_a_long_table() -> None:
    table = pd.DataFrame(
        {
            "prompt": ["p", "p", "p", "p"],
            "condition": ["a", "b", "a", "b"],
            "continuation": ["1", "2", "3", "4"],
            "score": [0.1, 0.2, 0.3, 0.4],
        }
    )
    samples = Samples.from_table(table, note="score", first=1)
    assert samples.conditions == ("a", "b") and len(samples.rows) == 1
    assert [c.text for c in samples.rows[0].continuations] == ["1", "2"]
    assert len(Samples.from_table(table).rows) == 2
    with pytest.raises(InputError, match="same number"):
        Samples.from_table(table[:3])
    with pytest.raises(InputError, match="nowhere"):
        Samples.from_table(table, prompt="nowhere")


def test_a_table_knows_its_numbers() -> None:
    frame = pd.DataFrame({"n": [1, 2], "x": [0.5, math.nan], "s": ["a", None], "b": [True, False]})
    mark = TableMark(data=frame)
    assert mark.numeric == (True, True, False, False)
    assert mark.data == ((1, 0.5, "a", True), (2, None, None, False))
    records = [{"n": 1, "x": 0.5, "s": "a", "b": True}, {"n": 2, "b": False}]
    assert TableMark(data=records) == mark
    assert TableMark(data=frame, columns=["s"]).columns == ("s",)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Heatmap(values=[[1, 2], [3]]), "one length"),
        (lambda: Heatmap(values=[1, 2]), "two"),
        (lambda: Heatmap(values=[]), "at least one row"),
        (lambda: Heatmap(values=[[math.inf]]), r"values\[0\]\[0\].*NaN where"),
        (lambda: Heatmap(values=[["x"]]), "expected a number"),
        (lambda: Heatmap(values=[[1]], rows=["a", "b"]), "rows has 2"),
        (lambda: Heatmap(values=[[1]], rows="a"), "single text"),
        (lambda: Heatmap(values=[[1]], limits=(1, 1)), "low below high"),
        (lambda: Heatmap(values=[[1]], scale="rainbow"), "diverging, sequential"),  # type: ignore[arg-type]
        (lambda: Stems(series=Series("a", [10], [1]), length=10), "0 to 9"),
        (lambda: Stems(series=Series("a", [1], [None]), length=10), "undefined"),
        (lambda: Stems(series=[], length=10), "one Series or more"),
        (
            lambda: Stems(series=Series("a", [1], [1]), length=9, arrangement="mirrored"),
            "two series",
        ),
        (lambda: Lines(series=[Series("a", [1], [1])] * 2), "given twice"),
        (lambda: Series("a", [1, 2], [1]), "x has 2, y has 1"),
        (lambda: Series("a", [1], [1], low=[0]), "both low and high"),
        (lambda: Series("a", [None], [1]), "undefined"),
        (lambda: Bars(labels=["a"], series={"s": [1, 2]}), "1 labels"),
        (lambda: Histogram(values=[math.nan]), "no defined value"),
        (lambda: Panels(panels=[]), "at least one"),
        (lambda: Panels(panels=[TokenText(tokens=["a"], values=[1])]), "cannot be a panel"),
        (lambda: TokenText(tokens=["a"], values=[1, 2]), "tokens has 1"),
        (lambda: TokenText(tokens=[], values=[]), "at least one token"),
        (lambda: TableMark(data=[]), "no columns"),
        (lambda: TableMark(data=[{"a": 1}], columns=["b"]), "'b'"),
        (lambda: TableMark(data=[{"a": 1}], formats={"b": ".1f"}), "'b'"),
        (lambda: Samples(conditions=["a"], rows=[SampleRow(prompt="p", continuations=())]), "'p'"),
        (lambda: Axis(limits=(0, 1), scale="log"), "above 0"),
        (lambda: Section(id="Two Words", title=""), "small letters"),
        (lambda: Section(id="summary", title=""), "not 'summary'"),
        (lambda: Figure(Heatmap(values=[[1]]), png="javascript:alert(1)"), "below the page"),
        (lambda: Figure(Heatmap(values=[[1]]), csv="../up.csv"), "below the page"),
        (lambda: Figure("text"), "expected a mark"),  # type: ignore[arg-type]
        (lambda: Heatmap(values=[[1]]).save("x.jpg"), r"\.html or \.png"),
        (lambda: TableMark(data=[{"a": 1}]).save("x.png"), r"ending in \.html"),
        (lambda: TokenText(tokens=["a"], values=[1]).figure(), "no plotly figure"),
    ],
)
def test_bad_input_is_named(make: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        make()


def test_nothing_hides_in_visible_text() -> None:
    assert visible("a\nb\t\u202e\x00\ufeff") == "a↵b⇥‹U+202E›‹U+0000›‹U+FEFF›"
    assert visible("\u0645\u06cc\u200c\u062e") == "\u0645\u06cc\u200c\u062e"
    assert [short(v) for v in (0.03124, 24.31, 1234.4, 1.2e-5, None, 3.0)] == [
        "0.0312",
        "24.3",
        "1234",
        "1.2e-05",
        "–",
        "3",
    ]


def test_importing_the_report_loads_no_drawing_library() -> None:
    import subprocess
    import sys

    heavy = ("plotly", "matplotlib", "pandas", "numpy", "jinja2", "torch")
    code = f"import sys, tl_ext.report; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_marks_of_the_demo_are_frozen() -> None:
    mark = stems(1, "t")
    with pytest.raises(AttributeError):
        mark.title = "other"  # type: ignore[misc]
    assert stems(1, "t") == mark != stems(2, "t")
    assert Scatter(series=Series("a", [1], [math.nan])).series[0].y == (None,)
    assert Heatmap(values=cosines(3)).drawn_limits == (-1.0, 1.0)
