"""What the fixes about left padding share: its mask, who has given one, and what a call is told aside."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")


def mask_given(asked: Mapping[str, Any]) -> bool:
    """Whether a call of `forward` brings a mask, under either of the names upstream reads.

    Args:
        asked: The call's arguments by name.
    """
    names = ("attention_mask", "one_zero_attention_mask")
    return any(asked.get(name) is not None for name in names)


def mask_of_left_padding(bridge: Any, tokens: Tensor, prepend_bos: bool | None) -> Tensor:
    """Upstream's mask over the padding on the left.

    Args:
        bridge: Whose tokenizer says what padding is.
        tokens: The ids, `[row token]` or `[token]`.
        prepend_bos: Whether the last of the leading ones is BOS where both are one token; None for
            the bridge's default.

    Returns:
        1 where a token is to be attended to, else 0: `[row token]`.
    """
    from transformer_lens import utilities

    if prepend_bos is None:
        prepend_bos = getattr(bridge.cfg, "default_prepend_bos", True)
    rows = tokens if tokens.ndim == 2 else tokens[None]
    # Looked up at the call, where upstream does, since another fix wraps it.
    mask: Tensor = utilities.get_attention_mask(  # type: ignore[attr-defined]
        bridge.tokenizer, rows, prepend_bos=bool(prepend_bos), padding_side="left"
    )
    return mask.to(bridge.cfg.device)


@contextmanager
def holding(variable: ContextVar[T], value: T) -> Iterator[None]:
    """Let a variable hold a value for the length of a block.

    Args:
        variable: The variable.
        value: What it holds there.
    """
    before = variable.set(value)
    try:
        yield
    finally:
        variable.reset(before)
