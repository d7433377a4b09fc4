"""Latents of texts: at a word, over background text, for chosen latents.

One pass over the texts serves every dictionary. Only the tokens asked for are encoded, except by a
dictionary that needs context, which gets the whole sequence.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tl_ext.activations.capture import CapturedBatch, iterate, locate
from tl_ext.concepts.aggregation import OverTokens, aggregate_each
from tl_ext.concepts.concept import Concept, Example
from tl_ext.concepts.spans import word_spans_many
from tl_ext.dictionaries.dictionary import LATENTS_AT_ONCE, Dictionary, by_id
from tl_ext.errors import DictionaryError, HookPointError, InputError
from tl_ext.models.hook_points import row_norms, to_residual, usual_norm

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

ROWS_TOGETHER = 256
"""Rows that several dictionaries encode at once at the least."""

_WORD_LATENTS = 2**26  # latents of several dictionaries at words, held at once: 256 MiB


@dataclass(frozen=True, eq=False, repr=False)
class BackgroundStatistics:
    """What a dictionary's latents do on ordinary text.

    Attributes:
        firing_rate: Share of tokens on which each latent is above 0.
        largest: Each latent's largest activation, in the dictionary's units: a natural unit of
            steering strength. 0 for a latent that never fired.
        mean: Each latent's mean activation over all tokens.
        usual_norm: Median length of the activations the dictionary reads.
        tokens: How many tokens were read; prefix and first positions are not among them.
    """

    firing_rate: Float[Tensor, " d_latent"]
    largest: Float[Tensor, " d_latent"]
    mean: Float[Tensor, " d_latent"]
    usual_norm: float
    tokens: int

    def __repr__(self) -> str:
        fired = int((self.largest > 0).sum())
        return (
            f"<BackgroundStatistics: {len(self.largest)} latents on {self.tokens} tokens, {fired} fired"
            f"\n  largest activation {float(self.largest.max()):.4g}, "
            f"usual norm {self.usual_norm:.4g}>"
        )


def word_latents(
    model: TransformerBridge,
    dictionaries: Mapping[str, Dictionary] | Dictionary,
    examples: Sequence[Example] | Concept,
    *,
    over_tokens: OverTokens = "sum",
    batch_size: int = 32,
    progress: str | None = None,
) -> dict[str, Float[Tensor, "text d_latent"]]:
    """Every dictionary's latents at the words of the examples.

    Args:
        model: A hooked model.
        dictionaries: One, or several by id; each must fit the model.
        examples: Texts with the word to look at; of a concept its examples.
        over_tokens: What is done inside a word of several tokens, see
            [`aggregate`][tl_ext.concepts.aggregation.aggregate]; occurrences are averaged.
        batch_size: Texts in a forward pass.
        progress: The label of a progress bar; None: no bar.

    Returns:
        By dictionary id, one row an example in the order given, float32 on the CPU.

    Raises:
        InputError: No examples, or a word that leaves no token (its only one is the first position of
            a model without a prefix).
        WordNotFoundError: A word that does not stand in its text.
        HookPointError: A hook point the model lacks.
        DictionaryError: A dictionary of another width than its hook point.
    """
    dictionaries = by_id(dictionaries)
    examples = examples.examples if isinstance(examples, Concept) else list(examples)
    if not examples:
        raise InputError("There are no examples to read: an empty list was given.")
    for one in examples:
        if not isinstance(one, Example):
            raise InputError(
                f"An Example(text, word) is expected, not {type(one).__name__}: {one!r}. Of a concept "
                "pass concept.examples."
            )
    texts = [one.text for one in examples]
    spans = word_spans_many(model.tokenizer, texts, [one.word for one in examples])
    found = {id: torch.empty(len(examples), one.d_latent) for id, one in dictionaries.items()}
    for part in iterate(
        model,
        texts,
        [dictionary.hook_in for dictionary in dictionaries.values()],
        batch_size=batch_size,
        progress=progress,
    ):
        # The first position of a model without a prefix is no place to read a word at.
        cells = part.batch.cells([spans[index] for index in part.texts.tolist()])
        cells &= part.batch.content
        text, token = locate(part, cells)
        layout = _layout(part.texts.tolist(), text, token, spans, examples)
        for id, dictionary in dictionaries.items():
            latents = encode_cells(dictionary, part, cells).float().cpu()
            words = aggregate_each(latents[layout.rows], layout.tokens, over_tokens)
            found[id][part.texts] = aggregate_each(words, layout.occurrences, "mean")
    return found


def texts_at_once(dictionaries: Mapping[str, Dictionary]) -> int:
    """Of how many texts `word_latents` gives at most 256 MiB for all these dictionaries together."""
    return max(1, _WORD_LATENTS // sum(one.d_latent for one in dictionaries.values()))


def background_statistics(
    model: TransformerBridge,
    dictionaries: Mapping[str, Dictionary] | Dictionary,
    texts: Sequence[str],
    *,
    batch_size: int = 32,
    max_tokens: int | None = None,
    progress: str | None = None,
) -> dict[str, BackgroundStatistics]:
    """What every latent does on ordinary text, in one pass.

    Args:
        model: A hooked model.
        dictionaries: One, or several by id.
        texts: Background text, enough of it that a rate means something (see `tokens`).
        batch_size: Texts in a forward pass.
        max_tokens: Cut texts to this many tokens; None: too long a text is an error.
        progress: The label of a progress bar; None: no bar.

    Returns:
        By dictionary id.

    Raises:
        InputError: No texts, or texts that leave no token to read.
    """
    dictionaries = by_id(dictionaries)
    counts = {id: torch.zeros(one.d_latent) for id, one in dictionaries.items()}
    sums = {id: torch.zeros(one.d_latent, dtype=torch.float64) for id, one in dictionaries.items()}
    largest = {id: torch.zeros(one.d_latent) for id, one in dictionaries.items()}
    norms: dict[str, list[Tensor]] = {id: [] for id in dictionaries}
    tokens = 0
    for part in iterate(
        model,
        texts,
        [dictionary.hook_in for dictionary in dictionaries.values()],
        batch_size=batch_size,
        max_tokens=max_tokens,
        progress=progress,
    ):
        cells = part.batch.content
        if not cells.any():
            continue
        tokens += int(cells.sum())
        for id, dictionary in dictionaries.items():
            for latents in encode_pieces(dictionary, part, cells):
                rows = latents.float().cpu()
                counts[id] += (rows > 0).sum(0)
                sums[id] += rows.sum(0, dtype=torch.float64)
                torch.maximum(largest[id], rows.amax(0), out=largest[id])
            norms[id].append(row_norms(part.activations[dictionary.hook_in][cells]))
    if not tokens:
        raise InputError("The texts leave no token to read once prefix and first position are out.")
    return {
        id: BackgroundStatistics(
            firing_rate=counts[id] / tokens,
            largest=largest[id],
            mean=(sums[id] / tokens).float(),
            usual_norm=usual_norm(norms[id]),
            tokens=tokens,
        )
        for id in dictionaries
    }


def chosen_latents(
    model: TransformerBridge,
    dictionaries: Mapping[str, Dictionary],
    texts: Sequence[str],
    chosen: Mapping[str, Int[Tensor, " n"]],
    *,
    batch_size: int = 32,
    max_tokens: int | None = None,
    progress: str | None = None,
) -> dict[str, Float[Tensor, "row n"]]:
    """Activations of a few latents at every token of the texts.

    Args:
        model: A hooked model.
        dictionaries: By id.
        texts: What the model reads.
        chosen: By dictionary id, the latents to keep. Dictionaries not named are not read.
        batch_size: Texts in a forward pass.
        max_tokens: Cut texts to this many tokens; None: too long a text is an error.
        progress: The label of a progress bar; None: no bar.

    Returns:
        By dictionary id; rows are the same tokens for every dictionary.
    """
    rows: dict[str, list[Tensor]] = {id: [] for id in chosen}
    for part in iterate(
        model,
        texts,
        [dictionaries[id].hook_in for id in chosen],
        batch_size=batch_size,
        max_tokens=max_tokens,
        progress=progress,
    ):
        cells = part.batch.content
        for id, latents in chosen.items():
            for encoded in encode_pieces(dictionaries[id], part, cells):
                rows[id].append(encoded[:, latents.to(encoded.device)].float().cpu())
    return {id: torch.cat(parts) for id, parts in rows.items()}


def residual_directions(
    model: TransformerBridge, dictionary: Dictionary, latents: Int[Tensor, " n"] | None = None
) -> Float[Tensor, "n d_model"]:
    """Decoder directions in the residual stream; NaN where the hook point has no image there.

    Args:
        model: A hooked model.
        dictionary: Of one of its hook points.
        latents: Which; None: all.
    """
    rows = dictionary.directions.detach()
    rows = rows if latents is None else rows[latents.to(rows.device)]
    try:
        return to_residual(model, dictionary.hook_out, rows.float())
    except HookPointError:
        return rows.new_full((len(rows), int(model.cfg.d_model)), float("nan"), dtype=torch.float32)


def encode_pieces(
    dictionary: Dictionary, part: CapturedBatch, cells: Bool[Tensor, "text token"]
) -> Iterator[Float[Tensor, "row d_latent"]]:
    """Latents at the true cells of a batch, a few rows at a time: all of them can be gigabytes."""
    row, column = cells.nonzero(as_tuple=True)
    step = len(row) if dictionary.needs_context else max(1, LATENTS_AT_ONCE // dictionary.d_latent)
    for start in range(0, len(row), max(1, step)):
        piece = torch.zeros_like(cells)
        piece[row[start : start + step], column[start : start + step]] = True
        yield encode_cells(dictionary, part, piece)


def encode_together(
    dictionaries: Mapping[str, Dictionary], part: CapturedBatch
) -> Iterator[dict[str, Float[Tensor, "row d_latent"]]]:
    """Latents of several dictionaries at the content tokens of a batch, the same rows of each.

    A few rows at a time, so that all dictionaries together hold little; but not so few that encoding
    them is slow.

    Yields:
        By dictionary id; batches without content give nothing.
    """
    row, column = part.batch.content.nonzero(as_tuple=True)
    width = sum(dictionary.d_latent for dictionary in dictionaries.values())
    step = max(ROWS_TOGETHER, LATENTS_AT_ONCE // max(1, width))
    for start in range(0, len(row), step):
        cells = torch.zeros_like(part.batch.content)
        cells[row[start : start + step], column[start : start + step]] = True
        yield {id: encode_cells(one, part, cells) for id, one in dictionaries.items()}


def encode_cells(
    dictionary: Dictionary, part: CapturedBatch, cells: Bool[Tensor, "text token"]
) -> Float[Tensor, "row d_latent"]:
    """Latents at the true cells of a batch, row by row.

    Raises:
        DictionaryError: The dictionary's width is not its hook point's.
    """
    activation = part.activations[dictionary.hook_in]
    if activation.shape[-1] != dictionary.d_in:
        raise DictionaryError(
            f"The dictionary {dictionary.id!r} reads rows of width {dictionary.d_in} and "
            f"{dictionary.hook_in} of this model has width {activation.shape[-1]}: it was trained on "
            "another model."
        )
    if dictionary.needs_context:
        return dictionary.encode(activation)[cells]
    return dictionary.encode(activation[cells])


@dataclass(frozen=True, eq=False)
class _Layout:
    """Which encoded rows make up which occurrence of which text.

    Attributes:
        rows: Rows of the first occurrence of the first text, then of its next, and so on.
        tokens: How many rows each occurrence has.
        occurrences: How many occurrences each text has.
    """

    rows: list[int]
    tokens: list[int]
    occurrences: list[int]


def _layout(
    order: Sequence[int],
    text: Int[Tensor, " row"],
    token: Int[Tensor, " row"],
    spans: Sequence[Sequence[tuple[int, int]]],
    examples: Sequence[Example],
) -> _Layout:
    """The layout of a batch; `text` and `token` say what each encoded row is."""
    place = {cell: row for row, cell in enumerate(zip(text.tolist(), token.tolist(), strict=True))}
    rows: list[int] = []
    tokens: list[int] = []
    occurrences: list[int] = []
    for index in order:
        # What lies at a first position was not encoded.
        kept = [
            [place[index, one] for one in range(*span) if (index, one) in place]
            for span in spans[index]
        ]
        kept = [occurrence for occurrence in kept if occurrence]
        if not kept:
            example = examples[index]
            raise InputError(
                f"The word {example.word!r} is the first token of {example.text!r}, which this model "
                "reads without a prefix; what a first position holds says nothing about its word. Put "
                "something before it."
            )
        rows += [row for occurrence in kept for row in occurrence]
        tokens += [len(occurrence) for occurrence in kept]
        occurrences.append(len(kept))
    return _Layout(rows, tokens, occurrences)
