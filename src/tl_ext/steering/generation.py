"""Generate text while edits act, at every token, with the KV cache on.

Upstream's `generate` runs hooks too, but with the cache a decode step is one token long, so a mask
over the prompt's positions no longer fits and code that spares "the first position" spares every new
token. Here the prompt and the new tokens are two phases with edits of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from tqdm.auto import tqdm

from tl_ext.interventions.applied import as_edits
from tl_ext.interventions.edits import Edit
from tl_ext.models.tokens import batch
from tl_ext.steering.checks import (
    LogProbs,
    check_context,
    check_model,
    check_prompts,
    check_settings,
    default_stops,
)
from tl_ext.steering.conditions import Condition, grouped
from tl_ext.steering.decoding import Positions, unsteered_log_probs, write
from tl_ext.steering.gathering import Table
from tl_ext.steering.generations import Generations
from tl_ext.steering.sampling import Sampler, noise_of

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


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
    prompts = check_prompts(prompts)
    stops = default_stops(model) if stop_ids is None else [int(each) for each in stop_ids]
    settings = {
        "max_new_tokens": max_new_tokens,
        "samples": samples,
        "temperature": temperature,
        "top_k": top_k,
        "seed": seed,
        "positions": positions,
        "stop_ids": stops,
    }
    check_settings(settings, batch_size, log_probs)
    device = torch.device(model.cfg.device or "cpu")
    groups = grouped(conditions, device)
    several = [as_edits(condition) for condition in conditions]
    check_model(model, groups, use_cache)
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
    table = Table(model, len(several) * each, max_new_tokens)
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
                check_context(model, tokens, max_new_tokens)
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
