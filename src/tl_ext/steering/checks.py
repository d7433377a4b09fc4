"""What generation refuses, told before anything is computed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

from tl_ext.errors import InputError
from tl_ext.models.tokens import Batch
from tl_ext.steering.conditions import Group
from tl_ext.steering.decoding import Positions

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

LogProbs = Literal["both", "steered"]


def default_stops(model: TransformerBridge) -> list[int]:
    """The tokenizer's end-of-sequence token and those of the model's own settings."""
    settings = getattr(model.original_model, "generation_config", None)
    named = getattr(settings, "eos_token_id", None)
    several = named if isinstance(named, (list, tuple)) else [named]
    found = [model.tokenizer.eos_token_id, *several]
    return sorted({int(each) for each in found if each is not None})


def check_prompts(prompts: Sequence[str]) -> tuple[str, ...]:
    """Prompts as a tuple.

    Raises:
        InputError: One string, or none.
    """
    if isinstance(prompts, str):
        raise InputError(f"A list of prompts is expected, not one string: pass [{prompts!r}].")
    if not prompts:
        raise InputError("There are no prompts to continue: an empty list was given.")
    return tuple(prompts)


def check_settings(settings: dict[str, Any], batch_size: int, log_probs: str) -> None:
    """Options by name, each in its range.

    Raises:
        InputError: One of them is not.
    """
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


def check_model(model: TransformerBridge, groups: Sequence[Group], use_cache: bool) -> None:
    """A model that writes, under edits that work with the cache where it is asked for.

    Raises:
        InputError: It does not write, or an edit needs whole sequences.
    """
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


def check_context(model: TransformerBridge, tokens: Batch, max_new_tokens: int) -> None:
    """Prompts that fit with what is to be written.

    Raises:
        InputError: One does not.
    """
    context = int(model.cfg.n_ctx)
    longest = int(tokens.mask.sum(-1).max())
    # The last new token is written and never read.
    if longest + max_new_tokens - 1 > context:
        raise InputError(
            f"A prompt of {longest} tokens and {max_new_tokens} new ones do not fit the model's "
            f"context of {context}. Shorten it, or pass max_new_tokens="
            f"{max(1, context - longest + 1)}."
        )
