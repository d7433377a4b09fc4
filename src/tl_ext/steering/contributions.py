"""What each active latent of a dictionary contributes at the word of a text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor

from tl_ext.activations.capture import CapturedBatch, iterate
from tl_ext.concepts.concept import Example
from tl_ext.concepts.spans import word_spans_many
from tl_ext.dictionaries.dictionary import Dictionary
from tl_ext.dictionaries.reading import encode_cells
from tl_ext.errors import InputError

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


@dataclass(frozen=True, eq=False)
class WordContributions:
    """The latents active at one text's word, and what each adds to the activation there.

    Attributes:
        example: The text and its word.
        ids: The text's token ids, prefix included.
        columns: Which of them hold the word, all its occurrences; a first position is left out.
        latents: The latents above 0 at any of these tokens, in ascending order.
        pieces: Activation times decoder direction, in the units of the activation.
    """

    example: Example
    ids: Int[Tensor, " token"]
    columns: Int[Tensor, " word_token"]
    latents: Int[NDArray[np.int64], " active"]
    pieces: Float[Tensor, "word_token active d_out"]

    @cached_property
    def products(self) -> Float[NDArray[np.float64], "active active"]:
        """Inner products of the latents' contributions, over the word's tokens."""
        flat = self.pieces.transpose(0, 1).flatten(1)
        found: NDArray[np.float64] = (flat @ flat.T).double().cpu().numpy()
        return found

    @cached_property
    def last_square(self) -> Float[NDArray[np.float64], " active"]:
        """Squared norm of each latent's contribution at the word's last token."""
        found: NDArray[np.float64] = self.pieces[-1].square().sum(-1).double().cpu().numpy()
        return found

    def held(self, latents: Sequence[int]) -> Bool[NDArray[np.bool_], " active"]:
        """Which of the active latents are among these."""
        return np.isin(self.latents, np.asarray(list(latents), dtype=np.int64))

    def summed(
        self, sets: Bool[NDArray[np.bool_], "set active"]
    ) -> Float[Tensor, "set word_token d_out"]:
        """The summed contribution of each set."""
        chosen = torch.from_numpy(sets).to(self.pieces)
        return torch.einsum("sa,tad->std", chosen, self.pieces)


def word_contributions(
    model: TransformerBridge,
    dictionary: Dictionary,
    examples: Sequence[Example],
    *,
    batch_size: int = 32,
    progress: str | None = None,
) -> list[WordContributions]:
    """Read the contributions of a dictionary's latents at the words of texts.

    The sum over latents of what they contribute, the dictionary's bias and its error term make up the
    activation, whatever the dictionary's normalisation: decoding is affine in the latents.

    Args:
        model: A hooked model.
        dictionary: The dictionary.
        examples: Texts with their words.
        batch_size: Texts in a forward pass; a dictionary that needs context is read text by text.
        progress: The label of a progress bar; None: no bar.

    Returns:
        One for each text, in the order given.

    Raises:
        InputError: A word that leaves no token (its only one is the first position of a model
            without a prefix).
        WordNotFoundError: A word that does not stand in its text.
        HookPointError: A hook point the model lacks.
        DictionaryError: A dictionary of another width than its hook point.
    """
    texts = [one.text for one in examples]
    spans = word_spans_many(model.tokenizer, texts, [one.word for one in examples])
    found: dict[int, WordContributions] = {}
    for part in iterate(
        model,
        texts,
        dictionary.hook_in,
        batch_size=1 if dictionary.needs_context else batch_size,
        progress=progress,
    ):
        cells = part.batch.cells([spans[index] for index in part.texts.tolist()])
        cells &= part.batch.content
        for row, index in enumerate(part.texts.tolist()):
            if not bool(cells[row].any()):
                raise InputError(
                    f"The word {examples[index].word!r} is the first token of {texts[index]!r}, which "
                    "this model reads without a prefix. Put something before it."
                )
            mine = torch.zeros_like(cells)
            mine[row] = cells[row]
            latents, pieces = _pieces(dictionary, part, mine)
            found[index] = WordContributions(
                example=examples[index],
                ids=part.batch.ids[row][part.batch.mask[row]],
                columns=cells[row].nonzero().flatten(),
                latents=latents,
                pieces=pieces,
            )
    return [found[index] for index in range(len(examples))]


def _pieces(
    dictionary: Dictionary, part: CapturedBatch, cells: Bool[Tensor, "text token"]
) -> tuple[NDArray[np.int64], Tensor]:
    """Active latents at the true cells, and their contributions `[cell active d_out]`."""
    with torch.no_grad():
        latents = encode_cells(dictionary, part, cells)
        active = (latents > 0).any(0).nonzero().flatten()
        directions = dictionary.directions[active]
        pieces = latents[:, active, None].to(directions.dtype) * directions
        activation = part.activations[dictionary.hook_in]
        if dictionary.needs_context:
            whole = dictionary.statistics(activation)
            statistics = None if whole is None else whole[cells]
        else:
            statistics = dictionary.statistics(activation[cells])
        if statistics is not None:
            # In the dictionary's own space; its scale, not its shift, applies to a difference.
            each = statistics[:, None]
            pieces = each.restore(pieces) - each.restore(torch.zeros_like(pieces))
    return active.cpu().numpy(), pieces.float().to(part.batch.ids.device)
