"""Models that dictionaries are attached to, and dictionaries to attach."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.tiny import CONTEXT, LAYERS, VOCABULARY, WIDTH, tiny_hf_model

from tl_ext.upstream import stand_in_tokenizer, transformer_lens_major

IDS = torch.tensor([[2, 5, 6, 9, 30], [2, 7, 41, 8, 11]])
WITH_HOOKED = transformer_lens_major() < 4
CLASSES = ("bridge", *(["hooked"] if WITH_HOOKED else []))
both_classes = pytest.mark.parametrize("kind", CLASSES)


def bridge(family: str = "gpt2", *, tokenizer: Any = None, compatible: bool = False) -> Any:
    """A new SAETransformerBridge of a tiny model, which a test may leave as it likes.

    Args:
        family: One of `FAMILIES`.
        tokenizer: What to boot with; None for a stand-in.
        compatible: Whether compatibility mode is on, without processing.
    """
    from sae_lens.analysis.sae_transformer_bridge import SAETransformerBridge

    made = SAETransformerBridge.boot_transformers(
        "tiny",
        hf_model=tiny_hf_model(family),
        tokenizer=tokenizer or stand_in_tokenizer(),
        device="cpu",
    )
    if compatible:
        made.enable_compatibility_mode(disable_warnings=True, no_processing=True)
    return made


def hooked(seed: int = 0) -> Any:
    """A new HookedSAETransformer with random weights."""
    from sae_lens import HookedSAETransformer
    from transformer_lens import HookedTransformerConfig

    return HookedSAETransformer(
        HookedTransformerConfig(
            n_layers=LAYERS,
            d_model=WIDTH,
            n_heads=3,
            d_head=WIDTH // 3,
            d_mlp=28,
            n_ctx=CONTEXT,
            d_vocab=VOCABULARY,
            act_fn="gelu_new",
            normalization_type="LN",
            device="cpu",
            seed=seed,
        )
    )


def model_of(kind: str) -> Any:
    """A model of either class that takes dictionaries."""
    return bridge() if kind == "bridge" else hooked()


def sae(hook_point: str, *, width: int = WIDTH, seed: int = 1, **options: Any) -> Any:
    """An SAE of random weights; `options` are its config's."""
    from sae_lens.saes.sae import SAEMetadata
    from sae_lens.saes.standard_sae import StandardSAE, StandardSAEConfig

    metadata = SAEMetadata(hook_name=hook_point)
    config = StandardSAEConfig(d_in=width, d_sae=2 * width, metadata=metadata, **options)
    return filled(StandardSAE(config), seed)


def transcoder(
    hook_in: str, hook_out: str, *, kind: str = "Transcoder", width: int = WIDTH, seed: int = 2
) -> Any:
    """A transcoder of random weights, of one of SAELens' classes."""
    from sae_lens.saes import transcoder as classes
    from sae_lens.saes.sae import SAEMetadata

    metadata = SAEMetadata(hook_name=hook_in, hook_name_out=hook_out)
    config = getattr(classes, f"{kind}Config")(
        d_in=width, d_out=width, d_sae=2 * width, apply_b_dec_to_input=False, metadata=metadata
    )
    return filled(getattr(classes, kind)(config), seed)


def filled(module: Any, seed: int) -> Any:
    """The module with weights large enough to matter."""
    random = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.data.normal_(std=0.3, generator=random)
    return module


def counting(fired: list[Any]) -> Any:
    """A hook that notes what it sees and changes nothing."""
    return lambda x, hook: fired.append(x.detach().clone())
