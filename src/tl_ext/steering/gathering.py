"""Batches of continuations gathered into records."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tl_ext.steering.decoding import Written, filler
from tl_ext.steering.generations import Generations

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


class Table:
    """Batches of different widths as one table of tokens, in the order of the rows; on the CPU.

    Attributes:
        ids: Prompts, padded on the left, and continuations.
        mask: True where there is a token.
        steered: Log-probability of each new token under the edited model.
        width: How many columns belong to prompts.
    """

    def __init__(self, model: TransformerBridge, rows: int, new: int) -> None:
        self.model, self.new, self.width = model, new, 0
        self.ids = torch.full((rows, new), filler(model))
        self.mask = torch.zeros((rows, new), dtype=torch.bool)
        self.steered = torch.full((rows, new), math.nan)

    def __len__(self) -> int:
        return len(self.ids)

    def fill(self, rows: Int[Tensor, " row"], written: Written) -> None:
        """Put a batch in its rows; the table widens for longer prompts."""
        more = written.ids.shape[1] - self.ids.shape[1]
        if more > 0:
            shape = (len(self), more)
            self.ids = torch.cat([torch.full(shape, filler(self.model)), self.ids], dim=1)
            self.mask = torch.cat([torch.zeros(shape, dtype=torch.bool), self.mask], dim=1)
        begin = self.ids.shape[1] - written.ids.shape[1]
        self.ids[rows, begin:] = written.ids.cpu()
        self.mask[rows, begin:] = written.mask.cpu()
        self.steered[rows] = written.steered.cpu()
        self.width = self.ids.shape[1] - self.new

    def generations(
        self,
        rows: slice,
        prompts: tuple[str, ...],
        samples: int,
        unsteered: Float[Tensor, "row new"] | None,
        settings: dict[str, Any],
    ) -> Generations:
        """The record of the rows of one condition: each prompt with its samples."""
        ids, mask = self.ids[rows], self.mask[rows]
        texts = self.model.tokenizer.batch_decode(
            [
                row[real].tolist()
                for row, real in zip(ids[:, self.width :], mask[:, self.width :], strict=True)
            ],
            skip_special_tokens=True,
            clean_up_tokenization_spaces=False,
        )
        return Generations(
            prompts=prompts,
            prompt=torch.arange(len(prompts)).repeat_interleave(samples),
            sample=torch.arange(samples).repeat(len(prompts)),
            texts=tuple(texts),
            ids=ids,
            mask=mask,
            prompt_width=self.width,
            steered_log_probs=self.steered[rows],
            unsteered_log_probs=None if unsteered is None else unsteered[rows],
            settings=settings,
        )
