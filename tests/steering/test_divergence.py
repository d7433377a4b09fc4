"""Side effects: the divergence of two models on neutral text."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.interventions.toy import POINT, WIDTH, toy_dictionary
from tests.tiny import tiny_model

from tl_ext.errors import InputError
from tl_ext.interventions.applied import applied
from tl_ext.interventions.edits import Add, Clamp
from tl_ext.models.hook_points import hooked
from tl_ext.models.tokens import batch
from tl_ext.steering import decoding
from tl_ext.steering.divergence import divergence_each

TEXTS = ["w5 w6 w7 w8 w9 w10", "w12 w13", "w20 w21 w22 w23"]


def conditions() -> list[Any]:
    vectors = torch.randn(3, WIDTH, generator=torch.Generator().manual_seed(3))
    return [Add(POINT, vectors[0]), (), Clamp(toy_dictionary(), 2, 3.0), Add(POINT, vectors[1])]


@cache
def expected() -> torch.Tensor:
    return divergence_each(tiny_model(), TEXTS, conditions())


@pytest.mark.parametrize("family", ["gpt2", "qwen2"])
def test_it_is_the_mean_divergence_over_content(family: str) -> None:
    model = tiny_model(family)
    found = divergence_each(model, TEXTS, conditions())
    for condition, values in zip(conditions(), found, strict=True):
        for text, value in zip(TEXTS, values.tolist(), strict=True):
            tokens = batch(model, [text])
            with torch.no_grad():
                plain = model(tokens.ids).log_softmax(-1)
                with applied(model, condition, tokens.content):
                    steered = model(tokens.ids).log_softmax(-1)
            by_token = (plain.exp() * (plain - steered)).sum(-1)
            assert value == pytest.approx(float(by_token[tokens.content].mean()), abs=1e-5)
    assert (found[1] < 1e-6).all() and (found[[0, 2, 3]] > 1e-4).all()


@settings(max_examples=12)
@given(st.integers(1, 15), st.sampled_from([1, 400, 2000, 2**22]))
def test_neither_the_batch_nor_what_is_held_at_once_matters(batch_size: int, held: int) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(decoding, "_HELD", held)
        found = divergence_each(tiny_model(), TEXTS, conditions(), batch_size=batch_size)
    torch.testing.assert_close(found, expected(), atol=1e-5, rtol=1e-4)


def test_the_unedited_model_reads_each_text_once() -> None:
    model = tiny_model()
    rows: list[int] = []
    with hooked(model, {POINT: lambda x: rows.append(len(x))}):
        divergence_each(model, TEXTS, [Add(POINT, torch.ones(WIDTH))] * 4, batch_size=6)
    assert rows == [3, 6, 6]


def test_a_text_without_a_token_of_its_own_has_none() -> None:
    model = tiny_model("qwen2")  # no prefix: the only token is the first position
    found = divergence_each(model, ["w5", "w5 w6"], [Add(POINT, torch.ones(WIDTH))])
    assert found.isnan().tolist() == [[True, False]]
    with pytest.raises(InputError, match="no texts"):
        divergence_each(model, [], [()])
