"""From one row a token to one row a text.

A word of several tokens has several rows. Inside one occurrence `over_tokens` makes them one (the
exploration adds them: heureux is " he" + "ure" + "ux"); the occurrences of a text are averaged,
and so, by the caller, are the texts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias

from tl_ext.errors import InputError, nearest

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

OverTokens: TypeAlias = (
    "Literal['sum', 'mean', 'max'] | Sequence[float] | Callable[[Tensor], Tensor]"
)


def aggregate(
    rows: Float[Tensor, "token d"], over_tokens: OverTokens = "sum"
) -> Float[Tensor, " d"]:
    """Make the rows of a word's tokens one.

    Args:
        rows: One row for each token of the word.
        over_tokens: "sum", "mean" or "max" (coordinate by coordinate); or a weight for each token,
            in order, for a weighted sum; or a function from `[token d]` to `[d]`.

    Returns:
        One row.

    Raises:
        InputError: There are no tokens, or weights for another number of them, or an unknown name,
            or the function returns another shape.
    """
    import torch

    if rows.ndim != 2 or not len(rows):
        raise InputError(
            f"The rows of a word are [token d] with one token or more; these are "
            f"{list(rows.shape)}."
        )
    if isinstance(over_tokens, str):
        if over_tokens == "sum":
            return rows.sum(dim=0)
        if over_tokens == "mean":
            return rows.mean(dim=0)
        if over_tokens == "max":
            return rows.amax(dim=0)
        raise InputError(
            f"over_tokens={over_tokens!r} is unknown.{nearest(over_tokens, ('sum', 'mean', 'max'))}"
            ' Give "sum", "mean", "max", a weight for each token, or a function [token d] -> [d].'
        )
    if callable(over_tokens):
        row = over_tokens(rows)
        shape = getattr(row, "shape", None)
        if shape != rows.shape[1:]:
            given = repr(row) if shape is None else list(shape)
            raise InputError(
                f"over_tokens was given rows {list(rows.shape)} and returned {given}. It must "
                f"return one row, {list(rows.shape[1:])}."
            )
        return row
    weights = torch.as_tensor(over_tokens, dtype=rows.dtype, device=rows.device)
    if weights.shape != rows.shape[:1]:
        raise InputError(
            f"over_tokens gives {list(weights.shape)} weights, but the word has {len(rows)} "
            "tokens. Give one weight for each; where words differ in length, give a function."
        )
    return weights @ rows


def aggregate_each(
    rows: Float[Tensor, "row d"], lengths: Sequence[int], over_tokens: OverTokens = "sum"
) -> Float[Tensor, "word d"]:
    """[`aggregate`][tl_ext.concepts.aggregation.aggregate] for words whose rows follow one another.

    Args:
        rows: The tokens of the first word, then those of the second, and so on.
        lengths: How many tokens each word has; at least one.
        over_tokens: What is done inside a word.

    Returns:
        One row a word.

    Raises:
        InputError: As for `aggregate`, or the lengths are not those of the rows.
    """
    import torch

    if not lengths or min(lengths) < 1 or sum(lengths) != len(rows):
        raise InputError(
            f"Words of {list(lengths)} tokens do not make up {len(rows)} rows; one token or more each "
            "is expected."
        )
    if over_tokens in ("sum", "mean", "max"):
        return torch.segment_reduce(
            rows, str(over_tokens), lengths=torch.tensor(lengths, device=rows.device)
        )
    return torch.stack([aggregate(word, over_tokens) for word in rows.split(list(lengths))])


def word_rows(
    rows: Float[Tensor, "text token d"] | Sequence[Float[Tensor, "token d"]],
    spans: Sequence[Sequence[tuple[int, int]]],
    over_tokens: OverTokens = "sum",
) -> Float[Tensor, "text d"]:
    """One row for each text: its word's tokens made one, its occurrences averaged.

    Args:
        rows: For each text one row for each token: a padded batch, or tensors of their own lengths.
        spans: For each text the half-open ranges of its rows that hold the word, one for each
            occurrence. For a padded batch its `offset` is already added.
        over_tokens: What is done inside one occurrence; see
            [`aggregate`][tl_ext.concepts.aggregation.aggregate].

    Returns:
        One row for each text.

    Raises:
        InputError: There are no texts, not as many spans as texts, a text without an occurrence, or
            a span that does not lie within its text's rows.
    """
    import torch

    if not len(rows) or len(rows) != len(spans):
        raise InputError(
            f"{len(rows)} texts of rows and {len(spans)} of spans. Give one or more, and as many "
            "of each."
        )
    return torch.stack(
        [
            torch.stack(list(_occurrence_rows(i, rows[i], spans[i], over_tokens))).mean(dim=0)
            for i in range(len(rows))
        ]
    )


def _occurrence_rows(
    text: int,
    rows: Float[Tensor, "token d"],
    spans: Sequence[tuple[int, int]],
    over_tokens: OverTokens,
) -> Iterable[Float[Tensor, " d"]]:
    if not spans:
        raise InputError(f"Text {text} has no occurrence of its word. Leave the text out.")
    for start, end in spans:
        # A slice would silently be cut short.
        if not 0 <= start < end <= len(rows):
            raise InputError(
                f"The span {start}:{end} of text {text} does not lie within its {len(rows)} rows. "
                "Spans count the tokens of the text itself: add the batch's offset, once."
            )
        yield aggregate(rows[start:end], over_tokens)
