"""How far a latent can move what the model says: a score to choose latents by, before steering.

A latent that fires on a word need not make the model say anything. Its output score is measured as in
the code published with the paper: the latent is amplified at the last token of a neutral prompt, by
ten times the largest activation any latent has there, and of the twenty tokens its direction raises
most (its logit lens) the best is looked at: `(1 - rank / vocabulary) * probability`, rank counted from
0. It is high where the latent makes the model say what its direction points at.

Where this departs from it: several prompts instead of one, and their mean; the logit lens sees the
direction alone, without biases, and directions at hook_z reach it through W_O (see
[`logit_lens`][tl_ext.dictionaries.logit_lens]); the same score without the amplification stands beside
it, for tokens that are likely anyway give every latent that points at them a score; so does `kl`, how
far the whole distribution moves, whatever towards.

Source: Arad, Mueller and Belinkov 2025, SAEs Are Good for Steering - If You Select the Right Features
(arXiv 2505.20063).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from tqdm.auto import tqdm

from tl_ext.activations.capture import run
from tl_ext.dictionaries.logit_lens import lens_tokens
from tl_ext.errors import InputError
from tl_ext.interventions.applied import applied
from tl_ext.interventions.edits import AddEach
from tl_ext.models.predicting import check_predicts
from tl_ext.models.token_bytes import token_bytes
from tl_ext.models.tokens import Batch, batch, listed

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

    from tl_ext.dictionaries.dictionary import Dictionary

PROMPTS = ("From my experience,", "I think that", "It is well known that", "This is the story of")
"""Neutral beginnings; the first is the paper's."""

AMPLIFICATION = 10.0
TOP = 20
NAMED = 5  # top tokens in the table

_LARGEST_LOGITS = 2**24  # numbers held at once: 64 MiB


def output_scores(
    model: TransformerBridge,
    dictionary: Dictionary,
    latents: Sequence[int] | Int[Tensor, " latent"],
    *,
    prompts: Sequence[str] = PROMPTS,
    amplification: float = AMPLIFICATION,
    top: int = TOP,
    batch_size: int = 64,
    progress: str | None = None,
) -> pd.DataFrame:
    """How far latents can move the output, many in one forward pass.

    Args:
        model: The model the dictionary belongs to.
        dictionary: Any whose `hook_out` can be edited.
        latents: Which latents.
        prompts: Neutral texts; the last token of each is where the latent is amplified and the next
            token is looked at.
        amplification: How many times the largest activation of any latent at that token is added to the
            latent's.
        top: How many tokens of the logit lens are looked at.
        batch_size: Rows, each a latent and a prompt, in a forward pass.
        progress: The label of a progress bar; None: no bar.

    Returns:
        A row per latent, in the order given: `latent`; `output_score`, in [0, 1], mean over prompts, NaN
        where the direction has no logit lens; `unsteered_score`, the same without the latent;
        `kl`, KL(unsteered || steered) of the next token in nats, mean over prompts; `length`, how long
        the vector added is on average; `top_tokens`, the first of the logit lens.

    Raises:
        InputError: No latents or prompts, a latent the dictionary lacks, a prompt without a token but
            the first position, an amplification or top that is no positive number, or a model that
            predicts no next token.
        HookPointError: A hook point that the model lacks or that cannot be edited.
        DictionaryError: A dictionary of another width.
    """
    wanted = _checked(dictionary, latents, amplification, top)
    check_predicts(model, "output score")
    tokens = batch(model, listed(prompts))
    last = _last_cells(tokens, prompts)
    size = _unit_lengths(model, dictionary, tokens, last) * amplification
    lens = lens_tokens(model, dictionary, wanted, k=top)
    named = token_bytes(model.tokenizer, lens.top[lens.top >= 0].tolist())
    directions = dictionary.directions[wanted.to(dictionary.directions.device)].detach().float()
    plain = _next_log_probs(model, tokens, last)
    of_lens, known = lens.top.long().clamp(min=0), (lens.top >= 0).any(-1)
    found = {name: torch.empty(len(wanted)) for name in ("output", "unsteered", "kl")}
    held = max(1, _LARGEST_LOGITS // (tokens.ids.numel() * int(model.cfg.d_vocab)))
    step = max(1, min(held, batch_size // len(prompts)))
    with tqdm(total=len(wanted), desc=progress, unit="latent", disable=progress is None) as bar:
        for start in range(0, len(wanted), step):
            some = slice(start, start + step)
            count = len(wanted[some])
            vectors = directions[some, None] * size.to(directions)[:, None]
            steered = _next_log_probs(
                model,
                _repeated(tokens, count),
                last.repeat(count, 1),
                AddEach(dictionary.hook_out, vectors.flatten(0, 1)),
            ).reshape(count, len(prompts), -1)
            ids = of_lens[some].to(steered.device)
            found["output"][some] = _scores(steered, ids).mean(-1).cpu()
            found["unsteered"][some] = _scores(plain.expand_as(steered), ids).mean(-1).cpu()
            moved = (plain.exp() * (plain - steered)).sum(-1).clamp(min=0)
            found["kl"][some] = moved.mean(-1).cpu()
            bar.update(count)
    lengths = directions.norm(dim=-1).cpu() * float(size.mean())
    return pd.DataFrame(
        {
            "latent": wanted.numpy(),
            "output_score": found["output"].where(known, math.nan).numpy(),
            "unsteered_score": found["unsteered"].where(known, math.nan).numpy(),
            "kl": found["kl"].numpy(),
            "length": lengths.numpy(),
            "top_tokens": [
                [named[id].decode("utf-8", "replace") for id in row if id >= 0]
                for row in lens.top[:, :NAMED].tolist()
            ],
        }
    )


def _checked(
    dictionary: Dictionary, latents: Sequence[int] | Tensor, amplification: float, top: int
) -> Int[Tensor, " latent"]:
    wanted = torch.as_tensor(latents, dtype=torch.long).reshape(-1).cpu()
    wrong = wanted[(wanted < 0) | (wanted >= dictionary.d_latent)].tolist()
    if not len(wanted) or wrong:
        raise InputError(
            f"Latents of {dictionary.id!r} are expected, 0 to {dictionary.d_latent - 1}; "
            + (f"{wrong} are none." if wrong else "an empty list was given.")
        )
    if not (math.isfinite(amplification) and amplification > 0 and top >= 1):
        raise InputError(
            f"amplification is {amplification} and top is {top}; positive numbers are expected."
        )
    return wanted


def _last_cells(tokens: Batch, prompts: Sequence[str]) -> Bool[Tensor, "text token"]:
    """True at the last token of each prompt."""
    columns = torch.arange(tokens.ids.shape[1], device=tokens.ids.device)
    last = columns == (tokens.offset + tokens.lengths - 1)[:, None]
    bad = (~(last & tokens.content).any(-1)).nonzero().flatten().tolist()
    if bad:
        raise InputError(
            f"The prompt {prompts[bad[0]]!r} has no token besides the first position, at which nothing "
            "is measured. Give a longer one."
        )
    return last


def _unit_lengths(
    model: TransformerBridge,
    dictionary: Dictionary,
    tokens: Batch,
    last: Bool[Tensor, "text token"],
) -> Float[Tensor, " text"]:
    """What the largest activation of any latent at the last token is, in the activation's own space."""
    read = run(model, tokens, dictionary.hook_in)[dictionary.hook_in]
    if dictionary.needs_context:
        # One text at a time: padding is no context.
        parts = [
            (dictionary.encode(row[None, mask])[:, -1], dictionary.statistics(row[None, mask]))
            for row, mask in zip(read, tokens.mask, strict=True)
        ]
        latents = torch.cat([latents for latents, _ in parts])
        scales = [None if one is None else one[:, -1].scale for _, one in parts]
        scale = None if scales[0] is None else torch.cat([one for one in scales if one is not None])
    else:
        latents, statistics = dictionary.encode(read[last]), dictionary.statistics(read[last])
        scale = None if statistics is None else statistics.scale
    largest = latents.float().amax(-1)
    # A dictionary that normalises its input points in its own space: a unit there is this long here.
    return largest if scale is None else largest * scale.float().reshape(-1)


def _repeated(tokens: Batch, times: int) -> Batch:
    return Batch(
        ids=tokens.ids.repeat(times, 1),
        mask=tokens.mask.repeat(times, 1),
        positions=tokens.positions.repeat(times, 1),
        offset=tokens.offset.repeat(times),
    )


def _next_log_probs(
    model: TransformerBridge, tokens: Batch, last: Bool[Tensor, "text token"], *edits: AddEach
) -> Float[Tensor, "text vocabulary"]:
    with torch.no_grad(), applied(model, edits, last):
        logits = model(tokens.ids, **tokens.forward_arguments())
    log_probs: Tensor = logits[last].float().log_softmax(-1)
    return log_probs.clamp(min=-1e4)  # minus infinity twice is no difference


def _scores(
    log_probs: Float[Tensor, "latent prompt vocabulary"], ids: Int[Tensor, "latent k"]
) -> Float[Tensor, "latent prompt"]:
    """Of the best of each latent's tokens: its probability, less the more tokens stand above it."""
    best = log_probs.gather(-1, ids[:, None].expand(-1, log_probs.shape[1], -1)).amax(-1)
    rank = (log_probs > best[..., None]).sum(-1)
    scores: Tensor = (1 - rank / log_probs.shape[-1]) * best.exp()
    return scores
