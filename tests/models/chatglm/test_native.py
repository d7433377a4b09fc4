"""Drawn configurations: a converted model is transformers' GLM with weights laid out by hand, bit by bit."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from tests.models.chatglm.checkpoints import original_config, original_weights, write_checkpoint
from transformers import AutoModelForCausalLM, GlmConfig, GlmForCausalLM


@st.composite
def configurations(draw):
    """Original configs: heads, groups, odd head widths, no bias, stretched rotary embeddings."""
    groups = draw(st.integers(1, 3))
    generation = draw(st.sampled_from(["chatglm2", "chatglm3", "glm4"]))
    return original_config(
        hidden_size=draw(st.integers(3, 24)),
        num_attention_heads=groups * draw(st.integers(1, 3)),
        multi_query_group_num=groups,
        multi_query_attention=draw(st.booleans()),
        kv_channels=draw(st.integers(2, 13)),
        ffn_hidden_size=draw(st.integers(1, 20)),
        num_layers=draw(st.integers(1, 3)),
        padded_vocab_size=draw(st.integers(4, 40)),
        layernorm_epsilon=draw(st.sampled_from([1e-5, 1.5625e-07, 1e-3])),
        add_qkv_bias=draw(st.booleans()),
        rope_ratio=draw(st.sampled_from([1, 2, 16, 50, 0.5, 500, 10000])),
        generation=generation,
    )


def by_hand(config, weights):
    """GLM with the original weights laid out by hand."""
    heads, size = config["num_attention_heads"], config["kv_channels"]
    shared = config["multi_query_attention"]
    groups = config["multi_query_group_num"] if shared else heads
    rope = {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}
    if config["generation"] != "chatglm2":
        rope["rope_theta"] *= config["rope_ratio"]
    elif config["rope_ratio"] != 1:
        rope |= {"rope_type": "linear", "factor": float(config["rope_ratio"])}
    native = GlmConfig(
        vocab_size=config["padded_vocab_size"],
        hidden_size=config["hidden_size"],
        intermediate_size=config["ffn_hidden_size"],
        num_hidden_layers=config["num_layers"],
        num_attention_heads=heads,
        num_key_value_heads=groups,
        head_dim=size,
        rms_norm_eps=config["layernorm_epsilon"],
        attention_bias=config["add_qkv_bias"],
        rope_parameters=rope,
        pad_token_id=0,
        eos_token_id=2,
    )
    model = GlmForCausalLM(native).eval()
    model.load_state_dict(dict(laid_out(weights, heads, groups, size, shared)))
    return model


def laid_out(weights, heads, groups, size, shared):
    encoder = "transformer.encoder."
    yield "model.embed_tokens.weight", weights["transformer.embedding.word_embeddings.weight"]
    yield "model.norm.weight", weights[f"{encoder}final_layernorm.weight"]
    yield "lm_head.weight", weights["transformer.output_layer.weight"]
    for name, weight in weights.items():
        if not name.startswith(f"{encoder}layers."):
            continue
        layer, _, rest = name.removeprefix(f"{encoder}layers.").partition(".")
        kind = rest.rsplit(".", 1)[1]
        if "query_key_value" in rest:
            for part, rows in zip("qkv", fused_rows(heads, groups, size, shared), strict=True):
                yield f"model.layers.{layer}.self_attn.{part}_proj.{kind}", weight[rows]
        else:
            renamed = {
                "self_attention.dense": "self_attn.o_proj",
                "mlp.dense_h_to_4h": "mlp.gate_up_proj",
                "mlp.dense_4h_to_h": "mlp.down_proj",
            }
            stem = rest.rsplit(".", 1)[0]
            yield f"model.layers.{layer}.{renamed.get(stem, stem)}.{kind}", weight


def fused_rows(heads, groups, size, shared):
    """Which rows of the fused projection are queries, which keys and which values."""
    if shared:
        ends = [heads * size, (heads + groups) * size, (heads + 2 * groups) * size]
        return [list(range(start, end)) for start, end in zip([0, *ends[:-1]], ends, strict=True)]
    return [
        [3 * size * head + size * part + row for head in range(heads) for row in range(size)]
        for part in range(3)
    ]


@settings(max_examples=20)
@given(configurations(), st.integers(0, 2**31), st.sampled_from(["sdpa", "eager"]))
def test_a_converted_model_is_glm_laid_out_by_hand(config, seed, attention):
    weights = original_weights(config, seed=seed)
    native = by_hand(config, weights)
    native.set_attn_implementation(attention)
    ids = torch.randint(
        0, config["padded_vocab_size"], (2, 6), generator=torch.Generator().manual_seed(seed)
    )
    mask = torch.ones_like(ids)
    mask[1, :2] = 0
    with tempfile.TemporaryDirectory() as folder:
        original = write_checkpoint(Path(folder) / "original", weights=weights, **config)
        model = AutoModelForCausalLM.from_pretrained(original, attn_implementation=attention)

        with torch.no_grad():
            assert torch.equal(model(ids).logits, native(ids).logits)
            assert torch.equal(model(ids, mask).logits, native(ids, mask).logits)

        model.save_pretrained(Path(folder) / "saved")
        saved = load_file(Path(folder) / "saved" / "model.safetensors")
    del weights["transformer.rotary_pos_emb.inv_freq"]
    assert set(saved) == set(weights)
    assert all(torch.equal(saved[name], weights[name]) for name in weights)


def test_chatglm2_divides_its_positions(tmp_path):
    """Positions 16 times as far apart, stretched 16 times, are where they were: to the bit, as 16 is
    a power of two."""
    weights = original_weights(original_config())
    plain = write_checkpoint(tmp_path / "plain", weights=weights)
    long = write_checkpoint(
        tmp_path / "long", weights=weights, rope_ratio=16, generation="chatglm2"
    )
    ids, positions = torch.tensor([[5, 6, 7, 8]]), torch.tensor([[0, 1, 2, 3]])

    with torch.no_grad():
        expected = AutoModelForCausalLM.from_pretrained(plain)(ids, position_ids=positions).logits
        model = AutoModelForCausalLM.from_pretrained(long)
        assert torch.equal(model(ids, position_ids=16 * positions).logits, expected)
        assert not torch.allclose(model(ids, position_ids=positions).logits, expected, atol=1e-2)
