"""The original config.json: every published one, missing keys, both spellings, the round trip."""

from __future__ import annotations

import json

import pytest
import torch
from tests.models.chatglm.checkpoints import original_config, write_checkpoint
from tests.models.chatglm.published import GENERATION, PUBLISHED
from transformers import AutoConfig

from tl_ext.models.chatglm.configuration import ChatGLMConfig

ORIGINAL_DEFAULTS = {
    "num_layers": 28,
    "padded_vocab_size": 65024,
    "hidden_size": 4096,
    "ffn_hidden_size": 13696,
    "kv_channels": 128,
    "num_attention_heads": 32,
    "seq_length": 2048,
    "attention_dropout": 0.0,
    "layernorm_epsilon": 1e-5,
    "add_qkv_bias": False,
    "multi_query_attention": False,
    "multi_query_group_num": 1,
    "rope_ratio": 1,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_published_config_is_read_right(tmp_path, name):
    stated = original_config(**PUBLISHED[name])
    (tmp_path / "config.json").write_text(json.dumps(stated), encoding="utf-8")

    config = AutoConfig.from_pretrained(tmp_path)

    assert type(config) is ChatGLMConfig
    assert config.generation == GENERATION[name]
    assert config.num_hidden_layers == stated["num_layers"] == config.num_layers
    assert config.vocab_size == stated["padded_vocab_size"]
    assert config.intermediate_size == stated["ffn_hidden_size"]
    assert config.head_dim == stated["kv_channels"]
    assert config.num_key_value_heads == stated["multi_query_group_num"]
    assert config.rms_norm_eps == stated["layernorm_epsilon"]
    assert config.max_position_embeddings == stated["seq_length"]
    assert config.attention_bias is stated["add_qkv_bias"]
    assert config.dtype == getattr(torch, stated["torch_dtype"])
    assert (config.eos_token_id, config.pad_token_id) == (
        stated["eos_token_id"],
        stated.get("pad_token_id"),
    )
    assert config.rope_parameters["partial_rotary_factor"] == 0.5
    ratio = stated.get("rope_ratio", 1)
    if name == "chatglm2-6b-32k":
        assert config.rope_parameters["rope_type"] == "linear"
        assert (config.rope_parameters["factor"], config.rope_theta) == (16, 10000)
    else:
        assert config.rope_parameters["rope_type"] == "default"
        assert config.rope_theta == 10000 * ratio


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_saved_config_says_what_the_original_said(tmp_path, name):
    folder = write_checkpoint(tmp_path / "original", **PUBLISHED[name])
    stated = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config = AutoConfig.from_pretrained(folder)

    config.save_pretrained(tmp_path / "saved")

    saved = json.loads((tmp_path / "saved" / "config.json").read_text(encoding="utf-8"))
    # transformers puts its own version and leaves the name out; two of ours repeat other keys.
    expected = {k: v for k, v in stated.items() if k not in _UPSTREAM_WRITES}
    assert {key: saved[key] for key in expected} == expected
    again = AutoConfig.from_pretrained(tmp_path / "saved")
    assert without_name(again) == without_name(config)


_UPSTREAM_WRITES = {"transformers_version", "_name_or_path", "vocab_size", "num_hidden_layers"}


def without_name(config):
    return {k: v for k, v in config.to_dict().items() if k != "_name_or_path"}


def test_keys_that_nobody_knows_are_kept(tmp_path):
    config = ChatGLMConfig(**original_config(someones_own_key={"a": [1, 2]}))

    config.save_pretrained(tmp_path)

    saved = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert saved["someones_own_key"] == {"a": [1, 2]}


def test_missing_keys_have_the_original_classs_defaults():
    config = ChatGLMConfig()

    assert {key: getattr(config, key) for key in ORIGINAL_DEFAULTS} == ORIGINAL_DEFAULTS
    assert config.num_key_value_heads == 32  # no multi-query attention: each head has its own
    assert (config.eos_token_id, config.pad_token_id) == (None, None)


def test_both_spellings_make_the_same_config():
    original = original_config(eos_token_id=[2, 3])
    names = {**ChatGLMConfig.attribute_map, "torch_dtype": "dtype"}
    spelled = {names.get(key, key): value for key, value in original.items()}

    assert ChatGLMConfig(**spelled).to_dict() == ChatGLMConfig(**original).to_dict()


def test_the_original_key_goes_before_a_stale_copy_of_it():
    """The original class writes vocab_size too and reads padded_vocab_size alone."""
    assert ChatGLMConfig(**original_config(vocab_size=7)).vocab_size == 128


def test_heads_in_transformers_words_are_written_in_the_originals():
    config = ChatGLMConfig(num_attention_heads=8, num_key_value_heads=4)

    saved = config.to_dict()

    assert (saved["multi_query_attention"], saved["multi_query_group_num"]) == (True, 4)
    assert "num_key_value_heads" not in saved


def test_without_multi_query_attention_the_group_count_is_ignored():
    config = ChatGLMConfig(**original_config(multi_query_attention=False, multi_query_group_num=3))

    assert config.num_key_value_heads == config.num_attention_heads == 4
    assert config.to_dict()["multi_query_group_num"] == 3


def test_a_head_without_a_stated_width_is_its_share_of_the_hidden_size():
    assert ChatGLMConfig(**original_config(kv_channels=None)).head_dim == 8


@pytest.mark.parametrize("spelled", ["bfloat16", "torch.bfloat16"])
def test_a_dtype_may_be_spelled_with_its_module(spelled):
    assert ChatGLMConfig(**original_config(torch_dtype=spelled)).dtype is torch.bfloat16


def test_the_head_is_never_tied_as_in_the_original():
    assert ChatGLMConfig(**original_config(tie_word_embeddings=True)).tie_word_embeddings is False


def test_keywords_of_from_pretrained_reach_what_is_derived_from_them(tmp_path):
    folder = write_checkpoint(tmp_path)

    config = AutoConfig.from_pretrained(folder, rope_ratio=8, multi_query_group_num=1)

    assert (config.rope_theta, config.num_key_value_heads) == (80000, 1)


def test_a_rotary_embedding_changed_by_hand_is_saved():
    config = ChatGLMConfig(**original_config())
    config.rope_parameters = {**config.rope_parameters, "rope_theta": 123.0}

    again = ChatGLMConfig(**config.to_dict())

    assert again.rope_theta == 123.0


def test_the_old_spelling_of_the_dtype_is_in_the_file_alone(tmp_path):
    """transformers warns of every key torch_dtype that it reads back from a config in memory."""
    config = AutoConfig.from_pretrained(write_checkpoint(tmp_path))

    config.save_pretrained(tmp_path / "saved")

    assert "torch_dtype" not in config.to_dict()
    saved = json.loads((tmp_path / "saved" / "config.json").read_text(encoding="utf-8"))
    assert saved["torch_dtype"] == saved["dtype"] == "float32"
