"""The oracle against what the original code wrote."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.models.chatglm.golden import read_golden
from tests.models.chatglm.reference import Reference
from torch import Tensor

FOLDERS = ("A_chatglm3", "B_kv_channels_mqa1")


@pytest.fixture(params=FOLDERS)
def golden(request: pytest.FixtureRequest, shared: Path) -> Path:
    folder = shared / "fixtures" / "chatglm" / request.param
    if not folder.is_dir():
        pytest.skip(f"needs the golden files: no folder {folder}")
    return folder


def assert_same(ours: Tensor, theirs: Tensor, name: str) -> None:
    assert torch.isfinite(theirs).equal(torch.isfinite(ours)), name
    finite = torch.isfinite(theirs)
    torch.testing.assert_close(
        ours[finite], theirs[finite].double(), rtol=0, atol=3e-5, msg=lambda m: f"{name}: {m}"
    )


def test_every_tensor_of_an_unpadded_batch(golden: Path) -> None:
    theirs = read_golden(golden, "main")
    input_ids = theirs.pop("input_ids")
    ours = Reference.read(golden).forward(input_ids)
    assert set(ours) == set(theirs)
    for name, tensor in theirs.items():
        assert_same(ours[name], tensor, name)


def test_positions_with_gaps(golden: Path) -> None:
    theirs = read_golden(golden, "gapped")
    ours = Reference.read(golden).forward(
        theirs.pop("input_ids"), position_ids=theirs.pop("position_ids")
    )
    for name, tensor in theirs.items():
        assert_same(ours[name], tensor, name)


def test_a_left_padded_batch_padding_rows_included(golden: Path) -> None:
    theirs = read_golden(golden, "padded")
    ours = Reference.read(golden).forward(
        theirs.pop("input_ids"), theirs.pop("attention_mask"), theirs.pop("position_ids")
    )
    for name, tensor in theirs.items():
        assert_same(ours[name], tensor, name)


@pytest.mark.parametrize("run", ["greedy", "padded_greedy"])
def test_greedy_continuations(golden: Path, run: str) -> None:
    theirs = read_golden(golden, run)
    ids, logits = Reference.read(golden).greedy(
        theirs["prompt_ids"],
        theirs["new_ids"].shape[1],
        theirs.get("attention_mask"),
        theirs.get("position_ids"),
    )
    assert ids.equal(theirs["new_ids"])
    assert_same(logits, theirs["step_logits"], "step_logits")
