"""The output folder: what is written is whole, listed, and cleared when it is old."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from tl_ext.errors import OutputError
from tl_ext.report.marks import Histogram, TableMark
from tl_ext.study.output import Output, table_json


def test_old_files_of_ours_go_and_the_rest_stays(tmp_path: Path) -> None:
    first = Output.open(tmp_path)
    first.table("a", pd.DataFrame({"x": [1]}))
    first.table("b", pd.DataFrame({"x": [1]}))
    first.close()
    (tmp_path / "tables" / "mine.csv").write_text("x\n")
    second = Output.open(tmp_path)
    second.table("b", pd.DataFrame({"x": [2]}))
    second.close()
    assert {path.name for path in (tmp_path / "tables").iterdir()} == {"b.csv", "mine.csv"}


def test_a_list_that_was_tampered_with_reaches_nothing_outside(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    Output.open(folder).close()
    precious = tmp_path / "precious.csv"
    precious.write_text("x\n")
    listed = ["tables/../../precious.csv", str(precious), "../precious.csv"]
    (folder / "state" / "written.json").write_text(json.dumps(listed))
    Output.open(folder).close()
    assert precious.exists()


def test_pictures_are_of_marks_that_have_one(tmp_path: Path) -> None:
    output = Output.open(tmp_path)
    assert output.picture("t", TableMark(data=[{"x": 1}])) is None
    assert output.picture("h", Histogram(values=[1.0, 2.0])) == "figures/h.png"
    assert (tmp_path / "figures" / "h.png").read_bytes().startswith(b"\x89PNG")


def test_json_has_no_nan(tmp_path: Path) -> None:
    table = pd.DataFrame({"n": pd.array([1, None], dtype="Int64"), "x": [float("nan"), 0.1]})
    Output.open(tmp_path).json("s.json", {"t": table_json(table)})
    assert json.loads((tmp_path / "s.json").read_text()) == {
        "t": {"columns": ["n", "x"], "rows": [[1, None], [None, 0.1]]}
    }


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be made"):
        Output.open(tmp_path / "file" / "below")
