"""A Llama under a new name: what a package with an architecture of its own would bring."""

from __future__ import annotations

from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM


class ExampleLlamaConfig(LlamaConfig):
    model_type = "example_llama"


class ExampleLlamaForCausalLM(LlamaForCausalLM):
    config_class = ExampleLlamaConfig


def register() -> None:
    """Teach transformers the two classes. Harmless when it is called again."""
    AutoConfig.register("example_llama", ExampleLlamaConfig, exist_ok=True)
    AutoModelForCausalLM.register(ExampleLlamaConfig, ExampleLlamaForCausalLM, exist_ok=True)


def tiny(vocabulary: int = 16) -> ExampleLlamaForCausalLM:
    """A model of a few hundred random weights.

    Args:
        vocabulary: Number of tokens.
    """
    config = ExampleLlamaConfig(
        vocab_size=vocabulary,
        hidden_size=8,
        intermediate_size=12,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=32,
        architectures=["ExampleLlamaForCausalLM"],
    )
    model = ExampleLlamaForCausalLM(config)
    model.train(False)
    return model
