"""What the published config.json files say that differs from ChatGLM3's, with small sizes.

Sizes are shrunk; epsilons, groups, special tokens' ids, what stretches the rotary embedding and which keys
are left out are the published ones. Read in copies of the files: chatglm2-6b, chatglm2-6b-32k,
codegeex2-6b, chatglm3-6b, glm-4-9b-chat and glm-4-9b-chat-1m; the others are written after their
siblings.
"""

from __future__ import annotations

from typing import Any

# GLM-4's special tokens lie beyond a small vocabulary, as their ids are part of what is published.
_GLM4 = {
    "architectures": ["ChatGLMModel"],
    "layernorm_epsilon": 1.5625e-07,
    "torch_dtype": "bfloat16",
    "eos_token_id": [151329, 151336, 151338],
    "pad_token_id": 151329,
}

_FIRST_AUTO_MAP = {
    "AutoConfig": "configuration_chatglm.ChatGLMConfig",
    "AutoModel": "modeling_chatglm.ChatGLMForConditionalGeneration",
    "AutoModelForSeq2SeqLM": "modeling_chatglm.ChatGLMForConditionalGeneration",
}

PUBLISHED: dict[str, dict[str, Any]] = {
    "chatglm2-6b": {
        "_name_or_path": "THUDM/chatglm2-6b",
        "transformers_version": "4.27.1",
    },
    "chatglm2-6b-32k": {
        "_name_or_path": "THUDM/chatglm2-6b-32k",
        "transformers_version": "4.27.1",
        "rope_ratio": 16,
    },
    "codegeex2-6b": {
        "_name_or_path": "THUDM/codegeex2-6b",
        "transformers_version": "4.27.1",
        "auto_map": _FIRST_AUTO_MAP,
        "interleaved_qkv": False,
        "rotary_percent": 0.5,
        "torch_dtype": "bfloat16",
        "pad_token_id": ...,
    },
    "chatglm3-6b": {"_name_or_path": "THUDM/chatglm3-6b"},
    "chatglm3-6b-base": {"_name_or_path": "THUDM/chatglm3-6b-base"},
    "chatglm3-6b-32k": {
        "_name_or_path": "THUDM/chatglm3-6b-32k",
        "quantization_bit": 0,
        "rope_ratio": 50,
    },
    "chatglm3-6b-128k": {
        "_name_or_path": "THUDM/chatglm3-6b-128k",
        "rope_ratio": 500,
    },
    "glm-4-9b": {**_GLM4, "num_hidden_layers": 2},
    "glm-4-9b-chat": {**_GLM4, "num_hidden_layers": 2, "rope_ratio": 500},
    "glm-4-9b-chat-1m": {**_GLM4, "multi_query_group_num": 4, "rope_ratio": 10000},
    "LongWriter-glm4-9b": {
        **_GLM4,
        "architectures": ["ChatGLMForConditionalGeneration"],
        "classifier_dropout": None,
        "rope_ratio": 500,
        "vocab_size": 128,
    },
    "codegeex4-all-9b": {
        **_GLM4,
        "architectures": ["ChatGLMForConditionalGeneration"],
        "classifier_dropout": None,
        "rope_ratio": 500,
    },
}

GENERATION = {
    name: next(
        generation
        for mark, generation in {
            "chatglm2": "chatglm2",
            "codegeex2": "chatglm2",
            "chatglm3": "chatglm3",
            "": "glm4",
        }.items()
        if mark in name
    )
    for name in PUBLISHED
}
