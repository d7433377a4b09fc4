"""The store: whole files or none, and only under the key they were made for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from tl_ext.activations import store
from tl_ext.errors import OutputError

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b/c": torch.tensor(3)}


def test_what_was_stored_comes_back_under_its_key_only(tmp_path: Path) -> None:
    path = tmp_path / "made" / "x.safetensors"
    store.save(path, TENSORS, {"seed": 0})
    back = store.load(path, {"seed": 0})
    assert back is not None
    assert all(torch.equal(back[name], tensor) for name, tensor in TENSORS.items())
    assert store.load(path, {"seed": 1}) is None


@pytest.mark.parametrize("kept", [0, 7, 40])
def test_a_damaged_file_is_computed_again(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "x.safetensors"
    store.save(path, TENSORS, {})
    path.write_bytes(path.read_bytes()[:kept])
    assert store.load(path, {}) is None
    again = store.remembered(path, {}, lambda: TENSORS)
    assert torch.equal(again["a"], TENSORS["a"])
    assert store.load(path, {}) is not None


def test_remembered_computes_once(tmp_path: Path) -> None:
    calls = []

    def compute() -> dict[str, torch.Tensor]:
        calls.append(1)
        return TENSORS

    for _ in range(2):
        store.remembered(tmp_path / "x.safetensors", {"k": [1, None]}, compute)
    assert calls == [1]


def test_an_error_midway_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), store.replacing(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["table.csv"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(OutputError, match="cannot be written"),
        store.replacing(tmp_path / "file/x"),
    ):
        pass


def test_text_is_stored_beside_numbers() -> None:
    assert store.tensor_text(store.text_tensor("快乐 \0 é")) == "快乐 \0 é"


def test_a_table_comes_back_whatever_its_texts_hold(tmp_path: Path) -> None:
    import pandas as pd

    table = pd.DataFrame({"text": ["a\rb", 'c"d,', "e\nf", "\x0b", ""], "n": [1.5, 2, 3, 4, 5]})
    store.save_table(tmp_path / "t.csv", table)
    back = pd.read_csv(tmp_path / "t.csv", keep_default_na=False)
    pd.testing.assert_frame_equal(back, table)
