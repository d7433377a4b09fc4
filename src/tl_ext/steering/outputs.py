"""What a text's next tokens become when something is added at its word.

All rows of a forward pass are one text under different additions, so nothing is padded.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tl_ext.errors import InputError
from tl_ext.interventions.applied import applied
from tl_ext.interventions.edits import AddEach
from tl_ext.steering.decoding import forward
from tl_ext.steering.words import odds_between

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

MEASURES = ("kl_at", "kl_after", "odds_at", "odds_after")

_LARGEST_LOGITS = 2**25  # numbers held at once, 128 MiB


@dataclass(frozen=True, eq=False)
class WordLists:
    """Words whose chance to come next is measured, as the tokens each adds to a text.

    Attributes:
        positive: Token ids of each word that counts for the concept.
        negative: Token ids of each word it is set against; empty: anything else.
    """

    positive: tuple[tuple[int, ...], ...]
    negative: tuple[tuple[int, ...], ...]

    @classmethod
    def after(
        cls, tokenizer: Any, text: str, positive: Sequence[str], negative: Sequence[str]
    ) -> WordLists:
        """The tokens of words that follow a text.

        Raises:
            InputError: A word that joins the end of the text, so that it has no tokens of its own.
        """
        own = list(tokenizer(text, add_special_tokens=False)["input_ids"])

        def tokens(word: str) -> tuple[int, ...]:
            joint = list(tokenizer(text + word, add_special_tokens=False)["input_ids"])
            if joint[: len(own)] != own or len(joint) == len(own):
                raise InputError(
                    f"{word!r} after {text!r} has no tokens of its own: the tokenizer joins it with "
                    "the end of the text. Begin it with a space."
                )
            return tuple(joint[len(own) :])

        return cls(tuple(map(tokens, positive)), tuple(map(tokens, negative)))

    @cached_property
    def branches(self) -> dict[tuple[int, ...], list[int]]:
        """What must be read to know every token's probability: beginnings of words, each with the words
        it serves; none lies within another."""
        words = (*self.positive, *self.negative)
        branches: dict[tuple[int, ...], list[int]] = {}
        for place in sorted(range(len(words)), key=lambda place: -len(words[place])):
            head = words[place][:-1]
            if not head:
                continue
            known = (one for one in branches if one[: len(head)] == head)
            branches.setdefault(next(known, head), []).append(place)
        return branches

    def log_probs(
        self,
        here: Float[Tensor, "row vocabulary"],
        after: Callable[[Sequence[int]], Float[Tensor, "row step vocabulary"]],
    ) -> Float[Tensor, "row word"]:
        """The log-probability of each word, over all its tokens.

        Args:
            here: Of the next token.
            after: Of the token after each one of a branch.
        """
        words = (*self.positive, *self.negative)
        found = here[:, [word[0] for word in words]]
        for branch, served in self.branches.items():
            further = after(branch)
            for number in served:
                for step, token in enumerate(words[number][1:]):
                    found[:, number] += further[:, step, token]
        return found

    def odds(self, log_probs: Float[Tensor, "row word"]) -> Float[Tensor, " row"]:
        """Log-odds of the positive words over the negative ones, or over anything else."""
        if self.negative:
            return odds_between(log_probs, len(self.positive))
        positive = log_probs.logsumexp(-1)
        return positive - torch.log1p(-positive.exp())


@dataclass(frozen=True, eq=False)
class Outputs:
    """What a model says next, row by row.

    Attributes:
        log_probs: Of every next token, from the word's last token to the end of the text.
        odds: Log-odds of the word lists as the next word, at the word's last token and, where that is
            another, at the text's last token.
    """

    log_probs: Float[Tensor, "row place vocabulary"]
    odds: Float[Tensor, "row asked"]


def changes(
    model: TransformerBridge,
    hook_point: str,
    ids: Int[Tensor, " token"],
    columns: Int[Tensor, " word_token"],
    vectors: Float[Tensor, "row word_token d_in"],
    reference: Float[Tensor, "word_token d_in"],
    words: WordLists,
    *,
    batch_size: int,
) -> Float[Tensor, "row measure"]:
    """How far additions at a word move what comes next, from what comes next under a reference.

    Args:
        model: A hooked model.
        hook_point: Where the vectors are added.
        ids: One text, prefix included.
        columns: The tokens of its word.
        vectors: What each row adds at them.
        reference: What the reference adds at them.
        words: The word lists.
        batch_size: Rows in a forward pass.

    Returns:
        A column for each of `MEASURES`, in nats, on the CPU: KL(reference || row) of the next token at
        the word's last token, and its mean over the tokens after the word; the change of the log-odds
        of the word lists as the next word, teacher-forced over all their tokens, at the word's last
        token, and at the end of the text. NaN after a word that ends its text.
    """
    text = _Text(model, hook_point, ids, columns, words)
    step = max(1, min(batch_size, _LARGEST_LOGITS // (int(model.cfg.d_vocab) * len(ids))))
    before = text.outputs(reference[None])
    parts = []
    for some in vectors.split(step):
        now = text.outputs(some)
        kl = (before.log_probs.exp() * (before.log_probs - now.log_probs)).sum(-1)
        # A sum of rounded terms of both signs can come out below 0.
        kl, odds = kl.clamp(min=0), now.odds - before.odds
        # The mean over no place is NaN.
        found = [kl[:, 0], kl[:, 1:].mean(1), odds[:, 0], odds[:, 1:].mean(1)]
        parts.append(torch.stack(found, dim=1).cpu())
    return torch.cat(parts) if parts else torch.empty(0, len(MEASURES))


class _Text:
    """A text to be read many times, each time with something else added at its word.

    What stands before the word is read once, and what a word list needs beyond the text's own tokens
    continues from the same keys and values, where the model keeps any.
    """

    def __init__(
        self,
        model: TransformerBridge,
        hook_point: str,
        ids: Int[Tensor, " token"],
        columns: Int[Tensor, " word_token"],
        words: WordLists,
    ) -> None:
        self.model, self.hook_point, self.ids, self.words = model, hook_point, ids, words
        self.columns = columns
        self.first, self.last, self.end = int(columns[0]), int(columns[-1]), len(ids) - 1
        self.before: Any = None
        self.keeps = bool(getattr(model.adapter, "supports_kv_cache", True))
        if self.keeps and self.first:
            _, cache = self._read(ids[None, : self.first], self.first, keep=1)
            # As for words after prompts: what cannot be cut cannot serve again.
            self.keeps = getattr(cache, "is_croppable", False) and not any(cache.is_sliding)
            self.before = cache if self.keeps else None

    def outputs(self, vectors: Float[Tensor, "row word_token d_in"]) -> Outputs:
        """What comes next where these vectors are added at the word."""
        rows = len(vectors)
        begin = self.first if self.before is not None else 0
        ids = self.ids[begin:].expand(rows, -1)
        added = vectors.new_zeros(rows, len(self.ids) - begin, vectors.shape[-1])
        added[:, self.columns - begin] = vectors
        cache = None
        if self.before is not None:
            cache = copy.deepcopy(self.before)
            cache.batch_repeat_interleave(rows)
        keep = len(self.ids) - self.last
        logits, cache = self._read(ids, len(self.ids), added=added, cache=cache, keep=keep)
        log_probs = logits.float().log_softmax(-1)
        # From the end back, for the cache is cut and cannot be mended.
        odds = []
        for place in sorted({self.last, self.end}, reverse=True):

            def after(branch: Sequence[int], place: int = place) -> Tensor:
                return self._continued(branch, place, added, cache)

            here = log_probs[:, place - self.last]
            odds.append(self.words.odds(self.words.log_probs(here, after)))
        return Outputs(log_probs, torch.stack(odds[::-1], dim=1))

    def _continued(
        self, branch: Sequence[int], place: int, added: Tensor, cache: Any
    ) -> Float[Tensor, "row step vocabulary"]:
        """Log-probabilities after each token of a branch that follows the token at `place`."""
        tail = torch.tensor(branch, device=self.ids.device).expand(len(added), -1)
        seen, keep = place + 1 + len(branch), len(branch)
        if cache is not None:
            surplus = cache.get_seq_length() - (place + 1)
            if surplus:
                cache.crop(-surplus)
            logits, _ = self._read(tail, seen, cache=cache, keep=keep)
        else:
            joint = torch.cat([self.ids[: place + 1].expand(len(added), -1), tail], dim=1)
            more = added.new_zeros(*joint.shape, added.shape[-1])
            more[:, : place + 1] = added[:, : place + 1]
            logits, _ = self._read(joint, seen, added=more, keep=keep)
        return logits.float().log_softmax(-1)

    def _read(
        self,
        ids: Int[Tensor, "row token"],
        seen: int,
        *,
        added: Float[Tensor, "row token d_in"] | None = None,
        cache: Any = None,
        keep: int,
    ) -> tuple[Float[Tensor, "row keep vocabulary"], Any]:
        """Logits of the last `keep` tokens, and the cache where there is one to go on from."""
        attention = torch.ones(len(ids), seen, dtype=torch.long, device=ids.device)
        edits = () if added is None else AddEach(self.hook_point, added)
        with torch.no_grad(), applied(self.model, edits):
            logits, cache = forward(
                self.model, ids, attention, use_cache=self.keeps, cache=cache, keep=keep
            )
        return logits, cache if self.keeps else None
