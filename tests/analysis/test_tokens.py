"""Token probabilities: those of the tokens themselves, one position later."""

from __future__ import annotations

import math

import pytest
import torch

from tl_ext.analysis.tokens import probability_table
from tl_ext.errors import InputError


def test_each_token_has_the_probability_it_was_given_before_it() -> None:
    logits = torch.log(torch.tensor([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3], [1.0, 1.0, 1.0]]))
    table = probability_table(logits, torch.tensor([0, 2, 0]), ["<", "b", "c"], skip=1)
    assert table["string"].tolist() == ["b", "c"]
    assert table["token"].tolist() == [0, 1]
    assert table["probability"].tolist() == pytest.approx([0.3, 0.6])
    assert table["rank"].tolist() == [2, 1]


def test_the_first_token_of_all_has_none() -> None:
    table = probability_table(torch.zeros(2, 3), torch.tensor([0, 1]), ["a", "b"])
    assert math.isnan(table["probability"][0])
    assert table["rank"].tolist() == [0, 1]


def test_what_does_not_fit_together_is_named() -> None:
    with pytest.raises(InputError, match="2 rows of logits, 3 ids and 1 strings"):
        probability_table(torch.zeros(2, 3), torch.zeros(3, dtype=torch.long), ["a"])
