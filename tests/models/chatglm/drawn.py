"""Strategies: ChatGLM configurations with odd sizes, and batches with padding and gaps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from hypothesis import strategies as st
from jaxtyping import Int
from tests.models.chatglm.checkpoints import write_checkpoint
from tests.models.chatglm.reference import Reference
from torch import Tensor

SEQ_LENGTH = 96


@dataclass(frozen=True)
class Drawn:
    """A checkpoint to be written, and a batch for it.

    Attributes:
        config: Keys of config.json that differ from chatglm3-6b's; `...` leaves a key out.
        seed: Of the weights.
        rope_ratio_scales: What `rope_ratio` multiplies in the generation that `config` names.
        layout: How the weights are written.
        input_ids: Token ids.
        attention_mask: Ones and zeros, at least one 1 in each row.
        position_ids: Rising positions with gaps, None for the usual ones.
    """

    config: Mapping[str, Any]
    seed: int
    rope_ratio_scales: Literal["base", "positions"]
    layout: Mapping[str, Any]
    input_ids: Int[Tensor, "batch position"]
    attention_mask: Int[Tensor, "batch position"]
    position_ids: Int[Tensor, "batch position"] | None

    def write(self, folder: Path) -> Path:
        return write_checkpoint(folder, seed=self.seed, **self.layout, **self.config)

    def reference(self, folder: Path, dtype: torch.dtype = torch.float64) -> Reference:
        return Reference.read(folder, dtype, self.rope_ratio_scales)

    @property
    def starts_with_padding(self) -> bool:
        """Some row's first token is padding, and sees nothing at all."""
        return not bool(self.attention_mask[:, 0].all())

    @property
    def counted(self) -> Int[Tensor, "batch position"]:
        """The positions given, else those that the tokens alone make, as the tokenizer writes them."""
        if self.position_ids is not None:
            return self.position_ids
        return (self.attention_mask.cumsum(-1) - 1).clamp(min=0)

    @property
    def inputs(self) -> dict[str, Tensor]:
        """What a model is given besides the ids; nothing where there is nothing to say."""
        given = {} if bool(self.attention_mask.all()) else {"attention_mask": self.attention_mask}
        return given if self.position_ids is None else given | {"position_ids": self.position_ids}


@st.composite
def drawn(draw: st.DrawFn) -> Drawn:
    config, scales = draw(configurations())
    layout = draw(
        st.sampled_from(
            [{}, {"shards": 3}, {"suffix": "bin"}, {"suffix": "bin", "shards": 2}],
        )
    )
    rows, length = draw(st.integers(1, 3)), draw(st.integers(1, 9))
    seed = draw(st.integers(0, 2**32 - 1))
    generator = torch.Generator().manual_seed(seed)
    words = config["padded_vocab_size"]
    mask = torch.tensor([draw(masks(length)) for _ in range(rows)])
    positions = None
    if draw(st.booleans()):
        steps = torch.randint(1, SEQ_LENGTH // 10, (rows, length), generator=generator)
        positions = steps.cumsum(-1)
    return Drawn(
        config=config,
        seed=seed,
        rope_ratio_scales=scales,
        layout=layout,
        input_ids=torch.randint(words, (rows, length), generator=generator),
        attention_mask=mask,
        position_ids=positions,
    )


@st.composite
def masks(draw: st.DrawFn, length: int) -> list[int]:
    """None, padding on the left or the right, or holes anywhere; one token at least is real."""
    kind = draw(st.sampled_from(["none", "left", "right", "holes"]))
    padding = draw(st.integers(0, length - 1))
    if kind == "left":
        return [0] * padding + [1] * (length - padding)
    if kind == "right":
        return [1] * (length - padding) + [0] * padding
    if kind == "holes":
        bits = draw(st.lists(st.integers(0, 1), min_size=length, max_size=length))
        return bits if any(bits) else [1] * length
    return [1] * length


@st.composite
def configurations(
    draw: st.DrawFn,
) -> tuple[dict[str, Any], Literal["base", "positions"]]:
    """Keys of an original config.json, and what its `rope_ratio` scales."""
    groups = draw(st.integers(1, 4))
    heads = groups * draw(st.integers(1, 7 // groups))
    config: dict[str, Any] = {
        "num_layers": draw(st.integers(1, 3)),
        "num_attention_heads": heads,
        "kv_channels": draw(st.integers(2, 13)),
        # In three dimensions a residual comes near zero often enough, and a norm blows its rounding up.
        "hidden_size": draw(st.integers(8, 40)),
        "ffn_hidden_size": draw(st.integers(1, 41)),
        "padded_vocab_size": draw(st.integers(20, 83)),
        "layernorm_epsilon": draw(st.sampled_from([1.5625e-07, 1e-5, 1e-3, 0.2])),
        "seq_length": SEQ_LENGTH,
        "apply_query_key_layer_scaling": draw(st.booleans()),
        "original_rope": draw(st.booleans()),
        "architectures": [
            draw(st.sampled_from(["ChatGLMModel", "ChatGLMForConditionalGeneration"]))
        ],
    }
    # Upstream tells which way round an unembedding lies by its sizes, and folds a square one wrongly.
    config["padded_vocab_size"] += config["padded_vocab_size"] == config["hidden_size"]
    # Without multi-query attention the number of groups may say anything.
    shared = draw(st.booleans())
    config["multi_query_attention"] = draw(st.sampled_from([False, ...])) if not shared else True
    config["multi_query_group_num"] = groups
    config["add_qkv_bias"] = draw(st.sampled_from([True, True, False, ...]))
    config["tie_word_embeddings"] = draw(st.sampled_from([False, True, ...]))
    if draw(st.booleans()):
        config["auto_map"] = ...
    ratio = draw(st.sampled_from([..., 1, 2, 2.5, 50, 500, 10000]))
    config["rope_ratio"] = ratio
    if draw(st.booleans()):
        config["_name_or_path"] = "THUDM/chatglm2-6b-32k"
        return config, "positions"
    if draw(st.booleans()):  # GLM-4 pads with an id of its own, which no tiny vocabulary holds
        config |= {
            "num_hidden_layers": config["num_layers"],
            "_name_or_path": "THUDM/glm-4-9b-chat",
        }
    return config, "base"
