"""SAELens: documents are glued without a word where the tokenizer has no BOS.

The activations store begins each row of tokens with BOS and puts BOS between documents. Where there is
none, both become nothing: Qwen2's documents run into each other, and ChatGLM's rows begin without the
two tokens that stand before every text it has seen. In a bridge booted without BOS it is EOS, which
booting wrote there.

The fix packs the documents of such tokenizers itself, under the settings that SAELens has for it:

| setting | row begins with | between two documents |
|---|---|---|
| `prepend_bos=True` | the tokenizer's own prefix; Qwen2 has none | |
| `sequence_separator_token="bos"` | | the prefix; without one the end of a text, `<|endoftext|>` or EOS |
| `"eos"`, `"sep"`, an id, `None` | | that token, or nothing, as asked |

A store of a tokenizer with a BOS of its own goes to upstream untouched, and so does a tokenised data
set. Source: `sae_lens/training/activations_store.py`, `_iterate_tokenized_sequences`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import wraps
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

from tl_ext.errors import FixError
from tl_ext.fixes.probing import Finding, State
from tl_ext.fixes.saelens.planted import store
from tl_ext.fixes.tiny import PREFIX, tokenizer_without_bos
from tl_ext.upstream import prefix_ids

SLUG = "documents-not-separated-without-bos"
TEXT_END = "<|endoftext|>"
"""What Qwen2 saw between documents; its EOS ends a turn of a chat where it is tuned for that."""


def wrap(sequences: Callable[[Any], Iterator[Any]]) -> Callable[[Any], Iterator[Any]]:
    """The replacement for `ActivationsStore._iterate_tokenized_sequences`.

    Args:
        sequences: What is there now: rows of `context_size` token ids of a store.

    Returns:
        The same for stores it is right for, and `packed` documents for the others. Decided anew in
        each epoch, so the fix must stay in effect for as long as the store is used.
    """

    @wraps(sequences)
    def separated(store: Any) -> Iterator[Any]:
        tokenizer = getattr(store.model, "tokenizer", None)
        if store.is_dataset_tokenized or tokenizer is None or _begins_with_bos(tokenizer):
            return sequences(store)
        return _rows(store, tokenizer)

    return separated


def packed(
    documents: Iterable[Sequence[int]], *, begin: Sequence[int], between: Sequence[int], size: int
) -> Iterator[list[int]]:
    """Put documents after each other into rows of one length.

    Args:
        documents: Token ids of each, without anything before them.
        begin: What each row begins with, also where a document goes on in it.
        between: What stands before a document that begins inside a row, unless it begins with that
            itself. Cut where the row ends; the next row then begins with the document.
        size: The length of a row.

    Yields:
        Full rows. Each token of each document stands in one of them, but for what is left when the
        documents end.
    """
    row: list[int] = []
    for document in documents:
        if row and document and list(document[: len(between)]) != list(between):
            row += between
        done = 0
        while done < len(document):
            row = row or list(begin)
            room = max(size - len(row), 0)
            row += document[done : done + room]
            done += room
            if len(row) >= size:
                yield row[:size]
                row = []


def separator_ids(tokenizer: Any) -> list[int]:
    """What stands between two documents for a tokenizer without BOS.

    Args:
        tokenizer: Any Hugging Face tokenizer.

    Returns:
        Its prefix where it has one, else the one token that ends a text; nothing where it has
        neither.
    """
    prefix = prefix_ids(tokenizer)
    if prefix:
        return prefix
    known = tokenizer.convert_tokens_to_ids(TEXT_END)
    end = tokenizer.eos_token_id if known in (None, tokenizer.unk_token_id) else known
    return [] if end is None else [end]


def _rows(store: Any, tokenizer: Any) -> Iterator[Any]:
    """Rows of token ids, as tensors on the store's device."""
    import torch

    prefix = prefix_ids(tokenizer)
    begin = prefix if store.prepend_bos else []
    if len(begin) >= store.context_size:
        raise FixError(
            f"context_size is {store.context_size}, and this tokenizer puts {len(begin)} tokens before "
            "a text. Give a larger context_size."
        )
    documents = _bare(store._iterate_raw_dataset_tokens(), prefix)
    if store.disable_concat_sequences:
        cut = (begin + document[: store.context_size - len(begin)] for document in documents)
        rows: Iterator[list[int]] = (row for row in cut if len(row) == store.context_size)
    else:
        between = _between(store.sequence_separator_token, tokenizer)
        rows = packed(documents, begin=begin, between=between, size=store.context_size)
    for row in rows:
        yield torch.tensor(row, dtype=torch.long, device=store.device)


def _between(wanted: object, tokenizer: Any) -> list[int]:
    """The ids that a store's `sequence_separator_token` means."""
    from sae_lens.pretokenize_runner import get_special_token_from_cfg

    if wanted is None:
        return []
    if wanted == "bos":
        ids = separator_ids(tokenizer)
    else:
        one = get_special_token_from_cfg(wanted, tokenizer)
        ids = [] if one is None else [one]
    if not ids:
        raise FixError(
            f"sequence_separator_token is {wanted!r}, and this tokenizer has no such token: documents "
            "would run into each other. Give the id of a token that separates them, or None."
        )
    return ids


def _bare(documents: Iterable[Any], prefix: Sequence[int]) -> Iterator[list[int]]:
    """Documents as lists, without what their tokenisation left of the prefix before them."""
    for tokens in documents:
        ids: list[int] = tokens.tolist()
        start = 0
        while start < len(ids) and ids[start] in prefix:
            start += 1
        yield ids[start:]


def _begins_with_bos(tokenizer: Any) -> bool:
    """Whether BOS, and nothing else, stands before a text: what upstream's packing is right for."""
    return tokenizer.bos_token_id is not None and prefix_ids(tokenizer) == [tokenizer.bos_token_id]


def probe() -> Finding:
    """Let a store pack two documents, for a tokenizer without BOS and for one with a longer prefix.

    Returns:
        PRESENT where they touch, ABSENT where something stands between them.
    """
    glued = []
    for prefix in ((), PREFIX):
        tokenizer = tokenizer_without_bos(prefix)
        row = _store_row(tokenizer)
        text = tokenizer.convert_tokens_to_ids(["a", "b"])
        expected = prefix_ids(tokenizer)
        if row[: len(expected)] != expected or any(
            pair == (text[1], text[0]) for pair in pairwise(row)
        ):
            glued.append(f"{tokenizer.convert_ids_to_tokens(row)}")
    if glued:
        return Finding(State.PRESENT, f"two documents 'a b' became {' and '.join(glued)}")
    return Finding(State.ABSENT, "documents are separated, and rows begin with the prefix")


def _store_row(tokenizer: Any) -> list[int]:
    """The first row that a store makes of three short documents under SAELens' defaults."""
    import torch

    def to_tokens(text: str, **_: object) -> Any:
        return torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"]])

    model = SimpleNamespace(tokenizer=tokenizer, to_tokens=to_tokens)
    made = store(model, [{"text": "a b"}] * 8, context_size=8, prepend_bos=True)
    row: list[int] = made.get_batch_tokens(1, move_to_model_device=False)[0].tolist()
    return row
