"""The one builder of token batches.

Beginning-of-sequence tokens, longer prefixes, the padding side, masks and positions are settled here
and nowhere else. The mask comes from the lengths, never from comparing ids with the padding id: where
padding, BOS and EOS are one token, as for GPT-2, that comparison hides real tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from tl_ext.errors import InputError
from tl_ext.upstream import prefix_ids

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import PreTrainedTokenizerBase

T = TypeVar("T")


@dataclass(frozen=True, eq=False, repr=False)
class Batch:
    """Texts as the model reads them.

    Attributes:
        ids: Token ids, prefix included.
        mask: True where there is a token, prefix included; false on padding.
        positions: The position of each token in its own text, counted from 0 at the first token of
            the prefix; 0 on left padding.
        offset: For each text the column of its first token after padding and prefix. `cells` adds it to
            the spans of `word_spans`.
    """

    ids: Int[Tensor, "text token"]
    mask: Bool[Tensor, "text token"]
    positions: Int[Tensor, "text token"]
    offset: Int[Tensor, " text"]

    @property
    def content(self) -> Bool[Tensor, "text token"]:
        """True on the tokens of the texts themselves, less the first position of the sequence.

        BOS, prefix and the first position carry massive activations that swamp any statistic. Source:
        Sun et al. 2024, Massive Activations in Large Language Models (arXiv 2402.17762).
        """
        columns = torch.arange(self.ids.shape[1], device=self.ids.device)
        return self.mask & (columns >= self.offset[:, None]) & (self.positions > 0)

    @property
    def lengths(self) -> Int[Tensor, " text"]:
        """How many tokens each text has after its prefix."""
        columns = torch.arange(self.ids.shape[1], device=self.ids.device)
        return (self.mask & (columns >= self.offset[:, None])).sum(-1)

    def cells(self, spans: Sequence[Sequence[tuple[int, int]]]) -> Bool[Tensor, "text token"]:
        """True on the tokens that spans hold.

        Args:
            spans: For each row its half-open ranges, counted from the text's first token after
                padding and prefix, as `word_spans` gives them. What was cut off a text is left out.

        Raises:
            InputError: There are not as many lists of spans as rows.
        """
        if len(spans) != len(self.ids):
            raise InputError(
                f"{len(spans)} lists of spans for a batch of {len(self.ids)} texts: one list for each "
                "text is expected."
            )
        held = torch.zeros_like(self.mask)
        for row, (offset, ranges) in enumerate(zip(self.offset.tolist(), spans, strict=True)):
            for start, end in ranges:
                held[row, offset + start : offset + end] = True
        return held & self.mask

    def __repr__(self) -> str:
        padding = int((~self.mask).sum())
        return (
            f"<Batch: {len(self.ids)} texts, {int(self.lengths.sum())} tokens besides prefixes"
            f"\n  ids {list(self.ids.shape)}, {padding} of its cells padding, on {self.ids.device}>"
        )

    def forward_arguments(self) -> dict[str, Tensor]:
        """What a forward pass needs besides the ids; upstream derives the positions from the mask."""
        return {"attention_mask": self.mask.long()}


def batch(
    model: TransformerBridge,
    texts: Sequence[str],
    *,
    prefix: Sequence[int] | None = None,
    padding_side: Literal["right", "left"] = "right",
    max_tokens: int | None = None,
) -> Batch:
    """Tokenise texts for a model.

    Args:
        model: A hooked model with a tokenizer.
        texts: At least one text; an empty text is only its prefix.
        prefix: Ids to put before every text. None: the model's own, see
            [`prefix_ids`][tl_ext.upstream.prefix_ids]; `()`: nothing.
        padding_side: Where short texts are filled up: right for reading, left for generating.
        max_tokens: Cut texts to this many tokens, prefix included. None: a text longer than the
            model's context is an error.

    Returns:
        The batch, on the model's device.

    Raises:
        InputError: No texts, a bare string, or a text that does not fit the context.
    """
    texts = listed(texts)
    tokenizer = model.tokenizer
    head = list(prefix_ids(tokenizer) if prefix is None else prefix)
    rows = [head + list(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]
    return from_ids(
        model, rows, prefix_length=len(head), padding_side=padding_side, max_tokens=max_tokens
    )


def listed(texts: Iterable[T]) -> list[T]:
    """Texts, or what holds them, as a list; a string is itself a sequence, of characters.

    Raises:
        InputError: One string instead of a list, or nothing.
    """
    if isinstance(texts, str):
        raise InputError(f"A list of texts is expected, not one string: pass [{texts!r}].")
    several = list(texts)
    if not several:
        raise InputError("There are no texts to read: an empty list was given.")
    return several


def from_ids(
    model: TransformerBridge,
    rows: Sequence[Sequence[int]],
    *,
    prefix_length: int,
    padding_side: Literal["right", "left"] = "right",
    max_tokens: int | None = None,
) -> Batch:
    """Pad rows of token ids that already hold their prefix.

    Args:
        model: The model they are for.
        rows: Token ids, prefix included.
        prefix_length: How many ids of each row are prefix.
        padding_side: As for [`batch`][tl_ext.models.tokens.batch].
        max_tokens: As for [`batch`][tl_ext.models.tokens.batch].

    Raises:
        InputError: A row that is empty or does not fit the context.
    """
    context = int(model.cfg.n_ctx)
    if max_tokens is not None and max_tokens < 1:
        raise InputError(f"max_tokens is {max_tokens}; at least 1 token must be left of a text.")
    if max_tokens is not None:
        rows = [row[:max_tokens] for row in rows]
    for number, row in enumerate(rows):
        if not row:
            raise InputError(
                f"Text {number} has no tokens and this model puts none before a text. "
                "Leave empty texts out."
            )
        if len(row) > context:
            beginning = model.tokenizer.decode(list(row[prefix_length : prefix_length + 12]))
            raise InputError(
                f"Text {number} ({beginning!r}...) has {len(row)} tokens and the model's context "
                f"holds {context}. Shorten it, or pass max_tokens={context} to cut it."
            )
    device = torch.device(model.cfg.device or "cpu")
    width = max(len(row) for row in rows)
    lengths = torch.tensor([len(row) for row in rows])
    columns = torch.arange(width)
    start = (width - lengths) if padding_side == "left" else torch.zeros_like(lengths)
    positions = (columns - start[:, None]).clamp(min=0)
    mask = (columns >= start[:, None]) & (columns < (start + lengths)[:, None])
    ids = torch.full((len(rows), width), _padding_id(model.tokenizer))
    ids[mask] = torch.tensor([token for row in rows for token in row])
    return Batch(
        ids=ids.to(device),
        mask=mask.to(device),
        positions=positions.to(device),
        offset=(start + prefix_length).to(device),
    )


def token_strings(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> list[str]:
    """Each token as text, with its own space; the pieces of one character appear where it ends.

    Decoding token by token would show a split character as two replacement marks.
    """
    strings, before = [], ""
    for end in range(1, len(ids) + 1):
        whole = str(tokenizer.decode(ids[:end], clean_up_tokenization_spaces=False))
        whole = whole.rstrip("\ufffd")
        strings.append(whole[len(before) :] if whole.startswith(before) else "")
        before = whole if len(whole) > len(before) else before
    return strings


def _padding_id(tokenizer: Any) -> int:
    # Any id will do where the mask is right; the tokenizer's own keeps printed batches readable.
    return 0 if tokenizer.pad_token_id is None else int(tokenizer.pad_token_id)
