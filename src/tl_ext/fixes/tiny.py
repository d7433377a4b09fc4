"""Tiny models and tokenizers for probes, made in milliseconds of random weights.

What they share with real ones is their class; sizes are the least that will do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from tl_ext.upstream import stand_in_tokenizer

if TYPE_CHECKING:
    from transformers import GPT2LMHeadModel

DECODER: Mapping[str, Any] = MappingProxyType(
    {
        "vocab_size": 8,
        "hidden_size": 8,
        "intermediate_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "num_key_value_heads": 1,
        "max_position_embeddings": 8,
    }
)
"""Sizes of a decoder of Llama's kind, in the words of its config."""

PREFIX = ("<mask>", "<begin>")
"""A prefix of two tokens, as ChatGLM's `[gMASK] sop` is."""


def gpt2() -> GPT2LMHeadModel:
    """A GPT-2 of a few hundred weights, large enough to matter."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(n_embd=4, n_layer=1, n_head=1, n_positions=8, vocab_size=8)
    model: GPT2LMHeadModel = GPT2LMHeadModel(config)
    model.eval()
    for parameter in model.parameters():
        parameter.data.normal_()
    return model


def gpt2_bridge(tokenizer: Any = None) -> Any:
    """A TransformerBridge of a GPT-2 of a few hundred weights.

    Args:
        tokenizer: What to boot with; None for a stand-in.
    """
    from transformer_lens.model_bridge import TransformerBridge

    if tokenizer is None:
        tokenizer = stand_in_tokenizer()
    return TransformerBridge.boot_transformers(
        "gpt2", hf_model=gpt2(), tokenizer=tokenizer, device="cpu"
    )


def boot(config: Any, **options: Any) -> Any:
    """A bridge of a decoder of random weights, large enough to matter.

    Args:
        config: A transformers config that `AutoModelForCausalLM` knows.
        options: What `boot_transformers` takes besides.
    """
    import torch
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    for parameter in model.parameters():
        parameter.data.add_(0.3 * torch.randn_like(parameter))
    model.config.architectures = [type(model).__name__]
    return TransformerBridge.boot_transformers(
        "tiny",
        hf_model=model.to(options.get("dtype", torch.float32)),
        tokenizer=stand_in_tokenizer(),
        device="cpu",
        **options,
    )


def tokenizer_without_bos(prefix: Sequence[str] = ()) -> Any:
    """A tokenizer of the words `a` and `b`, with EOS and padding, and no BOS.

    Args:
        prefix: What it puts before a text.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    names = ("a", "b", "<end>", "<pad>", *prefix)
    words = Tokenizer(
        models.WordLevel({name: id for id, name in enumerate(names)}, unk_token="<pad>")
    )
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.post_processor = processors.TemplateProcessing(
        single=" ".join((*prefix, "$A")),
        special_tokens=[(name, names.index(name)) for name in prefix],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=words, unk_token="<pad>", eos_token="<end>", pad_token="<pad>"
    )


def sae_bridge() -> Any:
    """An SAETransformerBridge of a GPT-2 of a few hundred weights."""
    from sae_lens.analysis.sae_transformer_bridge import SAETransformerBridge

    return SAETransformerBridge.boot_transformers(
        "gpt2", hf_model=gpt2(), tokenizer=stand_in_tokenizer(), device="cpu"
    )


def sae(hook_point: str) -> Any:
    """An SAE of SAELens' with random weights, for a hook point of `sae_bridge`."""
    import torch
    from sae_lens.saes.sae import SAEMetadata
    from sae_lens.saes.standard_sae import StandardSAE, StandardSAEConfig

    metadata = SAEMetadata(hook_name=hook_point)
    made = StandardSAE(StandardSAEConfig(d_in=4, d_sae=6, metadata=metadata))
    torch.manual_seed(1)
    for parameter in made.parameters():
        parameter.data.normal_()
    return made


def transcoder(hook_in: str, hook_out: str) -> Any:
    """A transcoder of SAELens' with random weights, between two hook points of `sae_bridge`."""
    import torch
    from sae_lens.saes.sae import SAEMetadata
    from sae_lens.saes.transcoder import Transcoder, TranscoderConfig

    metadata = SAEMetadata(hook_name=hook_in, hook_name_out=hook_out)
    made = Transcoder(
        TranscoderConfig(d_in=4, d_out=4, d_sae=6, apply_b_dec_to_input=False, metadata=metadata)
    )
    torch.manual_seed(2)
    for parameter in made.parameters():
        parameter.data.normal_()
    return made
