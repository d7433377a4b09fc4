"""One row below the edit for all conditions: the same numbers, from fewer rows."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch
from tests.tiny import FAMILIES, WIDTH, tiny_model

from tl_ext.interventions.edits import Add
from tl_ext.models.hook_points import hooked
from tl_ext.steering import shared_layers
from tl_ext.steering.decoding import Positions
from tl_ext.steering.divergence import divergence_each
from tl_ext.steering.words import word_log_probabilities_each

POINT = "blocks.1.hook_resid_pre"
PROMPTS = ["w5 w6", "w7", "w8 w9 w10 w11"]
WORDS = [" w20", " w21 w22 w23", " w21 w25", " w21 w22", " w30 w31"]


def conditions(point: str = POINT) -> list[Any]:
    vectors = torch.randn(4, WIDTH, generator=torch.Generator().manual_seed(1))
    return [(), *(Add(point, each) for each in vectors), [Add(POINT, vectors[0])] * 2]


def measured(model: Any, point: str, positions: Positions, batch_size: int) -> list[torch.Tensor]:
    given: dict[str, Any] = {"positions": positions, "batch_size": batch_size}
    return [
        word_log_probabilities_each(model, PROMPTS, WORDS, conditions(point), **given),
        divergence_each(model, PROMPTS, conditions(point), **given),
    ]


@pytest.mark.parametrize(
    ("family", "positions"),
    [(family, "all") for family in FAMILIES] + [("gpt2", one) for one in get_args(Positions)[1:]],
)
def test_sharing_layers_changes_no_number(
    family: str, positions: Positions, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model(family)
    for point in (POINT, "blocks.0.hook_mlp_out"):
        apart = measured(model, point, positions, 64)
        with monkeypatch.context() as patched:
            patched.setattr(shared_layers, "LEAST", 2)
            for found, expected in zip(measured(model, point, positions, 4), apart, strict=True):
                torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4, equal_nan=True)
    assert not model.list_hooks()


@pytest.mark.parametrize("family", ["gpt2", "llama", "qwen2"])
def test_one_row_below_and_all_rows_above(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_layers, "LEAST", 2)
    model = tiny_model(family)
    below: list[int] = []
    above: list[tuple[int, ...]] = []
    points = {
        "blocks.0.hook_resid_pre": lambda x: below.append(len(x)),
        "blocks.1.hook_resid_post": lambda x: above.append(tuple(x.shape[:2])),
    }
    head = 0 if family == "qwen2" else 1
    with hooked(model, points):
        word_log_probabilities_each(model, PROMPTS[:1], WORDS, conditions())
    # What shows whether the model can, then the prompt and what begins a word, each of these once.
    assert below[-4:] == [1, 1, 1, 1]
    assert above[-3:] == [(6, 2 + head), (6, 2), (6, 1)]


def test_a_model_whose_batch_may_not_grow_reads_every_row(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("gpt2")
    apart = measured(model, POINT, "all", 64)
    monkeypatch.setattr(shared_layers, "LEAST", 2)

    def refuse(x: torch.Tensor) -> None:
        if x.shape[0] == 2 and x.shape[1] < 5 and below[-1] == 1:
            raise RuntimeError("shape mismatch")

    below: list[int] = []
    points: dict[str, Any] = {
        "blocks.0.hook_resid_pre": lambda x: below.append(len(x)),
        "blocks.1.hook_resid_post": refuse,
    }
    with hooked(model, points):
        found = measured(model, POINT, "all", 64)
    for one, other in zip(found, apart, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
    assert 18 in below, "all conditions of all prompts together"


def test_few_conditions_share_batches_instead() -> None:
    model = tiny_model("gpt2")
    rows: list[int] = []
    with hooked(model, {"blocks.0.hook_resid_pre": lambda x: rows.append(len(x))}):
        divergence_each(model, PROMPTS, conditions())
    assert rows == [3, 18]
