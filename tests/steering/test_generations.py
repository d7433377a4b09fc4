"""The record of what was generated."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from tests.interventions.toy import POINT, WIDTH
from tests.tiny import tiny_model

from tl_ext.interventions.edits import Add
from tl_ext.steering.generation import steer


def test_the_record() -> None:
    model = tiny_model()
    result = steer(
        model,
        ["w5 w6", "w7"],
        Add(POINT, torch.ones(WIDTH), name="<b>up</b>"),
        samples=2,
        max_new_tokens=3,
    )
    frame = result.to_frame()
    assert list(frame.index) == [0, 1, 2, 3] and len(result) == 4
    assert list(frame["prompt"]) == ["w5 w6", "w5 w6", "w7", "w7"]
    assert list(frame["text"]) == list(result.texts)
    assert (frame["tokens"] == result.new_mask.sum(-1).numpy()).all()
    assert result.settings["edits"] == [f"add <b>up</b> at {POINT}"]
    assert "4 of 2 prompts" in repr(result)
    page = dataclasses.replace(result, texts=("<script>", "&", "", ""))._repr_html_()
    assert "<script>" not in page and "&lt;script&gt;" in page and "&lt;b&gt;up" in page
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.prompts = ()  # type: ignore[misc]
