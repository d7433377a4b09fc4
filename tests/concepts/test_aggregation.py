from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tl_ext.concepts import aggregate
from tl_ext.concepts.aggregation import aggregate_each
from tl_ext.errors import InputError


@st.composite
def token_rows(draw: st.DrawFn) -> torch.Tensor:
    """Rows [token d] of small whole numbers, for which sums are exact."""
    tokens, width = draw(st.integers(1, 6)), draw(st.integers(1, 5))
    flat = draw(st.lists(st.integers(-50, 50), min_size=tokens * width, max_size=tokens * width))
    return torch.tensor(flat, dtype=torch.float32).reshape(tokens, width)


@given(token_rows())
def test_identities(rows: torch.Tensor) -> None:
    count = len(rows)
    total = aggregate(rows, "sum")
    torch.testing.assert_close(aggregate(rows, "mean") * count, total)
    torch.testing.assert_close(aggregate(rows, [1.0] * count), total)
    torch.testing.assert_close(aggregate(rows, [1 / count] * count), aggregate(rows, "mean"))
    torch.testing.assert_close(aggregate(rows, lambda each: each.sum(0)), total)
    assert (aggregate(rows, "max") >= aggregate(rows, "mean") - 1e-4).all()
    assert total.equal(aggregate(rows))


@given(token_rows(), st.randoms(use_true_random=False))
def test_the_order_of_tokens_matters_to_weights_alone(rows: torch.Tensor, random: Any) -> None:
    order = list(range(len(rows)))
    random.shuffle(order)
    for name in ("sum", "mean", "max"):
        torch.testing.assert_close(aggregate(rows[order], name), aggregate(rows, name))
    weights = torch.arange(1.0, len(rows) + 1)
    torch.testing.assert_close(aggregate(rows[order], weights[order]), aggregate(rows, weights))


@given(token_rows())
def test_of_one_token_all_are_equal(rows: torch.Tensor) -> None:
    for over_tokens in ("sum", "mean", "max", [1.0], lambda each: each[0]):
        assert aggregate(rows[:1], over_tokens).equal(rows[0])


def test_dtype_and_gradient_are_kept() -> None:
    rows = torch.ones(3, 2, dtype=torch.float64, requires_grad=True)
    row = aggregate(rows, [1, 2, 3])
    assert row.dtype == torch.float64
    row.sum().backward()
    assert rows.grad is not None
    assert rows.grad[:, 0].tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("over_tokens", "message"),
    [
        ("mena", "Nearest: mean"),
        ([1.0], r"gives \[1\] weights, but the word has 2 tokens"),
        (2.0, r"gives \[\] weights"),
        (lambda rows: rows, r"returned \[2, 3\]"),
        (lambda rows: 1.0, r"returned 1\.0"),
    ],
)
def test_what_cannot_aggregate(over_tokens: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        aggregate(torch.ones(2, 3), over_tokens)


def test_no_tokens_make_no_row() -> None:
    with pytest.raises(InputError, match=r"these are \[0, 3\]"):
        aggregate(torch.ones(0, 3))


@given(
    lengths=st.lists(st.integers(1, 4), min_size=1, max_size=5),
    over_tokens=st.sampled_from(["sum", "mean", "max", lambda rows: rows[0] - rows[-1]]),
    seed=st.integers(0, 1000),
)
def test_many_words_at_once_are_one_after_another(lengths, over_tokens, seed) -> None:
    rows = torch.randn(sum(lengths), 3, generator=torch.Generator().manual_seed(seed))
    expected = [aggregate(word, over_tokens) for word in rows.split(lengths)]
    torch.testing.assert_close(
        aggregate_each(rows, lengths, over_tokens), torch.stack(expected), atol=1e-6, rtol=1e-6
    )


def test_lengths_that_are_not_the_rows_are_refused() -> None:
    for lengths in ([2, 2], [], [0, 3]):
        with pytest.raises(InputError, match="do not make up 3 rows"):
            aggregate_each(torch.zeros(3, 2), lengths)
    with pytest.raises(InputError, match="summ"):
        aggregate_each(torch.zeros(3, 2), [1, 2], "summ")
