"""Qwen2 checkpoints as they are published, small: config, weights and tokenizer files."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import torch
import transformers as hf

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
TEXTS = ("The cat sat on the mat.", "Le chat est très content.", "猫很高兴。", "3 + 14 = 17\n\n")

# Qwen2's published pre-tokenisation and ChatML template.
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEMPLATE = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@cache
def tokenizer_json() -> str:
    """A byte-level BPE with Qwen2's splits, trained on a few sentences."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(TEXTS * 4, trainer)
    tokenizer.add_special_tokens(list(SPECIAL))
    return str(tokenizer.to_str())


def write_tokenizer(folder: Path) -> None:
    """The files of a Qwen2.5 tokenizer: no BOS, EOS ends a message, padding is another token."""
    (folder / "tokenizer.json").write_text(tokenizer_json(), encoding="utf-8")
    added = {token["content"]: token for token in json.loads(tokenizer_json())["added_tokens"]}
    config = {
        "add_bos_token": False,
        "add_prefix_space": False,
        "added_tokens_decoder": {str(token.pop("id")): token for token in added.values()},
        "additional_special_tokens": ["<|im_start|>", "<|im_end|>"],
        "bos_token": None,
        "chat_template": TEMPLATE,
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|im_end|>",
        "errors": "replace",
        "model_max_length": 131072,
        "pad_token": "<|endoftext|>",
        "split_special_tokens": False,
        "tokenizer_class": "Qwen2Tokenizer",
        "unk_token": None,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")


def config(**changes: Any) -> hf.Qwen2Config:
    """A small Qwen2 config; ids of padding and EOS are those of the tokenizer above."""
    sizes: dict[str, Any] = {
        "vocab_size": 320,
        "hidden_size": 24,
        "intermediate_size": 28,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 64,
        "pad_token_id": 300,
        "eos_token_id": 302,
    }
    return hf.Qwen2Config(**(sizes | changes))


def make(name: str = "Qwen2ForCausalLM", *, seed: int = 0, **changes: Any) -> Any:
    """A model of a class of transformers, its random weights large enough to matter."""
    generator = torch.Generator().manual_seed(seed)
    model = getattr(hf, name)(config(**changes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.3, generator=generator)
            if parameter.ndim == 1:
                parameter.add_(0.5)
    model.config.architectures = [name]
    return model


def write(folder: Path, name: str, **changes: Any) -> Any:
    """Save a checkpoint with its tokenizer; gives the model that was saved."""
    model = make(name, **changes)
    model.save_pretrained(folder)
    write_tokenizer(folder)
    return model
