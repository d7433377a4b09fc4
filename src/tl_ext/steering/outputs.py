"""What a text's next tokens become when something is added at its word.

All rows of a forward pass are one text under different additions, so nothing is padded, and up to the
hook point they are one row: where the model allows, the layers before it read one.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tl_ext.errors import InputError
from tl_ext.interventions.applied import applied
from tl_ext.interventions.edits import AddEach, Where
from tl_ext.models.hook_points import kind_of, layer_of
from tl_ext.steering.decoding import forward
from tl_ext.steering.words import odds_between

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

MEASURES = ("kl_at", "kl_after", "odds_at", "odds_after")

_LARGEST_LOGITS = 2**25  # numbers held at once, 128 MiB
_WHOLE = ("resid_pre", "resid_post", "attn_out", "mlp_out")  # where what follows takes any batch
_SAME = 1e-3  # log-probabilities that differ by less differ by rounding


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
    once: bool = False,
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
        batch_size: Rows in a forward pass, the reference among them.
        once: Read one row up to the hook point, see `reads_once`.

    Returns:
        A column for each of `MEASURES`, in nats, on the CPU: KL(reference || row) of the next token at
        the word's last token, and its mean over the tokens after the word; the change of the log-odds
        of the word lists as the next word, teacher-forced over all their tokens, at the word's last
        token, and at the end of the text. NaN after a word that ends its text.
    """
    text = _Text(model, hook_point, ids, columns, words, once=once)
    step = max(1, min(batch_size, _LARGEST_LOGITS // (int(model.cfg.d_vocab) * len(ids))))
    parts: list[Tensor] = []
    before: Outputs | None = None
    with text.edited():
        for some in torch.cat([reference[None], vectors]).split(step):
            now = text.outputs(some)
            before = before or Outputs(now.log_probs[:1].clone(), now.odds[:1])
            kl = (before.log_probs.exp() * (before.log_probs - now.log_probs)).sum(-1)
            # A sum of rounded terms of both signs can come out below 0.
            kl, odds = kl.clamp(min=0), now.odds - before.odds
            # The mean over no place is NaN.
            found = [kl[:, 0], kl[:, 1:].mean(1), odds[:, 0], odds[:, 1:].mean(1)]
            parts.append(torch.stack(found, dim=1).cpu())
    return torch.cat(parts)[1:]


def reads_once(
    model: TransformerBridge,
    hook_point: str,
    ids: Int[Tensor, " token"],
    columns: Int[Tensor, " word_token"],
    vectors: Float[Tensor, "row word_token d_in"],
    words: WordLists,
) -> bool:
    """Whether one row can be read up to a hook point and become many there; it is tried out.

    Upstream promises no such thing. Most models follow the batch of the activation; some keep that of
    the token ids, and fail or say something else.

    Args:
        model: A hooked model.
        hook_point: Where vectors are added.
        ids: A text to try it on, prefix included.
        columns: The tokens of its word.
        vectors: What to add at them; rows that differ.
        words: The word lists.
    """
    if kind_of(hook_point) not in _WHOLE:
        return False
    found: list[Outputs] = []
    for once in (False, True):
        text = _Text(model, hook_point, ids, columns, words, once=once)
        try:
            with text.edited():
                found.append(text.outputs(vectors))
        except (RuntimeError, ValueError, IndexError):
            if not once:
                raise
            return False
    plain, shared = found
    return plain.log_probs.shape == shared.log_probs.shape and all(
        torch.allclose(one, other, atol=_SAME, rtol=_SAME)
        for one, other in ((plain.log_probs, shared.log_probs), (plain.odds, shared.odds))
    )


class _AtWord:
    """The edit of the forward pass under way: a vector for each row and token.

    Attributes:
        hook_point: Where they are added.
        vectors: `[row token d_in]`; None: the pass is left alone. A single row of the activation
            becomes as many as there are vectors.
    """

    needs_context = False

    def __init__(self, hook_point: str) -> None:
        self.hook_point = hook_point
        self.vectors: Tensor | None = None

    @property
    def reads(self) -> str:
        return self.hook_point

    def apply(
        self, activation: Tensor, where: Where = None, *, read: Tensor | None = None
    ) -> Tensor:
        if self.vectors is None:
            return activation
        rows = activation.expand(len(self.vectors), -1, -1).contiguous()
        return AddEach(self.hook_point, self.vectors).apply(rows, where)


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
        *,
        once: bool,
    ) -> None:
        self.model, self.ids, self.columns, self.words = model, ids, columns, words
        self.edit, self.once = _AtWord(hook_point), once
        layer = layer_of(hook_point) or 0
        # The keys and values of layers below stay those of one row.
        self.wide = (layer + (kind_of(hook_point) != "resid_pre")) if once else 0
        self.first, self.last, self.end = int(columns[0]), int(columns[-1]), len(ids) - 1
        self.before: Any = None
        self.keeps = bool(getattr(model.adapter, "supports_kv_cache", True))
        if self.keeps and self.first:
            head = ids[None, : self.first]
            with torch.no_grad():
                _, cache = forward(model, head, torch.ones_like(head), use_cache=True)
            # As for words after prompts: what cannot be cut cannot serve again.
            self.keeps = getattr(cache, "is_croppable", False) and not any(cache.is_sliding)
            self.before = cache if self.keeps else None

    @contextmanager
    def edited(self) -> Iterator[None]:
        """What `outputs` runs in."""
        with torch.no_grad(), applied(self.model, self.edit):
            yield

    def outputs(self, vectors: Float[Tensor, "row word_token d_in"]) -> Outputs:
        """What comes next where these vectors are added at the word."""
        rows = len(vectors)
        begin = self.first if self.before is not None else 0
        added = vectors.new_zeros(rows, len(self.ids) - begin, vectors.shape[-1])
        added[:, self.columns - begin] = vectors
        cache = None
        if self.before is not None:
            cache = copy.deepcopy(self.before)
            for layer in cache.layers[self.wide :]:
                layer.batch_repeat_interleave(rows)
        keep = len(self.ids) - self.last
        logits, cache = self._read(self.ids[begin:], len(self.ids), added, cache=cache, keep=keep)
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
        tail = torch.tensor(branch, device=self.ids.device)
        seen, keep = place + 1 + len(branch), len(branch)
        rows, _, width = added.shape
        nothing = added.new_zeros(rows, len(branch), width)
        if cache is not None:
            surplus = cache.get_seq_length() - (place + 1)
            if surplus:
                cache.crop(-surplus)
            logits, _ = self._read(tail, seen, nothing, cache=cache, keep=keep)
        else:
            joint = torch.cat([self.ids[: place + 1], tail])
            more = torch.cat([added[:, : place + 1], nothing], dim=1)
            logits, _ = self._read(joint, seen, more, keep=keep)
        return logits.float().log_softmax(-1)

    def _read(
        self,
        ids: Int[Tensor, " token"],
        seen: int,
        added: Float[Tensor, "row token d_in"],
        *,
        cache: Any = None,
        keep: int,
    ) -> tuple[Float[Tensor, "row keep vocabulary"], Any]:
        """Logits of the last `keep` tokens, and the cache where there is one to go on from."""
        rows = 1 if self.once else len(added)
        attention = torch.ones(rows, seen, dtype=torch.long, device=ids.device)
        self.edit.vectors = added
        logits, cache = forward(
            self.model,
            ids.expand(rows, -1),
            attention,
            use_cache=self.keeps,
            cache=cache,
            keep=keep,
        )
        return logits, cache if self.keeps else None
