"""How probable words are after a prompt, over all the tokens of each word."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from tqdm.auto import tqdm

from tl_ext.errors import InputError
from tl_ext.interventions.applied import applied, as_edits
from tl_ext.models.tokens import Batch, from_ids, prefix_ids
from tl_ext.steering.conditions import Condition, Group, grouped
from tl_ext.steering.decoding import Positions, edited_cells, forward

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


def word_log_probabilities(
    model: TransformerBridge,
    prompts: Sequence[str],
    continuations: Sequence[str],
    edits: Condition = (),
    *,
    positions: Positions = "all",
    batch_size: int = 64,
) -> Float[Tensor, "prompt continuation"]:
    """The log-probability of each continuation after each prompt, teacher-forced.

    A word of several tokens counts with all of them: after " he" a French "heureux" has hardly begun,
    and the token belongs to English as well.

    Args:
        model: A hooked model.
        prompts: At least one.
        continuations: At least one, with the space it begins with: `" heureux"`.
        edits: What acts; none for the model as it is.
        positions: Which tokens are edited, as for `steer`: those of a continuation are the generated
            ones.
        batch_size: Rows in a forward pass.

    Returns:
        Natural logarithms, float32, on the CPU.

    Raises:
        InputError: No prompts or continuations, or a continuation that changes how its prompt is
            tokenised, so that it has no tokens of its own.
    """
    return word_log_probabilities_each(
        model,
        prompts,
        continuations,
        [as_edits(edits)],
        positions=positions,
        batch_size=batch_size,
    )[0]


def word_log_probabilities_each(
    model: TransformerBridge,
    prompts: Sequence[str],
    continuations: Sequence[str],
    conditions: Sequence[Condition],
    *,
    positions: Positions = "all",
    batch_size: int = 64,
    progress: str | None = None,
) -> Float[Tensor, "condition prompt continuation"]:
    """The same under each of several conditions.

    A prompt is read once for each condition, with all conditions that only add vectors in one batch;
    its keys and values then serve all the continuations. Where a model keeps none that can be taken
    back (or an edit needs whole sequences), each continuation is read with its prompt.

    Args:
        model: A hooked model.
        prompts: At least one.
        continuations: At least one, with the space it begins with.
        conditions: At least one; each the edits that act together, `()` for the model as it is.
        positions: Which tokens are edited.
        batch_size: Rows in a forward pass.
        progress: The label of a progress bar; None: no bar.

    Returns:
        Natural logarithms, float32, on the CPU.

    Raises:
        InputError: As for `word_log_probabilities`; no conditions, or an `AddEach` among the edits.
    """
    asked = _Asked.of(model, prompts, continuations)
    device = torch.device(model.cfg.device or "cpu")
    found = torch.empty(len(conditions), len(asked.prompts), len(continuations))
    groups = grouped(conditions, device)
    with (
        torch.no_grad(),
        tqdm(total=found.numel(), desc=progress, unit="word", disable=progress is None) as bar,
    ):
        for group in groups:
            shared = getattr(model.adapter, "supports_kv_cache", True) and not group.needs_context
            for cells, values in _read(model, asked, group, positions, batch_size, shared):
                found[cells] = values
                bar.update(values.numel())
    return found


def log_odds(
    model: TransformerBridge,
    prompts: Sequence[str],
    positive: Sequence[str],
    negative: Sequence[str],
    edits: Condition = (),
    *,
    positions: Positions = "all",
    batch_size: int = 64,
) -> Float[Tensor, " prompt"]:
    """Log-odds, after each prompt, that the next word is one of `positive` rather than of `negative`.

    Args:
        model: A hooked model.
        prompts: At least one.
        positive: Continuations, each with its leading space.
        negative: Continuations, each with its leading space; none of them among the positive.
        edits: As for `word_log_probabilities`.
        positions: Which tokens are edited.
        batch_size: Rows in a forward pass.

    Returns:
        In nats: the log of the summed probability of one list less that of the other.

    Raises:
        InputError: As for `word_log_probabilities`, or a continuation in both lists.
    """
    return log_odds_each(
        model,
        prompts,
        positive,
        negative,
        [as_edits(edits)],
        positions=positions,
        batch_size=batch_size,
    )[0]


def log_odds_each(
    model: TransformerBridge,
    prompts: Sequence[str],
    positive: Sequence[str],
    negative: Sequence[str],
    conditions: Sequence[Condition],
    *,
    positions: Positions = "all",
    batch_size: int = 64,
    progress: str | None = None,
) -> Float[Tensor, "condition prompt"]:
    """The same under each of several conditions.

    Args:
        model: A hooked model.
        prompts: At least one.
        positive: Continuations, each with its leading space.
        negative: Continuations, each with its leading space; none of them among the positive.
        conditions: As for `word_log_probabilities_each`.
        positions: Which tokens are edited.
        batch_size: Rows in a forward pass.
        progress: The label of a progress bar; None: no bar.

    Returns:
        In nats.

    Raises:
        InputError: As for `word_log_probabilities_each`, or a continuation in both lists.
    """
    check_apart(positive, negative)
    found = word_log_probabilities_each(
        model,
        prompts,
        [*positive, *negative],
        conditions,
        positions=positions,
        batch_size=batch_size,
        progress=progress,
    )
    return odds_between(found, len(positive))


def check_apart(positive: Sequence[str], negative: Sequence[str]) -> None:
    """Two lists of words that share none.

    Raises:
        InputError: A continuation stands in both.
    """
    both = set(positive) & set(negative)
    if both:
        raise InputError(f"{', '.join(sorted(both))} stand in both lists.")


def odds_between(
    found: Float[Tensor, "*condition prompt continuation"], positive: int
) -> Float[Tensor, "*condition prompt"]:
    """Log-odds of the first `positive` continuations over the others, in nats."""
    return found[..., :positive].logsumexp(-1) - found[..., positive:].logsumexp(-1)


@dataclass(frozen=True)
class _Asked:
    """Token ids of the prompts, prefix included, and of what follows each."""

    head: int
    prompts: list[list[int]]
    words: list[list[list[int]]]

    @classmethod
    def of(
        cls, model: TransformerBridge, prompts: Sequence[str], continuations: Sequence[str]
    ) -> _Asked:
        for given in (prompts, continuations):
            if isinstance(given, str):
                raise InputError(f"A list is expected, not one string: pass [{given!r}].")
        if not prompts or not continuations:
            raise InputError(
                f"{len(prompts)} prompts and {len(continuations)} continuations were given; at least "
                "one of each is needed."
            )
        tokenizer, head = model.tokenizer, prefix_ids(model.tokenizer)
        begins, words = [], []
        for prompt in prompts:
            own = list(tokenizer(prompt, add_special_tokens=False)["input_ids"])
            joint = tokenizer([prompt + each for each in continuations], add_special_tokens=False)
            begins.append(head + own)
            words.append([list(ids)[len(own) :] for ids in joint["input_ids"]])
            for ids, word in zip(joint["input_ids"], continuations, strict=True):
                if list(ids)[: len(own)] != own or len(ids) == len(own):
                    raise InputError(
                        f"{word!r} after {prompt!r} has no tokens of its own: the tokenizer joins it "
                        "with the end of the prompt. Begin it with a space, or end the prompt earlier."
                    )
        return cls(len(head), begins, words)

    @property
    def longest(self) -> int:
        """Tokens of the longest prompt with its longest word."""
        return max(
            len(prompt) + max(map(len, words))
            for prompt, words in zip(self.prompts, self.words, strict=True)
        )


Cells = tuple[Int[Tensor, " row"], ...]
"""Condition and prompt of each row; where a row is one continuation, that as well."""


def _read(
    model: TransformerBridge,
    asked: _Asked,
    group: Group,
    positions: Positions,
    batch_size: int,
    shared: bool,
) -> Iterator[tuple[Cells, Tensor]]:
    """What was found, and where it belongs."""
    rows = torch.cartesian_prod(torch.arange(len(group.members)), torch.arange(len(asked.prompts)))
    lengths = torch.tensor([len(prompt) for prompt in asked.prompts])[rows[:, 1]]
    rows = rows[lengths.argsort(stable=True)]
    members = torch.tensor(group.members)
    if shared:
        for part in rows.split(batch_size):
            member, prompt = part.unbind(-1)
            values = _after_prompts(model, asked, group, positions, member, prompt)
            if values is None:
                break
            yield (members[member], prompt), values
        else:
            return
    words = torch.arange(len(asked.words[0]))
    every = torch.column_stack([rows.repeat_interleave(len(words), 0), words.repeat(len(rows))])
    # A dictionary that needs context would take padding for context.
    for part in every.split(1 if group.needs_context else batch_size):
        member, prompt, word = part.unbind(-1)
        values = _whole(model, asked, group, positions, member, prompt, word)
        yield (members[member], prompt, word), values


def _after_prompts(
    model: TransformerBridge,
    asked: _Asked,
    group: Group,
    positions: Positions,
    member: Int[Tensor, " row"],
    prompt: Int[Tensor, " row"],
) -> Float[Tensor, "row continuation"] | None:
    """Prompts read once, then every continuation; None where the model's cache cannot be cropped."""
    edits = group.for_rows(member)
    rows = [asked.prompts[one] for one in prompt.tolist()]
    tokens = from_ids(model, rows, prefix_length=asked.head, padding_side="left")
    on_prompt = edited_cells(tokens, positions)
    _check_context(model, asked)
    with applied(model, () if positions == "generated" else edits, on_prompt):
        logits, cache = forward(model, tokens.ids, tokens.mask.long(), use_cache=True)
    if not getattr(cache, "is_croppable", False) or any(cache.is_sliding):
        return None
    first = logits[:, -1].float().log_softmax(-1)
    return torch.stack(
        [
            _one_word(
                model,
                first,
                cache,
                tokens,
                () if positions == "prompt" else edits,
                [asked.words[one][number] for one in prompt.tolist()],
            )
            for number in range(len(asked.words[0]))
        ],
        dim=-1,
    ).cpu()


def _one_word(
    model: TransformerBridge,
    first: Float[Tensor, "row vocabulary"],
    cache: Any,
    tokens: Batch,
    edits: Sequence[Any],
    words: Sequence[Sequence[int]],
) -> Float[Tensor, " row"]:
    """One continuation after every prompt; the cache is left as it was."""
    ids, mask = _padded(words, tokens.ids)
    found = first.gather(-1, ids[:, :1]).squeeze(-1)
    more = ids.shape[1] - 1
    if not more:
        return found
    attention = torch.cat([tokens.mask, mask[:, :-1]], dim=1).long()
    with applied(model, edits, mask[:, :-1]):
        logits, _ = forward(model, ids[:, :-1], attention, use_cache=True, cache=cache, keep=more)
    cache.crop(-more)
    following = ids[:, 1:, None]
    logits = logits.float()
    log_probs = logits.gather(-1, following).squeeze(-1) - logits.logsumexp(-1)
    return found + log_probs.masked_fill(~mask[:, 1:], 0).sum(-1)


def _padded(
    words: Sequence[Sequence[int]], like: Tensor
) -> tuple[Int[Tensor, "row token"], Bool[Tensor, "row token"]]:
    width = max(map(len, words))
    ids = torch.tensor([[*word, *[0] * (width - len(word))] for word in words], device=like.device)
    counts = torch.tensor([len(word) for word in words], device=like.device)
    return ids, torch.arange(width, device=like.device) < counts[:, None]


def _whole(
    model: TransformerBridge,
    asked: _Asked,
    group: Group,
    positions: Positions,
    member: Int[Tensor, " row"],
    prompt: Int[Tensor, " row"],
    word: Int[Tensor, " row"],
) -> Float[Tensor, " row"]:
    """Each continuation with its prompt as one text."""
    pairs = list(zip(prompt.tolist(), word.tolist(), strict=True))
    rows = [asked.prompts[one] + asked.words[one][number] for one, number in pairs]
    tokens = from_ids(model, rows, prefix_length=asked.head)
    columns = torch.arange(tokens.ids.shape[1], device=tokens.ids.device)
    begin = torch.tensor([len(asked.prompts[one]) for one, _ in pairs], device=columns.device)
    new = tokens.mask & (columns >= begin[:, None])
    where = {
        "all": tokens.content | new,
        "prompt": tokens.content & ~new,
        "generated": new,
        "everything": tokens.mask,
    }[positions]
    with applied(model, group.for_rows(member), where):
        logits = model(tokens.ids, **tokens.forward_arguments())[:, :-1].float()
    following = tokens.ids[:, 1:, None]
    log_probs = logits.gather(-1, following).squeeze(-1) - logits.logsumexp(-1)
    sums: Tensor = log_probs.masked_fill(~new[:, 1:], 0).sum(-1)
    return sums.cpu()


def _check_context(model: TransformerBridge, asked: _Asked) -> None:
    context = int(model.cfg.n_ctx)
    if asked.longest > context:
        raise InputError(
            f"A prompt with its continuation has {asked.longest} tokens and the model's context holds "
            f"{context}. Shorten it."
        )
