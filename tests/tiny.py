"""Tiny models with random weights, made in milliseconds and shared by all tests.

`from tests.tiny import tiny_model`; a model is made once per process, so leave it as it was.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

VOCABULARY = 61
WIDTH = 24
LAYERS = 3
CONTEXT = 64

FAMILIES = ("gpt2", "llama", "qwen2", "gpt_neox", "phi")
"""Plain; grouped key-value heads; no BOS; a parallel block; a parallel block with one norm."""


def tiny_tokenizer(*, one_special_token: bool = True) -> PreTrainedTokenizerFast:
    """A tokenizer of words `w4` to `w60`, one token each.

    Args:
        one_special_token: Padding, BOS and EOS are one token, as for GPT-2; else there is no BOS, and
            padding and EOS are two tokens.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = {"<unk>": 0, "<pad>": 1, "<eos>": 2, "<x>": 3}
    words = {f"w{number}": number for number in range(4, VOCABULARY)}
    tokenizer = Tokenizer(models.WordLevel(special | words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    ends = (
        {"bos_token": "<eos>", "eos_token": "<eos>", "pad_token": "<eos>"}
        if one_special_token
        else {"eos_token": "<eos>", "pad_token": "<pad>"}
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", **ends)


def tiny_hf_model(family: str, *, seed: int = 0) -> PreTrainedModel:
    """A Hugging Face model of a family of `FAMILIES`, with weights large enough to matter."""
    import transformers as hf

    sizes: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "hidden_size": WIDTH,
        "intermediate_size": 28,
        "num_hidden_layers": LAYERS,
        "max_position_embeddings": CONTEXT,
        "bos_token_id": 2,
        "eos_token_id": 2,
        "pad_token_id": 2,
    }
    configs: dict[str, Any] = {
        "gpt2": lambda: hf.GPT2Config(
            vocab_size=VOCABULARY,
            n_embd=WIDTH,
            n_layer=LAYERS,
            n_head=3,
            n_positions=CONTEXT,
            bos_token_id=2,
            eos_token_id=2,
        ),
        "llama": lambda: hf.LlamaConfig(num_attention_heads=3, num_key_value_heads=1, **sizes),
        "qwen2": lambda: hf.Qwen2Config(num_attention_heads=4, num_key_value_heads=2, **sizes),
        "gpt_neox": lambda: hf.GPTNeoXConfig(num_attention_heads=3, **sizes),
        "phi": lambda: hf.PhiConfig(num_attention_heads=3, **sizes),
    }
    state = torch.random.get_rng_state()
    torch.manual_seed(seed)
    try:
        model = hf.AutoModelForCausalLM.from_config(configs[family]()).eval()
        for parameter in model.parameters():
            parameter.data.add_(0.2 * torch.randn_like(parameter))
    finally:
        torch.random.set_rng_state(state)
    model.config.architectures = [type(model).__name__]
    return model


def make_tiny_model(family: str = "gpt2", *, seed: int = 0) -> TransformerBridge:
    """A hooked model of its own, for tests that change it. Qwen2 comes without a BOS token."""
    from tl_ext.models.loading import load_model

    tokenizer = tiny_tokenizer(one_special_token=family != "qwen2")
    return load_model(tiny_hf_model(family, seed=seed), tokenizer=tokenizer)


@cache
def tiny_model(family: str = "gpt2", *, seed: int = 0) -> TransformerBridge:
    """The same, made once per process and shared: leave it as it was."""
    return make_tiny_model(family, seed=seed)
