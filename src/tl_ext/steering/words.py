"""How probable words are after a prompt, over all the tokens of each word."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from tl_ext.errors import InputError
from tl_ext.interventions.applied import applied
from tl_ext.interventions.edits import Edit
from tl_ext.models.tokens import from_ids, prefix_ids

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


def word_log_probabilities(
    model: TransformerBridge,
    prompts: Sequence[str],
    continuations: Sequence[str],
    edits: Edit | Sequence[Edit] = (),
    *,
    batch_size: int = 64,
) -> Float[Tensor, "prompt continuation"]:
    """The log-probability of each continuation after each prompt, teacher-forced.

    A word of several tokens counts with all of them: after " he" a French "heureux" has hardly begun,
    and the token belongs to English as well.

    Args:
        model: A hooked model.
        prompts: At least one.
        continuations: At least one, with the space it begins with: `" heureux"`.
        edits: Act at every token of prompt and continuation but the prefix and the first position.
        batch_size: Rows, a prompt with a continuation each, in a forward pass.

    Returns:
        Natural logarithms, float32, on the CPU.

    Raises:
        InputError: No prompts or continuations, or a continuation that changes how its prompt is
            tokenised, so that it has no tokens of its own.
    """
    if not prompts or not continuations:
        raise InputError(
            f"{len(prompts)} prompts and {len(continuations)} continuations were given; at least one "
            "of each is needed."
        )
    tokenizer, head = model.tokenizer, prefix_ids(model.tokenizer)
    rows, begins = [], []
    for prompt in prompts:
        own = list(tokenizer(prompt, add_special_tokens=False)["input_ids"])
        for continuation in continuations:
            joint = list(tokenizer(prompt + continuation, add_special_tokens=False)["input_ids"])
            if joint[: len(own)] != own or len(joint) == len(own):
                raise InputError(
                    f"{continuation!r} after {prompt!r} has no tokens of its own: the tokenizer joins "
                    "it with the end of the prompt. Begin it with a space, or end the prompt earlier."
                )
            rows.append(head + joint)
            begins.append(len(head) + len(own))
    found = torch.empty(len(rows))
    order = sorted(range(len(rows)), key=lambda row: len(rows[row]))
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        tokens = from_ids(model, [rows[row] for row in chosen], prefix_length=len(head))
        with torch.no_grad(), applied(model, edits, tokens.content):
            logits = model(tokens.ids, **tokens.forward_arguments())[:, :-1].float()
        following = tokens.ids[:, 1:]
        log_probs = logits.gather(-1, following[..., None]).squeeze(-1) - logits.logsumexp(-1)
        columns = torch.arange(following.shape[1], device=following.device) + 1
        begin = torch.tensor([begins[row] for row in chosen], device=following.device)
        counted = tokens.mask[:, 1:] & (columns >= begin[:, None])
        found[chosen] = (log_probs * counted).sum(-1).cpu()
    return found.reshape(len(prompts), len(continuations))


def log_odds(
    model: TransformerBridge,
    prompts: Sequence[str],
    positive: Sequence[str],
    negative: Sequence[str],
    edits: Edit | Sequence[Edit] = (),
    *,
    batch_size: int = 64,
) -> Float[Tensor, " prompt"]:
    """Log-odds, after each prompt, that the next word is one of `positive` rather than of `negative`.

    Args:
        model: A hooked model.
        prompts: At least one.
        positive: Continuations, each with its leading space.
        negative: Continuations, each with its leading space; none of them among the positive.
        edits: As for `word_log_probabilities`.
        batch_size: Rows in a forward pass.

    Returns:
        In nats: the log of the summed probability of one list less that of the other.

    Raises:
        InputError: As for `word_log_probabilities`, or a continuation in both lists.
    """
    both = set(positive) & set(negative)
    if both:
        raise InputError(f"{', '.join(sorted(both))} stand in both lists.")
    found = word_log_probabilities(
        model, prompts, [*positive, *negative], edits, batch_size=batch_size
    )
    return found[:, : len(positive)].logsumexp(-1) - found[:, len(positive) :].logsumexp(-1)
