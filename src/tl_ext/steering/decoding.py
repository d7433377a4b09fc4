"""One batch written token by token, with the KV cache on, and what the model as it is thinks of it."""

from __future__ import annotations

import inspect
import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tl_ext.errors import InputError
from tl_ext.interventions.applied import applied
from tl_ext.interventions.edits import Edit
from tl_ext.models.tokens import Batch
from tl_ext.steering.sampling import Sampler

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

Positions = Literal["all", "prompt", "generated", "everything"]

# Logits held at once where every token's are needed. A processor is fastest while they stay near its
# caches (16 MiB), an accelerator with many rows (256 MiB).
_HELD, _HELD_BY_ACCELERATOR = 2**22, 2**26


@dataclass
class Written:
    """One batch of continuations, on the model's device."""

    ids: Int[Tensor, "row token"]
    mask: Bool[Tensor, "row token"]
    steered: Float[Tensor, "row new"]


def write(
    model: TransformerBridge,
    tokens: Batch,
    edits: Sequence[Edit],
    *,
    max_new_tokens: int,
    positions: Positions,
    use_cache: bool,
    sampler: Sampler,
    noise: Float[Tensor, "row new"] | None,
    stops: Int[Tensor, " stop"],
) -> Written:
    """Continue one batch, padded on the left.

    Args:
        model: A hooked model.
        tokens: The prompts.
        edits: What acts on them.
        max_new_tokens: How many tokens to write at most.
        positions: Which tokens are edited.
        use_cache: Whether keys and values are kept between tokens.
        sampler: Draws the tokens.
        noise: One number in [0, 1) for each row and new token; None: the most likely token each time.
        stops: Token ids that end a continuation.

    Raises:
        InputError: Logits that are NaN or infinite.
    """
    width = tokens.ids.shape[1]
    count = len(tokens.ids)
    shape = (count, max_new_tokens)
    ids = torch.cat([tokens.ids, tokens.ids.new_full(shape, filler(model))], dim=1)
    mask = torch.cat([tokens.mask, tokens.mask.new_zeros(shape)], dim=1)
    steered = torch.full(shape, math.nan, device=ids.device)
    running = torch.ones(count, dtype=torch.bool, device=ids.device)
    steps = _logits(model, ids, tokens, edits, max_new_tokens, positions, use_cache)
    try:
        for step, logits in enumerate(steps):
            uniform = None if noise is None else noise[:, step]
            token, log_prob = sampler(logits.float(), uniform)
            _check(log_prob, running, step, edits)
            column = width + step
            # `ids` is what the next step reads: the generator below shares it.
            ids[:, column] = torch.where(running, token, ids[:, column])
            mask[:, column] = running
            steered[:, step] = torch.where(running, log_prob, steered[:, step])
            if len(stops):
                running = running & ~torch.isin(token, stops)
                if not bool(running.any()):
                    break
    finally:
        steps.close()
    return Written(ids, mask, steered)


def edited_cells(tokens: Batch, positions: Positions) -> Bool[Tensor, "row token"]:
    """Which tokens of the prompts are edited."""
    return {
        "all": tokens.content,
        "prompt": tokens.content,
        "generated": torch.zeros_like(tokens.mask),
        "everything": tokens.mask,
    }[positions]


def _check(
    log_prob: Float[Tensor, " row"], running: Bool[Tensor, " row"], step: int, edits: Sequence[Edit]
) -> None:
    # A single logit of minus infinity only rules its token out; this is of the one that was drawn.
    bad = running & ~log_prob.isfinite()
    if bool(bad.any()):
        cause = (
            "an edit that is too strong, or weights that are not finite"
            if edits
            else "weights that are not finite"
        )
        raise InputError(
            f"The model's logits for new token {step} are NaN or infinite in {int(bad.sum())} of "
            f"{len(bad)} rows, so no token can be drawn. Look for {cause}."
        )


def _logits(
    model: TransformerBridge,
    ids: Int[Tensor, "row token"],
    tokens: Batch,
    edits: Sequence[Edit],
    max_new_tokens: int,
    positions: Positions,
    use_cache: bool,
) -> Generator[Float[Tensor, "row vocabulary"]]:
    """The edited model's logits for each new token; between two, the caller writes it into `ids`."""
    width = tokens.ids.shape[1]
    new = tokens.mask.new_ones((len(ids), max_new_tokens))
    # Rows that have stopped go on being read, and nobody looks at what they write.
    attention = torch.cat([tokens.mask, new], dim=1).long()
    on_prompt = edited_cells(tokens, positions)
    prompt_edits = () if positions == "generated" else edits
    new_edits = () if positions == "prompt" else edits

    with applied(model, prompt_edits, on_prompt):
        logits, cache = forward(model, ids[:, :width], attention[:, :width], use_cache=use_cache)
    yield logits[:, -1]
    if use_cache and cache is not None:
        with applied(model, new_edits):
            for end in range(width + 1, width + max_new_tokens):
                logits, cache = forward(
                    model, ids[:, end - 1 : end], attention[:, :end], use_cache=True, cache=cache
                )
                yield logits[:, -1]
        return
    where = torch.cat([on_prompt, new if new_edits else ~new], dim=1)
    for end in range(width + 1, width + max_new_tokens):
        with applied(model, edits, where[:, :end]):
            logits, _ = forward(model, ids[:, :end], attention[:, :end], use_cache=False)
        yield logits[:, -1]


def forward(
    model: TransformerBridge,
    ids: Int[Tensor, "row token"],
    attention: Int[Tensor, "row all"],
    *,
    use_cache: bool,
    cache: Any = None,
    keep: int = 1,
) -> tuple[Float[Tensor, "row keep vocabulary"], Any]:
    """Logits of the last tokens, and the cache; upstream derives the positions from the mask."""
    options: dict[str, Any] = {"use_cache": use_cache}
    if cache is not None:
        options["past_key_values"] = cache
    if ids.shape[1] > 1 and keeps_logits(model):
        options["logits_to_keep"] = keep
    logits, cache = model(ids, return_type="logits_and_cache", attention_mask=attention, **options)
    return logits[:, -keep:], cache


def unsteered_log_probs(
    model: TransformerBridge,
    ids: Int[Tensor, "row token"],
    mask: Bool[Tensor, "row token"],
    width: int,
    batch_size: int,
) -> Float[Tensor, "row new"]:
    """Log-probabilities of what was written, under the model as it is; on the CPU.

    A text that was written under several conditions is read once.

    Args:
        model: A hooked model.
        ids: Prompts, padded on the left, and continuations, on the CPU.
        mask: True where there is a token.
        width: How many columns belong to prompts.
        batch_size: Rows in a forward pass at most.
    """
    texts, inverse = torch.unique(ids.masked_fill(~mask, -1), dim=0, return_inverse=True)
    real = texts >= 0
    count = ids.shape[1] - width
    held = count if keeps_logits(model) else ids.shape[1]
    size = max(1, min(batch_size, rows_held(model, held)))
    found = torch.full((len(texts), count), math.nan)
    for chosen in real.sum(-1).argsort().split(size):
        here = real[chosen]
        columns = here.any(0).nonzero().flatten()
        begin, end = int(columns[0]), int(columns[-1]) + 1
        new = end - width
        row_ids = texts[chosen, begin:end].clamp(min=0).to(model.cfg.device)
        attention = here[:, begin:end].to(row_ids)
        keep = {"logits_to_keep": new} if keeps_logits(model) else {}
        # The last token is judged and never read.
        logits = model(row_ids[:, :-1], attention_mask=attention[:, :-1], **keep)[:, -new:].float()
        following = row_ids[:, -new:, None]
        log_probs = logits.gather(-1, following).squeeze(-1) - logits.logsumexp(-1)
        found[chosen, :new] = log_probs.cpu()
    return found.masked_fill(~real[:, width:], math.nan)[inverse]


def rows_held(model: TransformerBridge, tokens: int) -> int:
    """How many rows of so many tokens to read in one pass that gives every token's logits; 1 or more."""
    on_cpu = torch.device(model.cfg.device or "cpu").type == "cpu"
    held = _HELD if on_cpu else _HELD_BY_ACCELERATOR
    return max(1, held // (tokens * int(model.cfg.d_vocab)))


def keeps_logits(model: TransformerBridge) -> bool:
    """Whether the model can leave out logits nobody asked for."""
    return "logits_to_keep" in inspect.signature(model.original_model.forward).parameters


def filler(model: TransformerBridge) -> int:
    # Any id does where the mask is right.
    padding = model.tokenizer.pad_token_id
    return 0 if padding is None else int(padding)
