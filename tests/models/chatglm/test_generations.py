"""Which generation a checkpoint is of, and what it decides."""

from __future__ import annotations

import json

import pytest
from tests.models.chatglm.checkpoints import original_config, write_checkpoint
from transformers import AutoConfig, AutoModelForCausalLM

from tl_ext.errors import UnsupportedModelError
from tl_ext.models.chatglm import generations
from tl_ext.models.chatglm.configuration import ChatGLMConfig
from tl_ext.models.chatglm.modeling import ChatGLMForConditionalGeneration

# Saved again by a version of transformers that published none of these checkpoints.
UNTOLD = {"transformers_version": "4.40.0", "rope_ratio": 8}
ROLES = "{% for message in messages %}<|{{ message['role'] }}|>{% endfor %}"


@pytest.mark.parametrize(
    ("beside", "expected"),
    [
        ({"tokenizer_class": "ChatGLMTokenizer", "name_or_path": "THUDM/chatglm2-6b"}, "chatglm2"),
        ({"tokenizer_class": "ChatGLMTokenizer", "chat_template": ROLES}, "chatglm3"),
        ({"tokenizer_class": "ChatGLMTokenizer", "chat_template": "[Round 1]\n问："}, "chatglm2"),
        ({"tokenizer_class": "ChatGLM4Tokenizer", "chat_template": ROLES}, "glm4"),
    ],
)
def test_the_tokenizer_beside_tells(tmp_path, beside, expected):
    folder = write_checkpoint(tmp_path, **UNTOLD)
    (folder / "tokenizer_config.json").write_text(json.dumps(beside), encoding="utf-8")

    config = AutoConfig.from_pretrained(folder)

    assert config.generation == expected
    linear = config.rope_parameters["rope_type"] == "linear"
    assert linear == (expected == "chatglm2")
    assert config.rope_theta == (10000 if linear else 80000)


def test_the_classes_themselves_look_beside_too(tmp_path):
    folder = write_checkpoint(tmp_path, **UNTOLD)
    beside = {"tokenizer_class": "ChatGLM4Tokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(beside), encoding="utf-8")

    assert ChatGLMConfig.from_pretrained(folder).generation == "glm4"
    assert ChatGLMForConditionalGeneration.from_pretrained(folder).config.generation == "glm4"


@pytest.mark.parametrize("load", [AutoConfig, AutoModelForCausalLM])
def test_a_generation_that_cannot_be_told_and_matters_is_asked_for(tmp_path, load):
    folder = write_checkpoint(tmp_path, **UNTOLD)

    with pytest.raises(UnsupportedModelError, match=r"rope_ratio=8 divides .* Pass generation="):
        load.from_pretrained(folder)

    loaded = load.from_pretrained(folder, generation="chatglm2")
    config = getattr(loaded, "config", loaded)
    assert config.rope_parameters["factor"] == 8


def test_a_generation_stated_in_config_json_is_believed(tmp_path):
    folder = write_checkpoint(tmp_path, **UNTOLD, generation="chatglm3")

    assert AutoConfig.from_pretrained(folder).rope_theta == 80000


def test_contradicting_evidence_is_told(tmp_path):
    folder = write_checkpoint(tmp_path, **UNTOLD, _name_or_path="THUDM/chatglm3-6b-32k")
    beside = {"tokenizer_class": "ChatGLMTokenizer", "name_or_path": "THUDM/chatglm2-6b"}
    (folder / "tokenizer_config.json").write_text(json.dumps(beside), encoding="utf-8")

    with pytest.raises(UnsupportedModelError, match=r"_name_or_path .* chatglm3; .* chatglm2"):
        AutoConfig.from_pretrained(folder)


def test_where_nothing_depends_on_it_nothing_is_asked():
    assert ChatGLMConfig(**original_config(transformers_version="4.40.0")).generation is None


def test_an_unknown_generation_is_refused():
    with pytest.raises(UnsupportedModelError, match="expected one of chatglm2, chatglm3, glm4"):
        ChatGLMConfig(**original_config(), generation="chatglm9")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("THUDM/chatglm2-6b-32k", "chatglm2"),
        ("zai-org/codegeex2-6b", "chatglm2"),
        ("/models/chatglm3-6b-base/", "chatglm3"),
        ("THUDM/glm-4-9b-chat-1m", "glm4"),
        ("THUDM/LongWriter-glm4-9b", "glm4"),
        ("THUDM/codegeex4-all-9b", "glm4"),
        ("chatglm3-from-chatglm2", None),
        ("/glm-4-9b/mine", None),
        ("", None),
    ],
)
def test_names(name, expected):
    assert generations.of_name(name) == expected
