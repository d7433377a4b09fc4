"""How probable words are after a prompt, over all the tokens of each word."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from tl_ext.errors import InputError
from tl_ext.interventions.applied import as_edits
from tl_ext.steering.conditions import Condition, grouped
from tl_ext.steering.decoding import Positions
from tl_ext.steering.forced import Asked, read

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

WITHOUT_SPACES = ("zh", "ja", "th")
"""Languages that write no spaces between words."""


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

    A prompt is read once for each condition, with all conditions that only add vectors in one batch
    and, where they are many, only once below the first layer they change; its keys and values then
    serve all the continuations. Where a model keeps none that can be taken
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
    asked = Asked.of(model, prompts, continuations)
    device = torch.device(model.cfg.device or "cpu")
    found = torch.empty(len(conditions), len(asked.prompts), len(continuations))
    groups = grouped(conditions, device)
    with (
        torch.no_grad(),
        tqdm(total=found.numel(), desc=progress, unit="word", disable=progress is None) as bar,
    ):
        for group in groups:
            shared = getattr(model.adapter, "supports_kv_cache", True) and not group.needs_context
            for cells, values in read(model, asked, group, positions, batch_size, shared):
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


def as_continuations(words: Sequence[str], language: str) -> list[str]:
    """Words as they follow a prompt: with a space before each where the language writes one.

    Args:
        words: Bare words.
        language: An ISO 639-1 code.
    """
    space = "" if language in WITHOUT_SPACES else " "
    return [space + word for word in words]


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
