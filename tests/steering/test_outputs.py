"""Additions at a word: one row up to the hook point, or as many as there are additions."""

from __future__ import annotations

import pytest
import torch
from tests.tiny import FAMILIES, WIDTH, tiny_model
from torch import Tensor

from tl_ext.models.tokens import batch
from tl_ext.steering import outputs
from tl_ext.steering.outputs import WordLists, changes, reads_once

WORDS = WordLists(((30, 31, 32), (33,)), ((34, 35), (30, 36)))
POINTS = [f"blocks.1.hook_{kind}" for kind in ("resid_pre", "resid_post", "attn_out", "mlp_out")]


def given(family: str, *, word: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    """Token ids, the columns of a word, and additions at them."""
    ids = batch(tiny_model(family), ["w5 w6 w7 w8 w9 w10"]).ids[0]
    columns = torch.tensor([word, word + 1])
    vectors = torch.randn(5, 2, WIDTH, generator=torch.Generator().manual_seed(0))
    return ids, columns, 2 * vectors


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("point", POINTS)
def test_one_row_up_to_the_hook_point_gives_the_same(family: str, point: str) -> None:
    model = tiny_model(family)
    ids, columns, vectors = given(family)
    assert reads_once(model, point, ids, columns, vectors, WORDS)
    for size in (2, 40):
        once, each = (
            changes(
                model, point, ids, columns, vectors, vectors[0], WORDS, batch_size=size, once=one
            )
            for one in (True, False)
        )
        torch.testing.assert_close(once, each, atol=1e-4, rtol=1e-4)
        assert each[1:].abs().min() > 1e-4


@pytest.mark.parametrize("family", ["gpt2", "qwen2"])
def test_also_without_keys_and_values_and_from_the_first_token(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model(family)
    for kept in (True, False):
        monkeypatch.setattr(type(model.adapter), "supports_kv_cache", kept, raising=False)
        for word in (0, 2):
            ids, columns, vectors = given(family, word=word)
            assert reads_once(model, POINTS[0], ids, columns, vectors, WORDS)


def test_where_rows_must_not_grow_it_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("gpt2")
    ids, columns, vectors = given("gpt2")
    assert not reads_once(model, "blocks.1.attn.hook_z", ids, columns, vectors, WORDS)
    forward = outputs.forward

    def first_row_only(model: object, ids: Tensor, *more: object, **options: object) -> object:
        logits, cache = forward(model, ids, *more, **options)  # type: ignore[arg-type]
        return (logits[:1].expand_as(logits) if len(ids) == 1 else logits), cache

    monkeypatch.setattr(outputs, "forward", first_row_only)
    assert not reads_once(model, POINTS[0], ids, columns, vectors, WORDS)

    def raises(model: object, ids: Tensor, *more: object, **options: object) -> object:
        logits, cache = forward(model, ids, *more, **options)  # type: ignore[arg-type]
        if len(logits) != len(ids):
            raise RuntimeError("a batch of one is expected")
        return logits, cache

    monkeypatch.setattr(outputs, "forward", raises)
    assert not reads_once(model, POINTS[0], ids, columns, vectors, WORDS)
