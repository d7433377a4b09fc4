"""Every configuration that is refused, with what it is told, before any weight is read."""

from __future__ import annotations

import json

import pytest
from tests.models.chatglm.checkpoints import original_config, write_checkpoint
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
)

from tl_ext.errors import UnsupportedModelError
from tl_ext.models.chatglm.configuration import ChatGLMConfig

# THUDM/chatglm-6b's config.json: another architecture under the same model_type.
FIRST_GENERATION = {
    "model_type": "chatglm",
    "architectures": ["ChatGLMModel"],
    "bos_token_id": 130004,
    "eos_token_id": 130005,
    "gmask_token_id": 130001,
    "hidden_size": 4096,
    "inner_hidden_size": 16384,
    "layernorm_epsilon": 1e-05,
    "mask_token_id": 130000,
    "max_sequence_length": 2048,
    "num_attention_heads": 32,
    "num_layers": 28,
    "pad_token_id": 3,
    "position_encoding_2d": True,
    "pre_seq_len": None,
    "prefix_projection": False,
    "quantization_bit": 0,
    "torch_dtype": "float16",
    "vocab_size": 130528,
}

REFUSED = [
    (
        {"apply_residual_connection_post_layernorm": True},
        "apply_residual_connection_post_layernorm",
    ),
    ({"post_layer_norm": False}, "post_layer_norm=False leaves out the final norm"),
    ({"rmsnorm": False}, "rmsnorm=False means LayerNorm"),
    ({"add_bias_linear": True}, "add_bias_linear=True puts biases on"),
    ({"pre_seq_len": 128}, r"learned prefixes \(P-tuning, pre_seq_len=128\)"),
    ({"pre_seq_len": 128, "prefix_projection": True}, "learned prefixes"),
    ({"prefix_projection": True}, "learned prefixes"),
    ({"quantization_bit": 4}, "quantised .quantization_bit=4."),
    ({"quantization_bit": 8}, "quantised .quantization_bit=8."),
    ({"quantization_config": {"quant_method": "gptq"}}, "quantised .quantization_config is set"),
    ({"vision_config": {"hidden_size": 1792}}, r"reads images \(vision_config is set\)"),
    ({"boi_token_id": 151339}, r"reads images \(boi_token_id is set\)"),
    ({"cross_hidden_size": 1024}, r"reads images \(cross_hidden_size is set\)"),
    ({"architectures": ["ChatGLMForSequenceClassification"]}, "ChatGLMForSequenceClassification"),
    ({"hidden_act": "gelu"}, "hidden_act='gelu' is not the gated SiLU"),
    ({"multi_query_group_num": 3}, "num_attention_heads=4 is not a multiple"),
    ({"multi_query_group_num": 0}, "multi_query_group_num=0, expected a positive"),
    ({"kv_channels": 0}, "kv_channels=0, expected a positive"),
    ({"num_layers": 0}, "num_layers=0, expected a positive"),
    ({"hidden_size": -1}, "hidden_size=-1, expected a positive"),
    ({"layernorm_epsilon": -1.0}, "layernorm_epsilon=-1.0, expected"),
    ({"layernorm_epsilon": "1e-5"}, "layernorm_epsilon='1e-5', expected"),
    ({"layernorm_epsilon": None}, "layernorm_epsilon=None, expected"),
    ({"rope_ratio": 0}, "rope_ratio=0, expected a positive number"),
    ({"rope_ratio": -2.0}, "rope_ratio=-2.0, expected a positive number"),
    ({"rope_ratio": "500"}, "rope_ratio='500', expected a positive number"),
    ({"rope_ratio": None}, "rope_ratio=None, expected a positive number"),
    (
        {"rope_scaling": {"type": "dynamic", "factor": 2.0}},
        "rope_scaling=.* no key of the original",
    ),
    ({"rope_theta": 5000.0}, "rope_theta=5000.0, but the original code has 10000 times"),
    ({"interleaved_qkv": True}, "interleaved_qkv=True orders the fused"),
    ({"rotary_percent": 1.0}, "rotary_percent=1.0, but half of each head"),
    ({"torch_dtype": "int8"}, "torch_dtype='int8', expected a floating-point dtype"),
    ({"torch_dtype": "half-ish"}, "torch_dtype='half-ish', expected a floating-point dtype"),
]


@pytest.mark.parametrize(("changes", "message"), REFUSED)
def test_refused_by_name_before_any_weight_is_read(tmp_path, changes, message):
    # No weights at all: whoever looked for them would complain of that.
    (tmp_path / "config.json").write_text(json.dumps(original_config(**changes)), encoding="utf-8")

    for load in (AutoConfig, AutoModelForCausalLM, AutoModel):
        with pytest.raises(UnsupportedModelError, match=message):
            load.from_pretrained(tmp_path)


def test_the_first_generation_is_another_architecture(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(FIRST_GENERATION), encoding="utf-8")

    with pytest.raises(UnsupportedModelError, match="ChatGLM-6B of the first generation"):
        AutoModelForCausalLM.from_pretrained(tmp_path)


def test_classification_is_refused_by_name(tmp_path):
    folder = write_checkpoint(tmp_path)

    with pytest.raises(UnsupportedModelError, match="ChatGLMForSequenceClassification, whose"):
        AutoModelForSequenceClassification.from_pretrained(folder)


@pytest.mark.parametrize(
    "harmless",
    [
        {"apply_query_key_layer_scaling": False},
        {"attention_softmax_in_fp32": False},
        {"bias_dropout_fusion": False},
        {"fp32_residual_connection": True},
        {"original_rope": False},
        {"quantization_bit": 0},
        {"quantization_bit": None},
        {"pre_seq_len": None, "prefix_projection": False},
        {"pre_seq_len": 0},
        {"classifier_dropout": None},
        {"vision_config": None},
        {"rope_theta": 10000},
        {"rope_scaling": None},
        {"hidden_act": "silu"},
        {"interleaved_qkv": False, "rotary_percent": 0.5},
    ],
)
def test_what_changes_nothing_is_let_through(harmless):
    ChatGLMConfig(**original_config(**harmless))


def test_what_was_changed_after_reading_is_checked_when_the_model_is_made(tmp_path):
    config = AutoConfig.from_pretrained(write_checkpoint(tmp_path))
    config.post_layer_norm = False

    with pytest.raises(UnsupportedModelError, match="post_layer_norm=False"):
        AutoModelForCausalLM.from_pretrained(tmp_path, config=config)


def test_a_number_written_where_nothing_reads_it_is_told(tmp_path):
    """As TransformerLens' hf_config_overrides does, which writes into the config's dictionary."""
    config = AutoConfig.from_pretrained(write_checkpoint(tmp_path))
    config.__dict__["num_layers"] = 1

    with pytest.raises(UnsupportedModelError, match=r"num_layers was .* give num_hidden_layers"):
        AutoModelForCausalLM.from_pretrained(tmp_path, config=config)
