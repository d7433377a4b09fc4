"""Every number TransformerLens reads is the one the maths uses."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.models.chatglm.checkpoints import write_checkpoint

import tl_ext
from tl_ext.upstream import stand_in_tokenizer


def boot(folder) -> Any:
    from transformer_lens.model_bridge import TransformerBridge

    tl_ext.activate(quiet=True)
    return TransformerBridge.boot_transformers(
        str(folder), tokenizer=stand_in_tokenizer(), device="cpu"
    )


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"multi_query_attention": False, "kv_channels": 6, "add_qkv_bias": False},
        {"rope_ratio": 50, "layernorm_epsilon": 1e-3, "num_attention_heads": 6},
        {"rope_ratio": 16, "generation": "chatglm2", "seq_length": 96, "ffn_hidden_size": 20},
        {"rope_ratio": 500, "eos_token_id": [5, 6], "pad_token_id": 5, "padded_vocab_size": 77},
    ],
)
def test_the_bridges_config_is_what_the_modules_compute_with(tmp_path, config):
    bridge = boot(write_checkpoint(tmp_path, **config))
    cfg, model = bridge.cfg, bridge.original_model
    attention = _original(model.model.layers[0].self_attn)
    mlp = _original(model.model.layers[0].mlp)
    rotary = _original(model.model.rotary_emb)

    assert cfg.n_layers == len(model.model.layers)
    assert cfg.d_model == attention.config.hidden_size
    assert cfg.n_heads * cfg.d_head == _rows(attention.q_proj)
    assert (cfg.n_key_value_heads or cfg.n_heads) * cfg.d_head == _rows(attention.k_proj)
    assert cfg.d_mlp == _columns(mlp.down_proj)
    assert cfg.d_vocab == _rows(model.lm_head) == len(_weight(model.model.embed_tokens))
    assert cfg.eps == _original(model.model.norm).variance_epsilon
    assert cfg.n_ctx == model.config.max_position_embeddings == config.get("seq_length", 64)
    assert cfg.act_fn == "silu"
    assert cfg.normalization_type == "RMS"
    assert cfg.tie_word_embeddings is False
    assert attention.scaling == cfg.d_head**-0.5
    table = rotary.inv_freq
    rotated = cfg.d_head // 2
    stretch = 16 if config.get("generation") == "chatglm2" else 1
    expected = cfg.rotary_base ** -(torch.arange(0, rotated, 2).float() / rotated) / stretch
    torch.testing.assert_close(table, expected)
    assert cfg.rotary_base == 10000 * (config.get("rope_ratio", 1) if stretch == 1 else 1)


def _original(module: Any) -> Any:
    return getattr(module, "original_component", None) or module


def _weight(module: Any) -> Any:
    return _original(module).weight


def _rows(module: Any) -> int:
    return _weight(module).shape[0]


def _columns(module: Any) -> int:
    return _weight(module).shape[1]
