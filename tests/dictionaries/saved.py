"""Folders as SAELens writes them, made without SAELens, and random dictionaries by architecture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from tl_ext.dictionaries import folders
from tl_ext.dictionaries.sparse import SparseDictionary

D_IN, D_LATENT, D_OUT = 8, 20, 6

NORMALISATIONS = ("none", "constant_norm_rescale", "layer_norm")


def config_of(architecture: str = "standard", **changes: Any) -> dict[str, Any]:
    """A configuration as SAELens 6 writes it."""
    transcoder = architecture in folders.TRANSCODERS
    metadata = {
        "sae_lens_version": "6.54.12",
        "sae_lens_training_version": "6.54.12",
        "model_name": "tiny",
        "hook_name": "blocks.1.hook_resid_pre",
        **({"hook_name_out": "blocks.1.hook_mlp_out"} if transcoder else {}),
        **changes.pop("metadata", {}),
    }
    config: dict[str, Any] = {
        "d_in": D_IN,
        "d_sae": D_LATENT,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": not transcoder,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": metadata,
        "architecture": architecture,
    }
    if architecture == "topk":
        config |= {"k": 4, "rescale_acts_by_decoder_norm": False}
    if transcoder:
        config["d_out"] = D_OUT
    return config | changes


def weights_of(config: dict[str, Any], *, seed: int = 0) -> dict[str, Tensor]:
    """Random weights under which some latents are active and some are not."""
    parsed = folders.parse_config(config, where="test")
    generator = torch.Generator().manual_seed(seed)

    def tensor(name: str, shape: tuple[int, ...]) -> Tensor:
        drawn = torch.randn(shape, generator=generator)
        return drawn.abs() * 0.3 if "threshold" in name else drawn * (0.5 if "W" in name else 0.2)

    return {name: tensor(name, shape) for name, shape in parsed.shapes.items()}


def save(folder: Path, config: dict[str, Any], weights: dict[str, Tensor] | None = None) -> Path:
    """Write both files of a dictionary."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cfg.json").write_text(json.dumps(config))
    tensors = weights_of(config) if weights is None else weights
    save_file(
        {name: value.contiguous() for name, value in tensors.items()},
        folder / "sae_weights.safetensors",
    )
    return folder


def dictionary_of(
    architecture: str = "standard", *, seed: int = 0, **changes: Any
) -> SparseDictionary:
    """A random dictionary, through the same code as files."""
    config = config_of(architecture, **changes)
    return folders.build(folders.parse_config(config, where="test"), weights_of(config, seed=seed))
