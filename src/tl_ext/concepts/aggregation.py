"""From one row a token to one row a text.

A word of several tokens has several rows. Inside one occurrence `over_tokens` makes them one (the
exploration adds them: heureux is " he" + "ure" + "ux"). The caller averages the occurrences of a text,
and then the texts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
