"""What the original ChatGLM2, ChatGLM3 and GLM-4 code computes, written down anew in plain torch.

The oracle of the tests here: it reads a checkpoint in its original layout (`config.json` and the keys
`transformer.encoder.layers.N...`), knows nothing of transformers' models, of TransformerLens or of this
package, and gives every tensor on the way under the names the golden files use. Slow and readable.

Letters in shapes: `head` query heads, `group` key and value heads, `kv` the size of a head.

Sources: the modelling code published with THUDM/chatglm2-6b, chatglm2-6b-32k, chatglm3-6b-32k and
glm-4-9b-chat; held to what chatglm3-6b's wrote, in test_reference.py.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

LAYER = "transformer.encoder.layers.{}.{}"
# What the published configuration class takes where config.json is silent.
DEFAULTS: Mapping[str, Any] = {
    "kv_channels": 128,
    "layernorm_epsilon": 1e-5,
    "add_qkv_bias": False,
    "multi_query_attention": False,
    "multi_query_group_num": 1,
    "rope_ratio": 1,
}


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Every tensor of a checkpoint, from all its shards, under its own key."""
    weights: dict[str, Tensor] = {}
    for shard in sorted(folder.glob("model*.safetensors")):
        weights |= load_file(shard)
    for shard in sorted(folder.glob("pytorch_model*.bin")):
        weights |= torch.load(shard, weights_only=True)
    return weights


@dataclass
class Reference:
    """A checkpoint in the original layout, and its forward pass.

    Attributes:
        config: The original configuration, as config.json has it.
        weights: The original tensors; computed with in the type they have.
        rope_ratio_scales: What `rope_ratio` multiplies: the base of the frequencies (chatglm3 and
            glm-4), or the room between positions, which are divided by it (chatglm2).
        seen: The tensors of the last pass.
        added: By a tensor's name, what to add to it before anything reads it: an edit.
    """

    config: Mapping[str, Any]
    weights: Mapping[str, Tensor]
    rope_ratio_scales: Literal["base", "positions"] = "base"
    seen: dict[str, Tensor] = field(default_factory=dict, repr=False)
    added: Mapping[str, Tensor] = field(default_factory=dict, repr=False)

    @classmethod
    def read(
        cls,
        folder: Path,
        dtype: torch.dtype = torch.float64,
        rope_ratio_scales: Literal["base", "positions"] = "base",
    ) -> Reference:
        """The checkpoint in `folder`, its tensors converted to `dtype`."""
        weights = {key: tensor.to(dtype) for key, tensor in read_weights(folder).items()}
        return cls(json.loads((folder / "config.json").read_text()), weights, rope_ratio_scales)

    def option(self, name: str) -> Any:
        return self.config.get(name, DEFAULTS.get(name))

    @property
    def groups(self) -> int:
        """Key and value heads. The group count means something with multi-query attention only."""
        asked = self.option("multi_query_attention")
        return self.option("multi_query_group_num") if asked else self.option("num_attention_heads")

    @torch.no_grad()
    def forward(
        self,
        input_ids: Int[Tensor, "batch position"],
        attention_mask: Int[Tensor, "batch position"] | None = None,
        position_ids: Int[Tensor, "batch position"] | None = None,
    ) -> dict[str, Tensor]:
        """One pass over whole sequences.

        Returns:
            Every tensor under its name in the golden files, less their first word: `logits`,
            `hidden_states.0`, `layers.0.attn_probs` and so on, batch first.
        """
        if position_ids is None:
            position_ids = torch.arange(input_ids.shape[1]).expand_as(input_ids)
        self.seen = {}
        visible = self._visible(input_ids, attention_mask)
        residual = self.weights["transformer.embedding.word_embeddings.weight"][input_ids]
        rotation = self._rotation(position_ids, residual.dtype)
        layers = self.option("num_layers")
        for layer in range(layers):
            residual = self._at(f"hidden_states.{layer}", residual)
            residual = residual + self._attention(layer, residual, visible, rotation)
            residual = self._at(f"layers.{layer}.resid_mid", residual)
            residual = residual + self._mlp(layer, residual)
        residual = self._at(f"hidden_states.{layers}", residual)
        normed = self._norm(residual, "transformer.encoder.final_layernorm.weight")
        normed = self._at("final_layernorm_out", normed)
        self._at("logits", normed @ self.weights["transformer.output_layer.weight"].T)
        return self.seen

    def _at(self, name: str, tensor: Tensor) -> Tensor:
        """Write down a tensor under its name, with what was to be added to it."""
        if name in self.added:
            tensor = tensor + self.added[name].reshape(tensor.shape).to(tensor)
        self.seen[name] = tensor
        return tensor

    def greedy(
        self,
        prompt_ids: Int[Tensor, "batch position"],
        steps: int,
        attention_mask: Int[Tensor, "batch position"] | None = None,
        position_ids: Int[Tensor, "batch position"] | None = None,
    ) -> tuple[Int[Tensor, "batch step"], Float[Tensor, "batch step d_vocab"]]:
        """The likeliest next token, `steps` times over, and the logits each was chosen from.

        Every step runs over the whole sequence: a cache must change nothing. A new token stands one
        position after the last one.
        """
        ids = prompt_ids
        mask = torch.ones_like(ids) if attention_mask is None else attention_mask
        positions = position_ids
        if positions is None:
            positions = torch.arange(ids.shape[1]).expand_as(ids)
        said = []
        for _ in range(steps):
            said.append(self.forward(ids, mask, positions)["logits"][:, -1])
            ids = torch.cat([ids, said[-1].argmax(-1, keepdim=True)], dim=1)
            mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)
            positions = torch.cat([positions, positions[:, -1:] + 1], dim=1)
        return ids[:, prompt_ids.shape[1] :], torch.stack(said, dim=1)

    def _visible(
        self, input_ids: Tensor, attention_mask: Tensor | None
    ) -> Bool[Tensor, "batch 1 query key"]:
        """Earlier tokens that are no padding. A padding token sees all there is, as it did there."""
        length = input_ids.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool).tril()
        if attention_mask is None:
            return causal.expand(len(input_ids), 1, -1, -1)
        real = attention_mask.bool()
        return ((causal & real[:, None, :]) | ~real[:, :, None])[:, None]

    def _rotation(
        self, position_ids: Tensor, dtype: torch.dtype
    ) -> tuple[Float[Tensor, "batch position 1 pair"], Float[Tensor, "batch position 1 pair"]]:
        """Cosine and sine of each rotated pair's angle, single precision for any `dtype` as it was."""
        size = self.option("kv_channels") // 2
        ratio, base = self.option("rope_ratio"), 10000.0
        positions = position_ids.float()
        if self.rope_ratio_scales == "base":
            base *= ratio
        else:
            positions = positions / ratio
        frequencies = 1.0 / base ** (torch.arange(0, size, 2).float() / size)
        angles = positions[:, :, None, None] * frequencies
        return angles.cos().to(dtype), angles.sin().to(dtype)

    def _attention(
        self, layer: int, residual: Tensor, visible: Tensor, rotation: tuple[Tensor, Tensor]
    ) -> Float[Tensor, "batch position d_model"]:
        at = f"layers.{layer}."
        normed = self._norm(residual, LAYER.format(layer, "input_layernorm.weight"))
        q, k, v = self._query_key_value(layer, self._at(at + "input_layernorm_out", normed))
        q, k = self._at(at + "q_pre_rotary", q), self._at(at + "k_pre_rotary", k)
        q, k = self._at(at + "q", _rotate(q, *rotation)), self._at(at + "k", _rotate(k, *rotation))
        v = self._at(at + "v", v)
        heads = self.option("num_attention_heads")
        reads = torch.arange(heads) // (heads // self.groups)  # query head h reads this group
        scores = torch.einsum("bqhc,bkhc->bhqk", q, k[:, :, reads]) / q.shape[-1] ** 0.5
        scores = self._at(at + "attn_scores", scores.masked_fill(~visible, -torch.inf))
        pattern = self._at(at + "attn_probs", scores.softmax(-1))
        context = torch.einsum("bhqk,bkhc->bqhc", pattern, v[:, :, reads]).flatten(2)
        context = self._at(at + "context", context)
        out = context @ self.weights[LAYER.format(layer, "self_attention.dense.weight")].T
        return self._at(at + "attn_out", out)

    def _query_key_value(self, layer: int, normed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        name = LAYER.format(layer, "self_attention.query_key_value.")
        mixed = normed @ self.weights[name + "weight"].T
        if self.option("add_qkv_bias"):
            mixed = mixed + self.weights[name + "bias"]
        return self._heads(self._at(f"layers.{layer}.query_key_value_out", mixed))

    def _heads(self, mixed: Float[Tensor, "*at row"]) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each a row per head, out of what the fused projection gives."""
        heads, groups, kv = (
            self.option("num_attention_heads"),
            self.groups,
            self.option("kv_channels"),
        )
        if self.option("multi_query_attention"):  # all queries, then all keys, then all values
            parts = mixed.unflatten(-1, (-1, kv)).split([heads, groups, groups], -2)
        else:  # each head's query, key and value side by side
            parts = mixed.unflatten(-1, (heads, 3, kv)).unbind(-2)
        return parts[0], parts[1], parts[2]

    def value_bias(self, layer: int) -> Float[Tensor, "group kv"]:
        """What the projection adds to every value; zeros where it has no bias."""
        if not self.option("add_qkv_bias"):
            return torch.zeros(self.groups, self.option("kv_channels"))
        name = LAYER.format(layer, "self_attention.query_key_value.bias")
        return self._heads(self.weights[name])[2]

    def _mlp(self, layer: int, residual: Tensor) -> Float[Tensor, "batch position d_model"]:
        at = f"layers.{layer}."
        normed = self._norm(residual, LAYER.format(layer, "post_attention_layernorm.weight"))
        normed = self._at(at + "post_attention_layernorm_out", normed)
        both = normed @ self.weights[LAYER.format(layer, "mlp.dense_h_to_4h.weight")].T
        gate, up = self._at(at + "dense_h_to_4h_out", both).chunk(2, dim=-1)
        gated = self._at(at + "swiglu_out", functional.silu(gate) * up)
        out = gated @ self.weights[LAYER.format(layer, "mlp.dense_4h_to_h.weight")].T
        return self._at(at + "mlp_out", out)

    def _norm(self, residual: Tensor, name: str) -> Tensor:
        square = residual.pow(2).mean(-1, keepdim=True)
        scale = torch.rsqrt(square + self.option("layernorm_epsilon"))
        return residual * scale * self.weights[name]


def _rotate(
    heads: Float[Tensor, "batch position head kv"], cos: Tensor, sin: Tensor
) -> Float[Tensor, "batch position head kv"]:
    """Turn neighbouring pairs of the first half of each head; an odd half takes one more along."""
    turned = 2 * cos.shape[-1]
    first, second = heads[..., 0:turned:2], heads[..., 1:turned:2]
    pairs = torch.stack([first * cos - second * sin, second * cos + first * sin], dim=-1)
    return torch.cat([pairs.flatten(-2), heads[..., turned:]], dim=-1)
