"""Words after prompts, read by a model: a prompt once for all its words wherever the model allows it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tl_ext.errors import InputError
from tl_ext.interventions.applied import applied
from tl_ext.models.tokens import Batch, from_ids
from tl_ext.steering.conditions import Group
from tl_ext.steering.decoding import Positions, edited_cells, forward
from tl_ext.steering.shared_layers import repeated, shares_layers
from tl_ext.upstream import prefix_ids

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


@dataclass(frozen=True)
class Asked:
    """What is asked, as token ids.

    Attributes:
        head: How many ids of each prompt are prefix.
        prompts: Ids of each prompt, prefix included.
        words: For each prompt the ids of each continuation after it.
    """

    head: int
    prompts: list[list[int]]
    words: list[list[list[int]]]

    @classmethod
    def of(
        cls, model: TransformerBridge, prompts: Sequence[str], continuations: Sequence[str]
    ) -> Asked:
        """Tokenise prompts, and continuations after each of them.

        Raises:
            InputError: No prompts or continuations, or a continuation without tokens of its own.
        """
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


def read(
    model: TransformerBridge,
    asked: Asked,
    group: Group,
    positions: Positions,
    batch_size: int,
    shared: bool,
) -> Iterator[tuple[Cells, Tensor]]:
    """Log-probabilities under the conditions of a group, and where they belong.

    Args:
        model: A hooked model.
        asked: Prompts and continuations.
        group: The conditions.
        positions: Which tokens are edited.
        batch_size: Rows in a forward pass.
        shared: Whether a prompt may be read once for all its continuations.
    """
    rows = torch.cartesian_prod(torch.arange(len(group.members)), torch.arange(len(asked.prompts)))
    lengths = torch.tensor([len(prompt) for prompt in asked.prompts])[rows[:, 1]]
    rows = rows[lengths.argsort(stable=True)]
    members = torch.tensor(group.members)
    if shared and _one_row_will_do(model, asked, group):
        for prompt in range(len(asked.prompts)):
            for member in torch.arange(len(members)).split(batch_size):
                row = _after_one_prompt(model, asked, group, positions, member, prompt)
                yield (members[member], torch.full_like(member, prompt)), row
        return
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


def _one_row_will_do(model: TransformerBridge, asked: Asked, group: Group) -> bool:
    """Whether a prompt can be read as one row for all conditions, and its cache be cropped."""
    _check_context(model, asked)
    longest = max(asked.prompts, key=len)
    ids = torch.tensor([longest], device=model.cfg.device)
    if not shares_layers(model, group, ids, cached=True):
        return False
    _, cache = forward(model, ids, torch.ones_like(ids), use_cache=True)
    return _croppable(cache)


def _croppable(cache: Any) -> bool:
    return getattr(cache, "is_croppable", False) and not any(cache.is_sliding)


def _after_one_prompt(
    model: TransformerBridge,
    asked: Asked,
    group: Group,
    positions: Positions,
    member: Int[Tensor, " row"],
    prompt: int,
) -> Float[Tensor, "row continuation"]:
    """One prompt under many conditions, then what each continuation begins with, once."""
    tokens = from_ids(model, [asked.prompts[prompt]], prefix_length=asked.head)
    words = [tuple(word) for word in asked.words[prompt]]
    edits, count = group.for_rows(member), len(member)
    on_prompt = edited_cells(tokens, positions).repeat(count, 1)
    # After a beginning of a word: which tokens are asked for.
    wanted: dict[tuple[int, ...], list[int]] = {}
    for word in words:
        for place, token in enumerate(word):
            wanted.setdefault(word[:place], []).append(token)
    found: dict[tuple[int, ...], Tensor] = {}

    def look(beginning: tuple[int, ...], logits: Tensor) -> None:
        asked_for = wanted.pop(beginning, [])
        values = logits[:, asked_for].float() - logits.float().logsumexp(-1, keepdim=True)
        found.update(
            {(*beginning, token): values[:, place] for place, token in enumerate(asked_for)}
        )

    with (
        repeated(model, group, count),
        applied(model, () if positions == "generated" else edits, on_prompt),
    ):
        logits, cache = forward(model, tokens.ids, tokens.mask.long(), use_cache=True)
    look((), logits[:, -1].expand(count, -1))
    with repeated(model, group, count), applied(model, () if positions == "prompt" else edits):
        for beginning in sorted(wanted, key=len, reverse=True):
            if beginning not in wanted:
                continue  # a longer one began with it
            more = len(beginning)
            ids = torch.tensor([beginning], device=tokens.ids.device)
            attention = torch.cat([tokens.mask.long(), torch.ones_like(ids)], dim=1)
            logits, _ = forward(model, ids, attention, use_cache=True, cache=cache, keep=more)
            cache.crop(-more)
            for place in range(more):
                look(beginning[: place + 1], logits[:, place].expand(count, -1))
    sums = [sum(found[word[: place + 1]] for place in range(len(word))) for word in words]
    return torch.stack([torch.as_tensor(each) for each in sums], dim=-1).cpu()


def _after_prompts(
    model: TransformerBridge,
    asked: Asked,
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
    if not _croppable(cache):
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
    asked: Asked,
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


def _check_context(model: TransformerBridge, asked: Asked) -> None:
    context = int(model.cfg.n_ctx)
    if asked.longest > context:
        raise InputError(
            f"A prompt with its continuation has {asked.longest} tokens and the model's context holds "
            f"{context}. Shorten it."
        )
