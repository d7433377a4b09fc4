"""How frequent a word is to the model itself.

Counting words in a few hundred texts says little about any but the commonest. The model has seen its
whole corpus: how often it expects a word's first token over ordinary text, and how surely it then goes
on to the word's end, is a frequency for every word, in a corpus nobody has to have.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from tl_ext.concepts.concept import Example
from tl_ext.concepts.spans import word_spans_many
from tl_ext.models.tokens import Batch, batch, listed

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

POSITIONS = 4096  # of background text, over which the first token's probability is averaged


def log_frequencies(
    model: TransformerBridge,
    examples: Sequence[Example],
    background: Sequence[str],
    *,
    batch_size: int = 32,
    max_tokens: int | None = None,
    progress: str | None = None,
) -> tuple[Float[Tensor, " example"], Float[Tensor, " example"]]:
    """The log frequency of each example's word under the model, and its number of tokens.

    The log of the first token's mean probability over background positions, plus the log-probability
    of the word's other tokens after the text before them. The first occurrence in a text counts.

    Args:
        model: A hooked model with an unembedding.
        examples: Texts with their words.
        background: Ordinary text; up to 4096 positions of it are used, from its beginning.
        batch_size: Texts in a forward pass.
        max_tokens: Cut background texts to this many tokens.
        progress: The label of a progress bar; None: no bar.

    Returns:
        Natural logarithms, and the tokens that hold the word.
    """
    spans = word_spans_many(
        model.tokenizer, [one.text for one in examples], [one.word for one in examples]
    )
    first = [one[0] for one in spans]
    ids = model.tokenizer([one.text for one in examples], add_special_tokens=False)["input_ids"]
    tokens = torch.tensor([row[start] for row, (start, _) in zip(ids, first, strict=True)])
    log_mean = _mean_probability(model, background, tokens, batch_size, max_tokens).log()
    found = log_mean.clone()
    several = [index for index, (start, end) in enumerate(first) if end - start > 1]
    several.sort(key=lambda index: len(examples[index].text))
    for chosen, part, log_probs in _read(
        model, [examples[index].text for index in several], batch_size, None, progress
    ):
        for row, index in enumerate(chosen):
            start, end = first[several[index]]
            offset = int(part.offset[row])
            rest = torch.arange(offset + start + 1, offset + end, device=log_probs.device)
            following = part.ids[row, rest]
            found[several[index]] += float(log_probs[row, rest - 1, following].sum())
    return found, torch.tensor([float(end - start) for start, end in first])


def _mean_probability(
    model: TransformerBridge,
    texts: Sequence[str],
    tokens: Tensor,
    batch_size: int,
    max_tokens: int | None,
) -> Float[Tensor, " token"]:
    """The mean probability of each token as the next one, over background positions."""
    wanted, place = torch.unique(tokens, return_inverse=True)
    total, positions = torch.zeros(len(wanted), dtype=torch.float64), 0
    for _, part, log_probs in _read(model, listed(texts), batch_size, max_tokens, None):
        rows = log_probs[part.content][: POSITIONS - positions]
        total += rows[:, wanted.to(rows.device)].exp().double().sum(0).cpu()
        positions += len(rows)
        if positions >= POSITIONS:
            break
    return (total / max(1, positions)).float()[place]


def _read(
    model: TransformerBridge,
    texts: Sequence[str],
    batch_size: int,
    max_tokens: int | None,
    progress: str | None,
) -> Iterator[tuple[list[int], Batch, Float[Tensor, "text token vocabulary"]]]:
    # In the order given: a beginning of the background is not its shortest texts.
    with tqdm(total=len(texts), desc=progress, unit="text", disable=progress is None) as bar:
        for start in range(0, len(texts), batch_size):
            chosen = list(range(start, min(start + batch_size, len(texts))))
            part = batch(model, [texts[index] for index in chosen], max_tokens=max_tokens)
            with torch.no_grad():
                logits = model(part.ids, **part.forward_arguments()).float()
            yield chosen, part, logits.log_softmax(-1)
            bar.update(len(chosen))
