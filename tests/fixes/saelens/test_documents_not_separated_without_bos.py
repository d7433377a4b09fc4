"""SAELens packs plain text for tokenizers without BOS: separated, nothing lost, nothing else changed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.tiny import tiny_tokenizer

from tl_ext import fixes
from tl_ext.errors import FixError
from tl_ext.fixes.saelens.documents_not_separated_without_bos import (
    SLUG,
    packed,
    separator_ids,
)
from tl_ext.fixes.saelens.planted import store
from tl_ext.fixes.tiny import PREFIX, tokenizer_without_bos

QWEN2, CHATGLM = (), PREFIX
END, MASK, BEGIN = 2, 4, 5  # ids of tokenizer_without_bos


def documents(n: int = 60) -> list[str]:
    draw = random.Random(0)
    return [" ".join(draw.choices("ab", k=draw.randint(1, 20))) for _ in range(n)]


def rows_of(tokenizer: Any, texts: Sequence[str], *, take: int = 10**6, **options: Any) -> Any:
    """Rows that a store of SAELens makes of these texts in its first epoch."""
    left_of_prefix = options.pop("left_of_prefix", [])

    def to_tokens(text: str, **_: object) -> torch.Tensor:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        return torch.tensor([left_of_prefix + ids])

    column = options.pop("column", "text")
    model = SimpleNamespace(tokenizer=tokenizer, to_tokens=to_tokens)
    dataset = [{column: text} for text in texts]
    made = store(model, dataset, **{"context_size": 16, "prepend_bos": True} | options)
    rows = []
    for row in made._iterate_tokenized_sequences():
        rows.append(row.tolist())
        if len(rows) == take:
            break
    return rows


@pytest.mark.saelens
@pytest.mark.parametrize("prefix", [QWEN2, CHATGLM])
def test_every_token_once_in_order_and_documents_apart(prefix: tuple[str, ...]) -> None:
    tokenizer, texts = tokenizer_without_bos(prefix), documents()
    with fixes.applied(SLUG):
        rows = rows_of(tokenizer, texts)
    flat = [id for row in rows for id in row]
    assert {len(row) for row in rows} == {16}
    words = [id for id in flat if id < END]
    every = [id for text in texts for id in tokenizer(text, add_special_tokens=False)["input_ids"]]
    assert words == every[: len(words)]
    assert len(every) - len(words) < 16, "only the end of the last row is left out"
    separators = {END} if prefix == QWEN2 else {MASK, BEGIN}
    assert set(flat) - {0, 1} == separators, "neither padding nor anything else"
    if prefix == CHATGLM:
        assert all(row[:2] == [MASK, BEGIN] for row in rows)
        assert all(
            follows == BEGIN for row in rows for one, follows in pairwise(row) if one == MASK
        )
    # A separator stands exactly where a document ends inside a row.
    starts = {0}
    for text in texts:
        starts.add(max(starts) + len(text.split()))
    seen = 0
    for row in rows:
        inside = False
        for id in row:
            if id >= END:
                inside = False
            else:
                assert not (inside and seen in starts), f"two documents touch at word {seen}"
                inside, seen = True, seen + 1


@pytest.mark.saelens
def test_a_tokenizer_with_its_own_bos_is_left_to_upstream() -> None:
    texts = [text.replace("a", "w5").replace("b", "w6") for text in documents()]
    for sep in ("bos", "eos", None):
        before = rows_of(tiny_tokenizer(), texts, sequence_separator_token=sep)
        with fixes.applied(SLUG):
            assert rows_of(tiny_tokenizer(), texts, sequence_separator_token=sep) == before


@pytest.mark.saelens
def test_tokenised_data_is_left_to_upstream() -> None:
    rows = [[0, 1, 0, 1] * 4, [1] * 16]
    with fixes.applied(SLUG):
        assert rows_of(tokenizer_without_bos(), rows, column="input_ids") == rows  # type: ignore[arg-type]


@pytest.mark.saelens
def test_what_stands_between_can_be_said() -> None:
    tokenizer = tokenizer_without_bos(CHATGLM)
    texts = ["a b"] * 40
    with fixes.applied(SLUG):
        (by_id,) = rows_of(tokenizer, texts, take=1, sequence_separator_token=3, context_size=8)
        (eos,) = rows_of(tokenizer, texts, take=1, sequence_separator_token="eos", context_size=8)
        (glued,) = rows_of(tokenizer, texts, take=1, sequence_separator_token=None, context_size=8)
        (alone,) = rows_of(tokenizer, texts, take=1, prepend_bos=False, context_size=8)
        with pytest.raises(FixError, match=r"'sep'.*no such token"):
            rows_of(tokenizer, texts, sequence_separator_token="sep")
    assert by_id == [MASK, BEGIN, 0, 1, 3, 0, 1, 3]
    assert eos == [MASK, BEGIN, 0, 1, END, 0, 1, END]
    assert glued == [MASK, BEGIN, 0, 1, 0, 1, 0, 1]
    assert alone == [0, 1, MASK, BEGIN, 0, 1, MASK, BEGIN]


@pytest.mark.saelens
def test_documents_that_are_not_to_be_joined_are_cut_behind_their_prefix() -> None:
    tokenizer = tokenizer_without_bos(CHATGLM)
    texts = ["a b a b a b a b", "a", "b b b b b b"]
    with fixes.applied(SLUG):
        rows = rows_of(tokenizer, texts, disable_concat_sequences=True, context_size=8)
        with pytest.raises(FixError, match="context_size is 2"):
            rows_of(tokenizer, texts, context_size=2)
    assert rows == [[MASK, BEGIN, 0, 1, 0, 1, 0, 1], [MASK, BEGIN, 1, 1, 1, 1, 1, 1]]


@pytest.mark.saelens
@pytest.mark.parametrize("left", [[], [BEGIN], [MASK, BEGIN]])
def test_what_to_tokens_leaves_of_the_prefix_is_not_doubled(left: list[int]) -> None:
    """Upstream's `to_tokens` takes two tokens before a text for one BOS, or for none."""
    tokenizer = tokenizer_without_bos(CHATGLM)
    with fixes.applied(SLUG):
        (row,) = rows_of(tokenizer, ["a b"] * 9, take=1, context_size=8, left_of_prefix=left)
    assert row == [MASK, BEGIN, 0, 1, MASK, BEGIN, 0, 1]


@pytest.mark.saelens
def test_eos_that_booting_wrote_into_the_tokenizer_is_no_bos() -> None:
    from transformer_lens.model_bridge.sources.transformers import setup_tokenizer

    tokenizer = setup_tokenizer(tokenizer_without_bos(CHATGLM))
    assert tokenizer.bos_token_id == END
    with fixes.applied(SLUG):
        (row,) = rows_of(tokenizer, ["a b"] * 9, take=1, context_size=8)
    assert row == [MASK, BEGIN, 0, 1, MASK, BEGIN, 0, 1]


def test_the_separator_is_the_prefix_or_the_end_of_a_text() -> None:
    assert separator_ids(tokenizer_without_bos(CHATGLM)) == [MASK, BEGIN]
    tokenizer = tokenizer_without_bos()
    assert separator_ids(tokenizer) == [END]
    # Qwen2 tuned for chats: EOS ends a turn, and the end of a text is what pads.
    tokenizer.add_special_tokens({"pad_token": "<|endoftext|>"})
    assert separator_ids(tokenizer) == [tokenizer.pad_token_id] != [END]
    tokenizer.eos_token = None
    assert separator_ids(tokenizer) == [tokenizer.pad_token_id]


@given(
    lengths=st.lists(st.integers(0, 30), max_size=30),
    begin=st.integers(0, 3),
    between=st.integers(0, 3),
    room=st.integers(1, 12),
)
def test_packing_loses_nothing_but_the_rest(
    lengths: list[int], begin: int, between: int, room: int
) -> None:
    """Every token once, in order; documents apart; each row full and begun as asked."""
    head, gap, size = [-1] * begin, [-2] * between, begin + room
    numbered = iter(range(sum(lengths)))
    several = [[next(numbered) for _ in range(length)] for length in lengths]
    rows = list(packed(several, begin=head, between=gap, size=size))
    assert all(len(row) == size and row[:begin] == head for row in rows)
    tokens = [id for row in rows for id in row if id >= 0]
    assert tokens == list(range(len(tokens)))
    assert sum(lengths) - len(tokens) < room
    first = {document[0] for document in several if document}
    for row in rows:
        body = row[begin:]
        for place, id in enumerate(body):
            if id in first and place:
                assert body[place - between : place] == gap
