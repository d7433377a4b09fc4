"""The original config.json, read into the fields of transformers' GLM and written back as it was.

Whoever reads the config, transformers and TransformerLens included, reads the numbers the maths uses.
"""

from __future__ import annotations

import os
from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import GlmConfig, PreTrainedConfig

from tl_ext.models.chatglm import generations, refusals

# What the original code writes into its formulas.
ROPE_THETA = 10000.0
ROTARY_FRACTION = 0.5  # of each head, the first half
# Where no tokenizer_config.json says which one; the original config.json never does.
_TOKENIZER = "ChatGLMTokenizer"


@strict
class ChatGLMConfig(GlmConfig):
    """The configuration of ChatGLM2, ChatGLM3, CodeGeeX2, GLM-4, LongWriter and CodeGeeX4.

    It takes the original keys (`num_layers`, `kv_channels`, ...) and transformers' names for the same
    numbers (`num_hidden_layers`, `head_dim`, ...), answers to both, and is saved under the original
    keys. Where a key is missing the original class's default holds.

    Attributes:
        multi_query_attention: Whether several heads share keys and values; it also tells how the rows
            of the fused projection are ordered on disk.
        multi_query_group_num: How many keys and values there are then; without multi-query attention
            the original ignores it.
        rope_ratio: What stretches the rotary embedding to longer texts. In ChatGLM2 it divides the
            positions, in the later generations it multiplies the base of 10000.
        generation: The published generation, `"chatglm2"`, `"chatglm3"` or `"glm4"`; None where it
            cannot be told and does not matter.

    Raises:
        UnsupportedModelError: The configuration describes a model that GLM cannot represent, or its
            generation decides what `rope_ratio` means and cannot be told.
    """

    model_type = "chatglm"
    attribute_map = {  # noqa: RUF012 - transformers' own spelling
        "num_layers": "num_hidden_layers",
        "padded_vocab_size": "vocab_size",
        "ffn_hidden_size": "intermediate_size",
        "kv_channels": "head_dim",
        "layernorm_epsilon": "rms_norm_eps",
        "seq_length": "max_position_embeddings",
        "add_qkv_bias": "attention_bias",
    }

    vocab_size: int = 65024
    hidden_size: int = 4096
    intermediate_size: int = 13696
    num_hidden_layers: int = 28
    num_attention_heads: int = 32
    num_key_value_heads: int | None = None
    head_dim: int | None = 128
    max_position_embeddings: int = 2048
    rms_norm_eps: float = 1e-5
    pad_token_id: int | None = None
    attention_bias: bool = False
    multi_query_attention: bool | None = None
    multi_query_group_num: int | None = None
    rope_ratio: int | float = 1.0
    generation: str | None = None
    tokenizer_class: str | None = _TOKENIZER

    def __post_init__(self, **kwargs: Any) -> None:
        for key in set(self.attribute_map) & set(kwargs):
            setattr(self, key, kwargs.pop(key))
        if isinstance(spelled := kwargs.get("torch_dtype"), str):
            kwargs["torch_dtype"] = spelled.removeprefix("torch.")
        refusals.refuse({**vars(self), **kwargs})
        self._count_heads()
        self.generation = generations.tell(self, kwargs)
        if self.rope_parameters is None:
            self.rope_parameters = self._rope()
        eos = self.eos_token_id  # GlmConfig would put GLM-4's in the place of none
        super().__post_init__(**kwargs)  # type: ignore[no-untyped-call]
        self.eos_token_id = eos
        # The original never ties its head to its embedding, whatever the key says.
        self.tie_word_embeddings = False

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike[str], *args: Any, **kwargs: Any
    ) -> Any:
        # AutoConfig says where it reads; told here, so that what lies beside is found either way.
        kwargs.setdefault("name_or_path", os.fspath(pretrained_model_name_or_path))
        return super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        # transformers would set these after construction, too late for what is derived from them.
        known = set(cls.attribute_map) | set(cls.__dataclass_fields__)
        given = {key: kwargs.pop(key) for key in known & set(kwargs) - _LEFT_TO_UPSTREAM}
        return super().from_dict({**config_dict, **given}, **kwargs)

    def to_dict(self) -> dict[str, Any]:
        output = super().to_dict()
        for original, name in self.attribute_map.items():
            if name in output:
                output[original] = output.pop(name)
        groups = output.pop("num_key_value_heads", None)
        if self.multi_query_attention:
            output["multi_query_group_num"] = groups
        if output.get("tokenizer_class") == _TOKENIZER:
            del output["tokenizer_class"]
        if output.get("rope_parameters") == self._rope():
            del output["rope_parameters"]
        return output

    def to_diff_dict(self) -> dict[str, Any]:
        output = super().to_diff_dict()  # which is what is saved
        if output.get("dtype") is not None:
            output["torch_dtype"] = output["dtype"]  # where the original code looks for it
        return output

    @property
    def rope_theta(self) -> float:
        """The base of the rotary embedding, from which TransformerLens takes `cfg.rotary_base`."""
        if not self.rope_parameters:
            raise AttributeError("rope_theta is known once rope_parameters is")
        theta: Any = self.rope_parameters["rope_theta"]
        return float(theta)

    def _count_heads(self) -> None:
        """Settle how many heads have keys and values of their own."""
        if self.head_dim is None:
            self.head_dim = self.hidden_size // self.num_attention_heads
        groups = self.num_key_value_heads
        if self.multi_query_attention is None:
            self.multi_query_attention = groups is not None and groups != self.num_attention_heads
        if self.multi_query_group_num is None:
            self.multi_query_group_num = groups or 1
        shared = self.multi_query_attention
        self.num_key_value_heads = (
            self.multi_query_group_num if shared else self.num_attention_heads
        )

    def _rope(self) -> dict[str, Any]:
        """The rotary embedding in transformers' words."""
        fixed = {"partial_rotary_factor": ROTARY_FRACTION}
        if self.generation == "chatglm2" and self.rope_ratio != 1:
            factor = float(self.rope_ratio)
            return {"rope_type": "linear", "factor": factor, "rope_theta": ROPE_THETA, **fixed}
        return {"rope_type": "default", "rope_theta": ROPE_THETA * self.rope_ratio, **fixed}


_LEFT_TO_UPSTREAM = set(PreTrainedConfig.__dataclass_fields__)
