"""Generate text while edits act, at every token, with the KV cache on.

Upstream's `generate` runs hooks too, but with the cache a decode step is one token long, so a mask
over the prompt's positions no longer fits and code that spares "the first position" spares every new
token. Here the prompt and the new tokens are two phases with edits of their own.
"""

from __future__ import annotations

import hashlib
import html
import inspect
import math
from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from tqdm.auto import tqdm

from tl_ext.errors import InputError
from tl_ext.interventions.applied import applied, as_edits
from tl_ext.interventions.edits import Edit
from tl_ext.models.tokens import Batch, batch

if TYPE_CHECKING:
    import pandas as pd
    from transformer_lens.model_bridge import TransformerBridge

Positions = Literal["all", "prompt", "generated", "everything"]
LogProbs = Literal["both", "steered"]

_LARGEST_LOGITS = 2**27  # numbers held at once by the pass of the unsteered model: 512 MiB


@dataclass(frozen=True, eq=False, repr=False)
class Generations:
    """What a model wrote, and how likely it found it with and without the edits.

    One row is one sample; the samples of a prompt follow one another. All tensors are on the CPU.

    Attributes:
        prompts: The prompts, as given.
        prompt: For each row the index of its prompt.
        sample: For each row its number among the samples of that prompt.
        texts: For each row the continuation alone, without special tokens.
        ids: Prompt (padded on the left, prefix included) and continuation.
        mask: True where there is a token. A continuation ends with its stop token.
        prompt_width: How many columns of `ids` belong to prompts.
        steered_log_probs: Natural logarithm of the probability of each new token under the edited
            model, at temperature 1 and over the whole vocabulary; NaN where there is none.
        unsteered_log_probs: The same tokens under the model without edits; None where it was not
            asked.
        settings: What they were made with, fit for JSON: edits, seed, temperature, and so on.
    """

    prompts: tuple[str, ...]
    prompt: Int[Tensor, " row"]
    sample: Int[Tensor, " row"]
    texts: tuple[str, ...]
    ids: Int[Tensor, "row token"]
    mask: Bool[Tensor, "row token"]
    prompt_width: int
    steered_log_probs: Float[Tensor, "row new"]
    unsteered_log_probs: Float[Tensor, "row new"] | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def new_ids(self) -> Int[Tensor, "row new"]:
        """The continuations' token ids."""
        return self.ids[:, self.prompt_width :]

    @property
    def new_mask(self) -> Bool[Tensor, "row new"]:
        """True where a continuation has a token."""
        return self.mask[:, self.prompt_width :]

    def __len__(self) -> int:
        return len(self.texts)

    def to_frame(self) -> pd.DataFrame:
        """One line a row: prompt, sample, text, number of new tokens, mean log-probabilities."""
        import pandas as pd

        prompt = self.prompt.tolist()
        columns: dict[str, Any] = {
            "prompt_index": prompt,
            "sample": self.sample.tolist(),
            "prompt": [self.prompts[index] for index in prompt],
            "text": list(self.texts),
            "tokens": self.new_mask.sum(-1).tolist(),
            "steered_log_prob": self.steered_log_probs.nanmean(-1).tolist(),
        }
        if self.unsteered_log_probs is not None:
            columns["unsteered_log_prob"] = self.unsteered_log_probs.nanmean(-1).tolist()
        return pd.DataFrame(columns)

    def __repr__(self) -> str:
        edits = ", ".join(self.settings.get("edits", ())) or "no edits"
        shown = [
            f"  {self.prompts[prompt]!r} -> {text!r}"
            for prompt, text in list(zip(self.prompt.tolist(), self.texts, strict=True))[:4]
        ]
        more = [f"  and {len(self) - 4} more"] if len(self) > 4 else []
        head = f"<Generations: {len(self)} of {len(self.prompts)} prompts; {edits}>"
        return "\n".join([head, *shown, *more])

    def _repr_html_(self) -> str:
        """A table for notebooks; prompts and texts are escaped."""
        edits = ", ".join(self.settings.get("edits", ())) or "no edits"
        rows = "".join(
            f"<tr><td>{html.escape(self.prompts[prompt])}</td><td>{html.escape(text)}</td></tr>"
            for prompt, text in zip(self.prompt.tolist(), self.texts, strict=True)
        )
        return (
            f"<table><caption>{html.escape(edits)}</caption>"
            f"<thead><tr><th>prompt</th><th>continuation</th></tr></thead>"
            f"<tbody>{rows}</tbody></table>"
        )


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
    edits = as_edits(edits)
    stops = _stop_ids(model) if stop_ids is None else [int(each) for each in stop_ids]
    settings = {
        "edits": [str(edit) for edit in edits],
        "max_new_tokens": max_new_tokens,
        "samples": samples,
        "temperature": temperature,
        "top_k": top_k,
        "seed": seed,
        "positions": positions,
        "stop_ids": stops,
    }
    prompts = _check_prompts(prompts)
    _check_settings(settings, batch_size, log_probs)
    _check_model(model, edits, use_cache)
    rows = [(prompt, sample) for prompt in range(len(prompts)) for sample in range(samples)]
    noise = None
    if temperature > 0:
        noise = torch.from_numpy(_noise(prompts, samples, max_new_tokens, seed)).to(
            model.cfg.device
        )
    sampler = _Sampler(temperature=temperature, top_k=top_k)

    order = sorted(range(len(rows)), key=lambda row: len(prompts[rows[row][0]]))
    batched = getattr(model.adapter, "supports_batched_generation", True)
    # A dictionary that needs context would take padding for context.
    size = batch_size if batched and not any(edit.needs_context for edit in edits) else 1
    parts: list[tuple[list[int], _Written]] = []
    with (
        torch.no_grad(),
        tqdm(total=len(rows), desc=progress, unit="text", disable=progress is None) as bar,
    ):
        for start in range(0, len(order), size):
            chosen = order[start : start + size]
            tokens = batch(model, [prompts[rows[row][0]] for row in chosen], padding_side="left")
            _check_context(model, tokens, max_new_tokens)
            written = _write(
                model,
                tokens,
                edits,
                max_new_tokens=max_new_tokens,
                positions=positions,
                use_cache=use_cache and getattr(model.adapter, "supports_kv_cache", True),
                sampler=sampler,
                noise=None if noise is None else noise[chosen],
                stops=torch.tensor(stops, dtype=torch.long, device=tokens.ids.device),
            )
            if log_probs == "both":
                written.unsteered = (
                    _unsteered(model, written, tokens.ids.shape[1]) if edits else written.steered
                )
            parts.append((chosen, written.on_cpu()))
            bar.update(len(chosen))
    return _assemble(model, prompts, rows, parts, settings)


@dataclass
class _Written:
    """One batch of continuations; `steered` and `unsteered` are `[row new]`."""

    ids: Tensor
    mask: Tensor
    steered: Tensor
    unsteered: Tensor | None = None

    def on_cpu(self) -> _Written:
        log_probs = None if self.unsteered is None else self.unsteered.cpu()
        return _Written(self.ids.cpu(), self.mask.cpu(), self.steered.cpu(), log_probs)


@dataclass(frozen=True)
class _Sampler:
    temperature: float
    top_k: int | None

    def __call__(
        self, logits: Float[Tensor, "row vocabulary"], uniform: Float[Tensor, " row"] | None
    ) -> tuple[Int[Tensor, " row"], Float[Tensor, " row"]]:
        """Tokens, and the log-probability of each at temperature 1 over the whole vocabulary.

        Without `uniform` the most likely token; else the one at which the cumulative probability
        passes it.
        """
        if uniform is None:
            token = logits.argmax(-1, keepdim=True)
            return token.squeeze(-1), logits.log_softmax(-1).gather(-1, token).squeeze(-1)
        plain = logits.softmax(-1)
        chance = plain if self.temperature == 1 else (logits / self.temperature).softmax(-1)
        if self.top_k is not None and self.top_k < chance.shape[-1]:
            least = chance.topk(self.top_k).values[:, -1:]
            chance = chance.masked_fill(chance < least, 0)
        cumulative = chance.cumsum(-1)
        total = cumulative[:, -1:]
        # Rounding must not carry the target to the very end, past the last token with a chance.
        target = torch.minimum(uniform[:, None] * total, total.nextafter(torch.zeros_like(total)))
        token = torch.searchsorted(cumulative, target, right=True)
        return token.squeeze(-1), plain.gather(-1, token).squeeze(-1).log()


def _write(
    model: TransformerBridge,
    tokens: Batch,
    edits: Sequence[Edit],
    *,
    max_new_tokens: int,
    positions: Positions,
    use_cache: bool,
    sampler: _Sampler,
    noise: Float[Tensor, "row new"] | None,
    stops: Int[Tensor, " stop"],
) -> _Written:
    """Continue one batch."""
    width = tokens.ids.shape[1]
    count = len(tokens.ids)
    shape = (count, max_new_tokens)
    ids = torch.cat([tokens.ids, tokens.ids.new_full(shape, _filler(model))], dim=1)
    mask = torch.cat([tokens.mask, tokens.mask.new_zeros(shape)], dim=1)
    steered = torch.full(shape, math.nan, device=ids.device)
    running = torch.ones(count, dtype=torch.bool, device=ids.device)
    steps = _logits(model, ids, tokens, edits, max_new_tokens, positions, use_cache)
    try:
        for step, logits in enumerate(steps):
            uniform = None if noise is None else noise[:, step]
            logits = logits.float()
            _check_logits(logits, running, step, edits)
            token, log_prob = sampler(logits, uniform)
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
    return _Written(ids, mask, steered)


def _check_logits(
    logits: Float[Tensor, "row vocabulary"],
    running: Bool[Tensor, " row"],
    step: int,
    edits: Sequence[Edit],
) -> None:
    # By their sum: a single logit of minus infinity only rules its token out.
    bad = running & ~logits.logsumexp(-1).isfinite()
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
    on_prompt = {
        "all": tokens.content,
        "prompt": tokens.content,
        "generated": torch.zeros_like(tokens.mask),
        "everything": tokens.mask,
    }[positions]
    prompt_edits = () if positions == "generated" else edits
    new_edits = () if positions == "prompt" else edits

    with applied(model, prompt_edits, on_prompt):
        logits, cache = _forward(model, ids[:, :width], attention[:, :width], use_cache=use_cache)
    yield logits
    if use_cache and cache is not None:
        with applied(model, new_edits):
            for end in range(width + 1, width + max_new_tokens):
                logits, cache = _forward(
                    model, ids[:, end - 1 : end], attention[:, :end], use_cache=True, cache=cache
                )
                yield logits
        return
    where = torch.cat([on_prompt, new if new_edits else ~new], dim=1)
    for end in range(width + 1, width + max_new_tokens):
        with applied(model, edits, where[:, :end]):
            logits, _ = _forward(model, ids[:, :end], attention[:, :end], use_cache=False)
        yield logits


def _forward(
    model: TransformerBridge,
    ids: Int[Tensor, "row token"],
    attention: Int[Tensor, "row all"],
    *,
    use_cache: bool,
    cache: Any = None,
) -> tuple[Float[Tensor, "row vocabulary"], Any]:
    """Logits of the last token, and the cache; upstream derives the positions from the mask."""
    options: dict[str, Any] = {"use_cache": use_cache}
    if cache is not None:
        options["past_key_values"] = cache
    if ids.shape[1] > 1 and _keeps_logits(model):
        options["logits_to_keep"] = 1
    logits, cache = model(ids, return_type="logits_and_cache", attention_mask=attention, **options)
    return logits[:, -1], cache


def _unsteered(model: TransformerBridge, written: _Written, width: int) -> Float[Tensor, "row new"]:
    """Log-probabilities of what was written, under the model as it is."""
    count = written.ids.shape[1] - width
    keep = {"logits_to_keep": count} if _keeps_logits(model) else {}
    size = max(1, _LARGEST_LOGITS // (count * int(model.cfg.d_vocab)))
    parts = []
    for ids, mask in zip(written.ids.split(size), written.mask.split(size), strict=True):
        # The last token is judged and never read.
        logits = model(ids[:, :-1], attention_mask=mask[:, :-1].long(), **keep)[:, -count:].float()
        chosen = logits.gather(-1, ids[:, width:, None]).squeeze(-1)
        parts.append(chosen - logits.logsumexp(-1))
    return torch.cat(parts).masked_fill(~written.mask[:, width:], math.nan)


def _keeps_logits(model: TransformerBridge) -> bool:
    """Whether the model can leave out logits nobody asked for."""
    return "logits_to_keep" in inspect.signature(model.original_model.forward).parameters


def _noise(
    prompts: Sequence[str], samples: int, max_new_tokens: int, seed: int
) -> np.ndarray[Any, np.dtype[np.float32]]:
    """One number in [0, 1) for each row and new token, from the seed, prompt and sample alone."""
    noise = np.empty((len(prompts) * samples, max_new_tokens), dtype=np.float32)
    times: Counter[str] = Counter()
    for number, prompt in enumerate(prompts):
        digest = int.from_bytes(
            hashlib.sha256(prompt.encode("utf-8", "replace")).digest()[:8], "big"
        )
        for sample in range(samples):
            generator = np.random.Generator(np.random.PCG64([seed, digest, times[prompt], sample]))
            noise[number * samples + sample] = generator.random(max_new_tokens, dtype=np.float32)
        times[prompt] += 1
    return noise


def _assemble(
    model: TransformerBridge,
    prompts: tuple[str, ...],
    rows: list[tuple[int, int]],
    parts: list[tuple[list[int], _Written]],
    settings: dict[str, Any],
) -> Generations:
    """Batches of different widths as one table of tokens, in the order of the prompts."""
    new = settings["max_new_tokens"]
    width = max(written.ids.shape[1] for _, written in parts)
    ids = torch.full((len(rows), width), _filler(model))
    mask = torch.zeros((len(rows), width), dtype=torch.bool)
    steered = torch.full((len(rows), new), math.nan)
    unsteered = steered.clone() if parts[0][1].unsteered is not None else None
    for chosen, written in parts:
        begin = width - written.ids.shape[1]
        ids[chosen, begin:] = written.ids
        mask[chosen, begin:] = written.mask
        steered[chosen] = written.steered
        if unsteered is not None and written.unsteered is not None:
            unsteered[chosen] = written.unsteered
    texts = tuple(
        model.tokenizer.decode(
            row[-new:][real[-new:]], skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        for row, real in zip(ids, mask, strict=True)
    )
    return Generations(
        prompts=prompts,
        prompt=torch.tensor([prompt for prompt, _ in rows]),
        sample=torch.tensor([sample for _, sample in rows]),
        texts=texts,
        ids=ids,
        mask=mask,
        prompt_width=width - new,
        steered_log_probs=steered,
        unsteered_log_probs=unsteered,
        settings=settings,
    )


def _filler(model: TransformerBridge) -> int:
    # Any id does where the mask is right.
    padding = model.tokenizer.pad_token_id
    return 0 if padding is None else int(padding)


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


def _check_model(model: TransformerBridge, edits: Sequence[Edit], use_cache: bool) -> None:
    hf_model = model.original_model
    encoder = getattr(getattr(hf_model, "config", None), "is_encoder_decoder", False)
    if encoder or not getattr(model.adapter, "supports_generation", True):
        raise InputError(
            f"{type(hf_model).__name__} does not write text from left to right, so there is nothing "
            "to steer."
        )
    if use_cache and any(edit.needs_context for edit in edits):
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
