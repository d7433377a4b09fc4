"""Published sizes, by config: every number TransformerLens reads is the one the model computes with."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers as hf
from transformers.models.qwen2.modeling_qwen2 import Qwen2RotaryEmbedding

from tl_ext import upstream
from tl_ext.models.loading import load_model

# hidden, intermediate, layers, heads, groups, vocabulary, positions, window, max_window_layers,
# epsilon, tied; as in each model's config.json.
SIZES: dict[str, tuple[Any, ...]] = {
    "Qwen2.5-0.5B": (896, 4864, 24, 14, 2, 151936, 32768, 32768, 24, 1e-6, True),
    "Qwen2.5-1.5B": (1536, 8960, 28, 12, 2, 151936, 131072, 131072, 28, 1e-6, True),
    "Qwen2.5-3B": (2048, 11008, 36, 16, 2, 151936, 32768, 32768, 36, 1e-6, True),
    "Qwen2.5-7B": (3584, 18944, 28, 28, 4, 152064, 131072, 131072, 28, 1e-6, False),
    "Qwen2.5-14B-Instruct": (5120, 13824, 48, 40, 8, 152064, 32768, 131072, 70, 1e-6, False),
    "Qwen2.5-32B": (5120, 27648, 64, 40, 8, 152064, 131072, 131072, 64, 1e-5, False),
    "Qwen2.5-72B-Instruct": (8192, 29568, 80, 64, 8, 152064, 32768, 131072, 70, 1e-6, False),
    "QwQ-32B": (5120, 27648, 64, 40, 8, 152064, 131072, 32768, 64, 1e-5, False),
}
BASE = 1_000_000


def config(size: str, **changes: Any) -> hf.Qwen2Config:
    """The published config, in the spelling it is published in."""
    hidden, mlp, layers, heads, groups, words, context, window, first, epsilon, tied = SIZES[size]
    stated = {
        "architectures": ["Qwen2ForCausalLM"],
        "attention_dropout": 0.0,
        "bos_token_id": 151643,
        "eos_token_id": 151645,
        "hidden_act": "silu",
        "hidden_size": hidden,
        "intermediate_size": mlp,
        "max_position_embeddings": context,
        "max_window_layers": first,
        "model_type": "qwen2",
        "num_attention_heads": heads,
        "num_hidden_layers": layers,
        "num_key_value_heads": groups,
        "rms_norm_eps": epsilon,
        "rope_theta": float(BASE),
        "sliding_window": window,
        "tie_word_embeddings": tied,
        "torch_dtype": "bfloat16",
        "use_sliding_window": False,
        "vocab_size": words,
    }
    return hf.Qwen2Config.from_dict(stated | changes)


@pytest.mark.parametrize("size", SIZES)
def test_the_numbers_are_those_the_model_computes_with(size: str) -> None:
    """Two layers without storage: the shapes are the published ones, whatever the depth."""
    hidden, mlp, layers, heads, groups, words, context, _, _, epsilon, tied = SIZES[size]
    published = config(size)
    with torch.device("meta"):
        model = hf.Qwen2ForCausalLM(config(size, num_hidden_layers=2))
    tie = model.model.embed_tokens.weight is model.lm_head.weight
    attention = model.model.layers[0].self_attn
    shapes = [tuple(one.weight.shape) for one in (attention.q_proj, attention.k_proj)]
    bridge = load_model(model, tokenizer=upstream.stand_in_tokenizer())
    cfg, width = bridge.cfg, hidden // heads
    assert (cfg.d_model, cfg.d_mlp, cfg.n_heads, cfg.n_key_value_heads) == (
        hidden,
        mlp,
        heads,
        groups,
    )
    assert (cfg.d_head, cfg.d_vocab, cfg.n_ctx, cfg.eps) == (width, words, context, epsilon)
    assert (cfg.act_fn, cfg.normalization_type, cfg.default_prepend_bos) == ("silu", "RMS", False)
    assert cfg.layer_types == ["full_attention"] * 2
    assert published.layer_types == ["full_attention"] * layers
    assert shapes == [(heads * width, hidden), (groups * width, hidden)]
    assert bridge.W_U.shape == (hidden, words)
    assert tie is cfg.tie_word_embeddings is tied

    frequencies = Qwen2RotaryEmbedding(published).inv_freq
    exponents = torch.arange(0, cfg.d_head, 2) / cfg.d_head
    assert cfg.rotary_base == BASE
    torch.testing.assert_close(frequencies, 1.0 / cfg.rotary_base**exponents)


def test_a_window_is_known_layer_by_layer() -> None:
    with torch.device("meta"):
        model = hf.Qwen2ForCausalLM(
            config(
                "Qwen2.5-0.5B",
                num_hidden_layers=4,
                use_sliding_window=True,
                max_window_layers=3,
            )
        )
    bridge = load_model(model, tokenizer=upstream.stand_in_tokenizer())
    assert bridge.cfg.layer_types == ["full_attention"] * 3 + ["sliding_attention"]
    windows = [layer.self_attn.sliding_window for layer in model.model.layers]
    assert windows == [None, None, None, 32768]


def test_yarn_keeps_the_base_and_the_scaling_is_told() -> None:
    """As the model cards say to extend the context."""
    scaling = {"factor": 4.0, "original_max_position_embeddings": 32768, "type": "yarn"}
    with torch.device("meta"):
        model = hf.Qwen2ForCausalLM(config("QwQ-32B", num_hidden_layers=1, rope_scaling=scaling))
    bridge = load_model(model, tokenizer=upstream.stand_in_tokenizer())
    assert bridge.cfg.rotary_base == BASE
    assert bridge.cfg.rope_parameters["rope_type"] == "yarn"
    assert bridge.cfg.rope_parameters["factor"] == 4.0
