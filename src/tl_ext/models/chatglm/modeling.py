"""The published names of the models, on transformers' GLM, which computes the same function.

The two differ in the layout of weights and config alone, so there is no second attention here. In
half precision they agree up to rounding: the original multiplies a normalised activation by the norm's
weight before it rounds, GLM after.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from inspect import signature
from typing import Any

import torch
from transformers import GlmForCausalLM, GlmModel, PreTrainedModel
from transformers.modeling_utils import LoadStateDictConfig

from tl_ext.errors import UnsupportedModelError
from tl_ext.models.chatglm import refusals
from tl_ext.models.chatglm.configuration import ChatGLMConfig
from tl_ext.models.chatglm.reading import stored_tensors

# A table computed from the config, which published checkpoints carry all the same.
_COMPUTED = [r"rotary_pos_emb\.inv_freq$"]


class _ReadsInPieces(PreTrainedModel):
    """Loads without a second copy of the weights, also where they are cast or reordered."""

    @staticmethod
    def _load_pretrained_model(
        model: PreTrainedModel,
        state_dict: dict[str, Any] | None,
        checkpoint_files: list[str] | None,
        load_config: LoadStateDictConfig,
        *others: Any,
        **named: Any,
    ) -> Any:
        # The one private method of transformers that is extended here: it alone sees files and model.
        if state_dict is None and checkpoint_files and _plain(load_config):
            dtype = load_config.dtype or model.dtype
            stored = stored_tensors(checkpoint_files, dtype)
            copied = not model.config.multi_query_attention
            if stored and (copied or any(tensor.stored != dtype for tensor in stored.values())):
                state_dict = stored
        told, offloaded = PreTrainedModel._load_pretrained_model(
            model, state_dict, checkpoint_files, load_config, *others, **named
        )
        if load_config.hf_quantizer is None:  # which names its weights itself
            refusals.refuse_unconverted(told.conversion_errors)
            refusals.refuse_missing(told.missing_keys)
            if not load_config.ignore_mismatched_sizes:
                refusals.refuse_misshapen(told.mismatched_keys)
        return told, offloaded


class ChatGLMModel(_ReadsInPieces, GlmModel):
    """The decoder without its head."""

    config: ChatGLMConfig
    config_class = ChatGLMConfig
    _keys_to_ignore_on_load_unexpected = _COMPUTED

    def __init__(self, config: ChatGLMConfig) -> None:
        with _representable(config):
            super().__init__(config)

    @wraps(GlmModel.forward)
    def forward(self, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        return super().forward(**_one_text_a_row(GlmModel.forward, self, args, kwargs))


class ChatGLMForConditionalGeneration(_ReadsInPieces, GlmForCausalLM):
    """The language model, under the name that published checkpoints give it."""

    config: ChatGLMConfig
    config_class = ChatGLMConfig
    _keys_to_ignore_on_load_unexpected = _COMPUTED

    def __init__(self, config: ChatGLMConfig) -> None:
        with _representable(config):
            super().__init__(config)

    @wraps(GlmForCausalLM.forward)
    def forward(self, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        return super().forward(**_one_text_a_row(GlmForCausalLM.forward, self, args, kwargs))


class ChatGLMForSequenceClassification(PreTrainedModel):
    """Refused by name: the original's head, with its bias and last position, is not GLM's."""

    config_class = ChatGLMConfig

    def __init__(self, config: ChatGLMConfig) -> None:
        refusals.refuse({**vars(config), "architectures": [type(self).__name__]})
        raise AssertionError("unreachable: classification is refused")


def _plain(load_config: LoadStateDictConfig) -> bool:
    """Whether nothing but a dtype is asked of the weights: no quantisation, no part of them elsewhere."""
    on_disk = "disk" in (load_config.device_map or {}).values()
    asked = (load_config.hf_quantizer, load_config.device_mesh, load_config.disable_mmap)
    return not on_disk and not any(asked)


def _one_text_a_row(
    forward: Callable[..., Any],
    model: PreTrainedModel,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> dict[str, Any]:
    """The arguments of a forward pass by name, with a mask where transformers would make up its own.

    Without a mask and a cache it takes positions with gaps for several texts in one row and keeps them
    apart; in the original a row is one text.
    """
    given = dict(zip(list(signature(forward).parameters)[1:], args, strict=False)) | kwargs
    positions = given.get("position_ids")
    unmasked = given.get("attention_mask") is None and given.get("past_key_values") is None
    if positions is not None and unmasked:
        tokens = given.get("input_ids")
        shape = (tokens if tokens is not None else given["inputs_embeds"]).shape[:2]
        given["attention_mask"] = torch.ones(shape, dtype=torch.long, device=positions.device)
    return given


@contextmanager
def _representable(config: ChatGLMConfig) -> Iterator[None]:
    """A config that a model is made of, checked once more, as it may have been changed since."""
    refusals.refuse(vars(config))
    unread = sorted(set(config.attribute_map) & set(vars(config)))
    if unread:
        instead = ", ".join(f"{config.attribute_map[key]} for {key}" for key in unread)
        raise UnsupportedModelError(
            f"{', '.join(unread)} was written past the config, where nothing reads it; give {instead}."
        )
    # GLM marks the padding token's row of the embedding; the original does not, and takes any id.
    padding = config.pad_token_id
    if padding is not None and not 0 <= padding < config.vocab_size:
        config.pad_token_id = None
    try:
        yield
    finally:
        config.pad_token_id = padding
