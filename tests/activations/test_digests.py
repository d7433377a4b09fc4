"""Marks of weights: the same for the same values, another for any others."""

from __future__ import annotations

import pytest
import torch

from tl_ext.activations.digests import digest

WEIGHTS = torch.arange(12.0).reshape(3, 4)


@pytest.mark.parametrize(
    "other",
    [
        WEIGHTS.flip(0),  # latents in another order
        WEIGHTS[:, [1, 0, 2, 3]],
        WEIGHTS.reshape(4, 3),
        WEIGHTS.bfloat16(),
        WEIGHTS + torch.eye(3, 4),
        torch.zeros(3, 4),
    ],
)
def test_other_weights_have_another_mark(other: torch.Tensor) -> None:
    assert digest([("W", WEIGHTS)]) != digest([("W", other)])


def test_the_same_values_have_the_same_mark_however_they_lie() -> None:
    turned = WEIGHTS.T.contiguous().T
    assert not turned.is_contiguous()
    assert digest([("W", turned), ("d", 3)]) == digest([("W", WEIGHTS.clone()), ("d", 3)])
    for value in (torch.tensor(1.5), torch.zeros(0, 4), torch.tensor([True])):
        assert digest([("b", value)]) == digest([("b", value.clone())])
