"""Generate text while edits act, at every token, with the KV cache on.

Upstream's `generate` runs hooks too, but with the cache a decode step is one token long, so a mask
over the prompt's positions no longer fits and code that spares "the first position" spares every new
token. Here the prompt and the new tokens are two phases with edits of their own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch import Tensor
from tqdm.auto import tqdm

from tl_ext.errors import InputError
from tl_ext.interventions.applied import as_edits
from tl_ext.interventions.edits import Edit
from tl_ext.models.tokens import Batch, batch
from tl_ext.steering.conditions import Condition, Group, grouped
from tl_ext.steering.decoding import (
    Positions,
    Written,
    filler,
    unsteered_log_probs,
    write,
)
from tl_ext.steering.generations import Generations
from tl_ext.steering.sampling import Sampler, noise_of

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

LogProbs = Literal["both", "steered"]


def steer(
    model: TransformerBridge,
    prompts: Sequence[str],
    edits: Edit | Sequence[Edit] = (),
    *,
    max_new_tokens: int = 24,
    samples: int = 1,
    temperature: float = 1.0,
    top_k: int | None = None,
    seed: int = 0,
    positions: Positions = "all",
    batch_size: int = 64,
    use_cache: bool = True,
    stop_ids: Sequence[int] | None = None,
    log_probs: LogProbs = "both",
    progress: str | None = None,
) -> Generations:
    """Continue prompts while edits act.

    A row's noise depends on the seed, its prompt and its sample number alone, one number a token. So
    results do not depend on the batch size or on the other prompts, the same seed under other edits
    gives samples that can be compared in pairs, and a prompt that is given twice is sampled anew.

    Args:
        model: A hooked model.
        prompts: At least one text.
        edits: What acts; none for the model as it is.
        max_new_tokens: How many tokens to write at most.
        samples: Continuations of each prompt.
        temperature: Divides the logits; 0 takes the most likely token each time.
        top_k: Sample from this many most likely tokens; None: from all.
        seed: Seed of the noise, 0 or more.
        positions: Which tokens are edited, as they are read: "all", those of the prompt and the new
            ones; "prompt"; "generated", the new ones, so that the first of them, written from the
            prompt alone, is the unedited model's; these three spare prefix and first position.
            "everything" spares only padding.
        batch_size: Rows in a forward pass.
        use_cache: Keep keys and values between tokens. False reads the whole text again for each
            token: slow, the same result.
        stop_ids: Token ids that end a continuation; None: the model's end-of-sequence tokens; `()`:
            none.
        log_probs: "both" adds one forward pass of the unedited model over the result; "steered"
            leaves that out.
        progress: The label of a progress bar; None: no bar.

    Returns:
        The continuations, in the order of the prompts and their samples.

    Raises:
        InputError: No prompts, one that does not fit the context with its new tokens, options out of
            range, a model that does not generate, or logits that are NaN or infinite.
        HookPointError: A hook point the model lacks, that cannot be edited, or that never fired.

    Example:
        ```python
        happy = latent_vector(dictionary, 2392, background)
        steer(model, ["I think that"], happy.at(2.0), samples=3)
        ```
    """
    return steer_each(
        model,
        prompts,
        [as_edits(edits)],
        max_new_tokens=max_new_tokens,
        samples=samples,
        temperature=temperature,
        top_k=top_k,
        seed=seed,
        positions=positions,
        batch_size=batch_size,
        use_cache=use_cache,
        stop_ids=stop_ids,
        log_probs=log_probs,
        progress=progress,
    )[0]


def steer_each(
    model: TransformerBridge,
    prompts: Sequence[str],
    conditions: Sequence[Condition],
    *,
    max_new_tokens: int = 24,
    samples: int = 1,
    temperature: float = 1.0,
    top_k: int | None = None,
    seed: int = 0,
    positions: Positions = "all",
    batch_size: int = 64,
    use_cache: bool = True,
    stop_ids: Sequence[int] | None = None,
    log_probs: LogProbs = "both",
    progress: str | None = None,
) -> list[Generations]:
    """Continue prompts under each of several conditions, in shared forward passes where that is possible.

    The same as calling `steer` once for each. Conditions that only add vectors (and none at all) share
    batches, each row with its own vector; any other condition has batches of its own. A prompt's
    sample has the same noise under every condition, so differences are paired.

    Args:
        model: A hooked model.
        prompts: At least one text.
        conditions: At least one; each the edits that act together, `()` for the model as it is.
        max_new_tokens: As for `steer`, and so all that follow.
        samples: Continuations of each prompt under each condition.
        temperature: Divides the logits; 0 takes the most likely token each time.
        top_k: Sample from this many most likely tokens; None: from all.
        seed: Seed of the noise.
        positions: Which tokens are edited.
        batch_size: Rows, each a condition, a prompt and a sample, in a forward pass.
        use_cache: Keep keys and values between tokens.
        stop_ids: Token ids that end a continuation.
        log_probs: "both" adds forward passes of the unedited model over all that was written; a text
            that several conditions wrote is read once.
        progress: The label of a progress bar; None: no bar.

    Returns:
        For each condition its continuations, in the order of the prompts and their samples.

    Raises:
        InputError: As for `steer`; no conditions, or an `AddEach` among the edits.
        HookPointError: As for `steer`.
    """
    prompts = _check_prompts(prompts)
    stops = _stop_ids(model) if stop_ids is None else [int(each) for each in stop_ids]
    settings = {
        "max_new_tokens": max_new_tokens,
        "samples": samples,
        "temperature": temperature,
        "top_k": top_k,
        "seed": seed,
        "positions": positions,
        "stop_ids": stops,
    }
    _check_settings(settings, batch_size, log_probs)
    device = torch.device(model.cfg.device or "cpu")
    groups = grouped(conditions, device)
    several = [as_edits(condition) for condition in conditions]
    _check_model(model, groups, use_cache)
    noise = None
    if temperature > 0:
        noise = torch.from_numpy(noise_of(prompts, samples, max_new_tokens, seed)).to(device)
    options: dict[str, Any] = {
        "max_new_tokens": max_new_tokens,
        "positions": positions,
        "use_cache": use_cache and getattr(model.adapter, "supports_kv_cache", True),
        "sampler": Sampler(temperature=temperature, top_k=top_k),
        "stops": torch.tensor(stops, dtype=torch.long, device=device),
    }
    each = len(prompts) * samples
    table = _Table(model, len(several) * each, max_new_tokens)
    batched = getattr(model.adapter, "supports_batched_generation", True)
    with (
        torch.no_grad(),
        tqdm(total=len(table), desc=progress, unit="text", disable=progress is None) as bar,
    ):
        for group in groups:
            # Row: condition, prompt, sample, the last the fastest; those of like length together.
            rows = torch.tensor(group.members).repeat_interleave(each) * each
            rows += torch.arange(each).repeat(len(group.members))
            lengths = torch.tensor([len(prompt) for prompt in prompts])[rows % each // samples]
            place = {member: number for number, member in enumerate(group.members)}
            # A dictionary that needs context would take padding for context.
            size = batch_size if batched and not group.needs_context else 1
            for chosen in rows[lengths.argsort(stable=True)].split(size):
                texts = [prompts[row % each // samples] for row in chosen.tolist()]
                tokens = batch(model, texts, padding_side="left")
                _check_context(model, tokens, max_new_tokens)
                member = torch.tensor([place[row // each] for row in chosen.tolist()])
                own = None if noise is None else noise[(chosen % each).to(device)]
                edits = group.for_rows(member)
                table.fill(chosen, write(model, tokens, edits, noise=own, **options))
                bar.update(len(chosen))
        unsteered = None
        if log_probs == "both":
            unsteered = table.steered.clone()
            edited = [number for number, edits in enumerate(several) if edits]
            if edited:
                rows = (torch.tensor(edited)[:, None] * each + torch.arange(each)).flatten()
                unsteered[rows] = unsteered_log_probs(
                    model,
                    table.ids[rows],
                    table.mask[rows],
                    table.width,
                    batch_size if batched else 1,
                )
    return [
        table.generations(
            slice(number * each, (number + 1) * each),
            prompts,
            samples,
            unsteered,
            {"edits": [str(edit) for edit in edits], **settings},
        )
        for number, edits in enumerate(several)
    ]


class _Table:
    """Batches of different widths as one table of tokens, in the order of the rows; on the CPU."""

    def __init__(self, model: TransformerBridge, rows: int, new: int) -> None:
        self.model, self.new, self.width = model, new, 0
        self.ids = torch.full((rows, new), filler(model))
        self.mask = torch.zeros((rows, new), dtype=torch.bool)
        self.steered = torch.full((rows, new), math.nan)

    def __len__(self) -> int:
        return len(self.ids)

    def fill(self, rows: Tensor, written: Written) -> None:
        more = written.ids.shape[1] - self.ids.shape[1]
        if more > 0:
            shape = (len(self), more)
            self.ids = torch.cat([torch.full(shape, filler(self.model)), self.ids], dim=1)
            self.mask = torch.cat([torch.zeros(shape, dtype=torch.bool), self.mask], dim=1)
        begin = self.ids.shape[1] - written.ids.shape[1]
        self.ids[rows, begin:] = written.ids.cpu()
        self.mask[rows, begin:] = written.mask.cpu()
        self.steered[rows] = written.steered.cpu()
        self.width = self.ids.shape[1] - self.new

    def generations(
        self,
        rows: slice,
        prompts: tuple[str, ...],
        samples: int,
        unsteered: Tensor | None,
        settings: dict[str, Any],
    ) -> Generations:
        ids, mask = self.ids[rows], self.mask[rows]
        texts = self.model.tokenizer.batch_decode(
            [
                row[real].tolist()
                for row, real in zip(ids[:, self.width :], mask[:, self.width :], strict=True)
            ],
            skip_special_tokens=True,
            clean_up_tokenization_spaces=False,
        )
        return Generations(
            prompts=prompts,
            prompt=torch.arange(len(prompts)).repeat_interleave(samples),
            sample=torch.arange(samples).repeat(len(prompts)),
            texts=tuple(texts),
            ids=ids,
            mask=mask,
            prompt_width=self.width,
            steered_log_probs=self.steered[rows],
            unsteered_log_probs=None if unsteered is None else unsteered[rows],
            settings=settings,
        )


def _stop_ids(model: TransformerBridge) -> list[int]:
    """The tokenizer's end-of-sequence token and those of the model's own settings."""
    settings = getattr(model.original_model, "generation_config", None)
    named = getattr(settings, "eos_token_id", None)
    several = named if isinstance(named, (list, tuple)) else [named]
    found = [model.tokenizer.eos_token_id, *several]
    return sorted({int(each) for each in found if each is not None})


def _check_prompts(prompts: Sequence[str]) -> tuple[str, ...]:
    if isinstance(prompts, str):
        raise InputError(f"A list of prompts is expected, not one string: pass [{prompts!r}].")
    if not prompts:
        raise InputError("There are no prompts to continue: an empty list was given.")
    return tuple(prompts)


def _check_settings(settings: dict[str, Any], batch_size: int, log_probs: str) -> None:
    given = {**settings, "batch_size": batch_size, "log_probs": log_probs}
    for option, least in (("max_new_tokens", 1), ("samples", 1), ("batch_size", 1), ("seed", 0)):
        if given[option] < least:
            raise InputError(f"{option} is {given[option]}; {least} or more is expected.")
    if given["top_k"] is not None and given["top_k"] < 1:
        raise InputError(f"top_k is {given['top_k']}; 1 or more, or None, is expected.")
    temperature = given["temperature"]
    if not (math.isfinite(temperature) and temperature >= 0):
        raise InputError(f"temperature is {temperature}; 0 or more is expected.")
    if not temperature and given["samples"] > 1:
        raise InputError(
            f"samples is {given['samples']} at temperature 0, which writes one text every time. "
            "Take one sample, or a temperature above 0."
        )
    for option, known in (("positions", get_args(Positions)), ("log_probs", get_args(LogProbs))):
        if given[option] not in known:
            raise InputError(
                f"{option} is {given[option]!r}; one of {', '.join(known)} is expected."
            )


def _check_model(model: TransformerBridge, groups: Sequence[Group], use_cache: bool) -> None:
    hf_model = model.original_model
    encoder = getattr(getattr(hf_model, "config", None), "is_encoder_decoder", False)
    if encoder or not getattr(model.adapter, "supports_generation", True):
        raise InputError(
            f"{type(hf_model).__name__} does not write text from left to right, so there is nothing "
            "to steer."
        )
    if use_cache and any(group.needs_context for group in groups):
        raise InputError(
            "An edit goes through a dictionary that needs whole sequences, and with the cache each "
            "new token is read alone. Pass use_cache=False."
        )


def _check_context(model: TransformerBridge, tokens: Batch, max_new_tokens: int) -> None:
    context = int(model.cfg.n_ctx)
    longest = int(tokens.mask.sum(-1).max())
    # The last new token is written and never read.
    if longest + max_new_tokens - 1 > context:
        raise InputError(
            f"A prompt of {longest} tokens and {max_new_tokens} new ones do not fit the model's "
            f"context of {context}. Shorten it, or pass max_new_tokens="
            f"{max(1, context - longest + 1)}."
        )
