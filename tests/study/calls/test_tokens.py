"""Token probabilities as a notebook call."""

from __future__ import annotations

from tests.tiny import tiny_model

from tl_ext.study.calls.tokens import token_probabilities


def test_token_probabilities_are_the_models() -> None:
    found = token_probabilities(tiny_model("gpt2"), "w5 w6 w7")
    assert found.table["string"].str.strip().tolist() == ["w5", "w6", "w7"]
    assert found.table["probability"].between(0, 1).all()
    assert found.figure().tokens == tuple(found.table["string"])
