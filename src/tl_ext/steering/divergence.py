"""What an edit does to text that has nothing to do with it: its side effects."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from tl_ext.interventions.applied import applied
from tl_ext.models.tokens import Batch, batch, listed
from tl_ext.steering.conditions import Condition, Group, grouped
from tl_ext.steering.decoding import Positions, rows_held
from tl_ext.steering.shared_layers import repeated, shares_layers

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

_LEAST = -1e4  # in place of minus infinity: a token that both models rule out counts 0, not NaN


def divergence_each(
    model: TransformerBridge,
    texts: Sequence[str],
    conditions: Sequence[Condition],
    *,
    positions: Positions = "all",
    batch_size: int = 64,
    progress: str | None = None,
) -> Float[Tensor, "condition text"]:
    """Mean divergence of the next-token distributions, KL(unsteered || steered), over a text's tokens.

    In this direction it is what the edit adds to the log-loss on text as the model itself would write
    it: a token the model finds likely and the edit rules out costs much, wherever the edited model
    would rather be. The model as it is reads each text once, whatever the number of conditions; many
    conditions share the layers below the first they change.

    Args:
        model: A hooked model.
        texts: Neutral texts, which the vectors were not made from.
        conditions: At least one; each the edits that act together, `()` for the model as it is.
        positions: "everything" edits prefix and first position too; under any other a neutral text is
            edited at all its other tokens, for it is neither prompt nor generated.
        batch_size: Rows, each a condition and a text, in a forward pass at most.
        progress: The label of a progress bar; None: no bar.

    Returns:
        Nats per token, 0 or more; NaN for a text that leaves no token once prefix and first position
        are out. Float32, on the CPU.

    Raises:
        InputError: No texts, one that does not fit the context, no conditions, or an `AddEach` among
            the edits.
    """
    texts = listed(texts)
    groups = grouped(conditions, torch.device(model.cfg.device or "cpu"))
    found = torch.empty(len(conditions), len(texts))
    order = sorted(range(len(texts)), key=lambda number: len(texts[number]))
    with (
        torch.no_grad(),
        tqdm(total=found.numel(), desc=progress, unit="text", disable=progress is None) as bar,
    ):
        longest = batch(model, [texts[order[-1]]])
        sharing = [shares_layers(model, group, longest.ids, cached=False) for group in groups]
        # A dictionary that needs context would take padding for context.
        alone = any(group.needs_context for group in groups) or any(sharing)
        start = 0
        while start < len(order):
            chosen = order[start : start + (1 if alone else batch_size)]
            tokens = batch(model, [texts[number] for number in chosen])
            held = rows_held(model, tokens.ids.shape[1])
            if held < len(chosen):
                chosen = chosen[:held]
                tokens = batch(model, [texts[number] for number in chosen])
            plain = _log_probs(model, tokens, 1)
            for group, shared in zip(groups, sharing, strict=True):
                size = max(1, min(held, batch_size) // len(chosen))
                for members in torch.arange(len(group.members)).split(size):
                    values = _divergence(model, tokens, plain, group, members, positions, shared)
                    rows = torch.tensor(group.members)[members]
                    found[rows[:, None], torch.tensor(chosen)] = values.cpu()
                    bar.update(values.numel())
            start += len(chosen)
    return found


def _log_probs(
    model: TransformerBridge, tokens: Batch, times: int
) -> Float[Tensor, "row token vocabulary"]:
    """Of the next token, for the texts `times` times over."""
    logits = model(tokens.ids.repeat(times, 1), attention_mask=tokens.mask.long().repeat(times, 1))
    log_probs: Tensor = logits.float().log_softmax(-1)
    log_probs.clamp_(min=_LEAST)
    return log_probs


def _divergence(
    model: TransformerBridge,
    tokens: Batch,
    plain: Float[Tensor, "text token vocabulary"],
    group: Group,
    members: Tensor,
    positions: Positions,
    shared: bool,
) -> Float[Tensor, "member text"]:
    edits = group.for_rows(members.repeat_interleave(len(tokens.ids)))
    cells = tokens.mask if positions == "everything" else tokens.content
    count = len(members)
    growing = repeated(model, group, count) if shared else nullcontext()
    with growing, applied(model, edits, cells.repeat(count, 1)):
        steered = _log_probs(model, tokens, 1 if shared else count)
    steered = steered.reshape(count, *tokens.ids.shape, -1)
    # The difference first, and in place: a small divergence is not the difference of large numbers.
    by_token = steered.sub_(plain).neg_().mul_(plain.exp()).sum(-1)
    counted = tokens.content
    sums: Tensor = by_token.masked_fill(~counted, 0).sum(-1)
    means: Tensor = (sums / counted.sum(-1)).clamp(min=0)
    return means
