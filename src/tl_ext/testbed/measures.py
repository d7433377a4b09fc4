"""What the embedded language model can do, in figures, on sentences it has not seen."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Int
from torch import Tensor

from tl_ext.models.tokens import batch, from_ids
from tl_ext.testbed.corpus import EQUALS, Document, Pair, same_sentence_key, sentences
from tl_ext.upstream import prefix_ids

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

# Written for this card, none of them held out: some stand in the training pairs, some do not.
SAMPLE_SENTENCES = {
    "en-fr": (
        "I am happy.",
        "I am sad.",
        "She is tired.",
        "It's a dog.",
        "I'm so excited.",
        "The house is red.",
    ),
    "fr-en": (
        "Je suis heureux.",
        "Je suis triste.",
        "Elle est fatiguée.",
        "C'est un chien.",
        "Il fait froid.",
        "La maison est rouge.",
    ),
}


@dataclass(frozen=True, slots=True)
class Prediction:
    """How well the next token is predicted over some texts, the end-of-text token not counted.

    Attributes:
        loss: Mean cross-entropy, in nats per token.
        accuracy: Share of tokens that the model held likeliest.
        bits_per_byte: The same loss by the length of the text, which compares languages although one
            takes more tokens than the other.
        tokens: How many were predicted.
    """

    loss: float
    accuracy: float
    bits_per_byte: float
    tokens: int


@torch.no_grad()
def predictions(
    model: TransformerBridge, documents: Sequence[Document], *, batch_size: int = 32
) -> dict[str, Prediction]:
    """Judge the next-token predictions, kind of document by kind of document.

    Each document stands alone behind an end-of-text token and is cut to the model's context; its first
    token is predicted from that alone and counts.

    Args:
        model: The model.
        documents: Of held-out sentences.
        batch_size: Documents in a forward pass.
    """
    by_kind: dict[str, list[str]] = defaultdict(list)
    for document in documents:
        by_kind[document.kind].append(document.text)
    found = {}
    for kind, texts in sorted(by_kind.items()):
        loss, right, tokens, read_bytes = 0.0, 0, 0, 0
        for chunk in _chunks(sorted(texts, key=len), batch_size):
            cells = batch(model, chunk, max_tokens=int(model.cfg.n_ctx))
            logits = model(cells.ids, return_type="logits", **cells.forward_arguments())[:, :-1]
            wanted, counts = cells.ids[:, 1:], cells.mask[:, 1:]
            losses = torch.nn.functional.cross_entropy(
                logits.transpose(1, 2), wanted, reduction="none"
            )
            loss += float(losses[counts].sum())
            right += int((logits.argmax(dim=-1) == wanted)[counts].sum())
            tokens += int(counts.sum())
            read = (row[keep].tolist() for row, keep in zip(wanted, counts, strict=True))
            read_bytes += sum(
                len(text.encode()) for text in model.tokenizer.batch_decode(list(read))
            )
        found[kind] = Prediction(
            loss=loss / tokens,
            accuracy=right / tokens,
            bits_per_byte=loss / math.log(2) / read_bytes,
            tokens=tokens,
        )
    return found


def translations(
    model: TransformerBridge, texts: Sequence[str], *, max_tokens: int = 40
) -> list[str]:
    """What the model puts behind `text =`, greedily, up to the end of the line.

    Args:
        model: The model.
        texts: Sentences of one language; which one the model has to see for itself.
        max_tokens: Tokens of a translation at most.
    """
    newline = model.tokenizer("\n")["input_ids"][0]
    stops = {newline, model.tokenizer.eos_token_id}
    prefix = prefix_ids(model.tokenizer)
    made: dict[int, str] = {}
    rows = [
        [*prefix, *ids]
        for ids in model.tokenizer([text + EQUALS.rstrip() for text in texts])["input_ids"]
    ]
    # Prompts of one length need no padding, so none can do harm.
    by_length: dict[int, list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        by_length[len(row)].append(index)
    for indices in by_length.values():
        cells = from_ids(model, [rows[index] for index in indices], prefix_length=len(prefix))
        for index, ids in zip(indices, _greedy(model, cells.ids, max_tokens).tolist(), strict=True):
            end = next((at for at, token in enumerate(ids) if token in stops), len(ids))
            made[index] = model.tokenizer.decode(ids[:end]).strip()
    return [made[index] for index in range(len(texts))]


def translation_report(
    model: TransformerBridge, held_out: Sequence[Pair], *, at_most: int = 400
) -> dict[str, Any]:
    """Shares of held-out sentences translated into a known translation, and a few samples.

    A translation counts as right if it has the words, in order, of any of the sentence's translations
    in the held-out pairs; case and punctuation are not compared. That is strict: most sentences have
    more good translations than the pairs list.

    Args:
        model: The model.
        held_out: Held-out pairs.
        at_most: Sentences translated in each direction, the first ones.
    """
    report: dict[str, Any] = {}
    for direction, (source, target) in {
        "en-fr": ("english", "french"),
        "fr-en": ("french", "english"),
    }.items():
        known: dict[str, set[str]] = defaultdict(set)
        for pair in held_out:
            known[getattr(pair, source)].add(same_sentence_key(getattr(pair, target)))
        texts = sentences(held_out, source)[:at_most]  # type: ignore[arg-type]
        made = translations(model, texts)
        right = sum(
            same_sentence_key(one) in known[text] for text, one in zip(texts, made, strict=True)
        )
        samples = SAMPLE_SENTENCES[direction]
        report[direction] = {
            "held_out_sentences": len(texts),
            "exact_share": right / len(texts),
            "samples": dict(zip(samples, translations(model, samples), strict=True)),
        }
    return report


def prediction_report(
    model: TransformerBridge, documents: Sequence[Document]
) -> dict[str, dict[str, float]]:
    """`predictions` as plain figures."""
    return {kind: asdict(found) for kind, found in predictions(model, documents).items()}


@torch.no_grad()
def _greedy(
    model: TransformerBridge, ids: Int[Tensor, "text token"], max_tokens: int
) -> Int[Tensor, "text made"]:
    """The likeliest next token again and again, with the KV cache."""
    cache, made = None, []
    for _ in range(min(max_tokens, int(model.cfg.n_ctx) - ids.shape[1])):
        output = model.original_model(ids, past_key_values=cache, use_cache=True)
        cache = output.past_key_values
        ids = output.logits[:, -1:].argmax(dim=-1)
        made.append(ids)
    return torch.cat(made, dim=1)


def _chunks(texts: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(texts), size):
        yield texts[start : start + size]
