"""Dictionaries of SAELens' classes, and models they stand in, for the tests of the checks."""

from __future__ import annotations

from typing import Any

import torch
from tests.dictionaries.test_against_saelens import randomised
from tests.tiny import WIDTH

from tl_ext.conformance.dictionaries.subject import DictionarySubject, of_dictionary

IDS = torch.tensor([[5, 6, 9, 30], [7, 41, 8, 11]])

PRE, Z = "blocks.1.hook_resid_pre", "blocks.1.attn.hook_z"
OVER = {"hook": "blocks.1.ln2.hook_out", "out": "blocks.1.hook_mlp_out"}

KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "standard": ("standard", {}),
    "standard-layer-norm": ("standard", {"normalize_activations": "layer_norm"}),
    "topk-by-norm": ("topk", {"k": 5, "rescale_acts_by_decoder_norm": True}),
    "abstopk": ("abstopk", {"k": 4}),
    "jumprelu-constant-norm": ("jumprelu", {"normalize_activations": "constant_norm_rescale"}),
    "gated-at-mid": ("gated", {"hook": "blocks.1.hook_resid_mid"}),
    "matching-pursuit": ("matching_pursuit", {"max_iterations": 3}),
    "hook-z": ("standard", {"hook": Z, "reshape_activations": "hook_z"}),
    "hook-z-flat": ("standard", {"hook": Z}),
    "temporal": ("temporal", {"d_sae": 64, "n_heads": 1, "kval_topk": 4}),
    "transcoder": ("transcoder", OVER),
    "skip-transcoder": ("skip_transcoder", OVER),
    "jumprelu-skip-transcoder": ("jumprelu_skip_transcoder", OVER),
}
"""By name, the architecture, and what its configuration says besides."""


def sae_of(kind: str) -> Any:
    """A dictionary of one of `KINDS`, with weights large enough to matter."""
    from sae_lens.registry import get_sae_class
    from sae_lens.saes.sae import SAEMetadata

    architecture, given = KINDS[kind]
    made, config = get_sae_class(architecture)
    settings = {"hook": PRE, "out": None, "d_sae": 40} | given
    hook, out = settings.pop("hook"), settings.pop("out")
    metadata = SAEMetadata(hook_name=hook, **({"hook_name_out": out} if out else {}))
    if out:
        settings |= {"apply_b_dec_to_input": False, "d_out": WIDTH}
    return randomised(made(config(d_in=WIDTH, metadata=metadata, **settings)))


def model(family: str = "gpt2", *, tokenizer: Any = None) -> Any:
    """A bridge that takes SAELens' dictionaries."""
    from tests.fixes.saelens.attached import bridge

    return bridge(family, tokenizer=tokenizer)


def subject_of(kind: str, family: str = "gpt2") -> DictionarySubject:
    """A dictionary of one of `KINDS` in a model of its own."""
    return of_dictionary(sae_of(kind), model(family), IDS)
