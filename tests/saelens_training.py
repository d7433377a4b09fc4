"""What tests of training with SAELens share: dictionaries whose scores are known, small runs."""

from __future__ import annotations

from typing import Any

import torch


def identity_sae(hook_point: str, d_in: int) -> Any:
    """A dictionary of SAELens' that gives back what it reads: one latent for each sign."""
    eye = torch.eye(d_in)
    return _standard(hook_point, W_enc=torch.cat([eye, -eye], dim=1), W_dec=torch.cat([eye, -eye]))


def zero_sae(hook_point: str, d_in: int) -> Any:
    """A dictionary of SAELens' that reconstructs nothing."""
    return _standard(hook_point, W_enc=torch.zeros(d_in, 2), W_dec=torch.zeros(2, d_in))


def _standard(hook_point: str, *, W_enc: torch.Tensor, W_dec: torch.Tensor) -> Any:
    from sae_lens.saes.sae import SAEMetadata
    from sae_lens.saes.standard_sae import StandardSAE, StandardSAEConfig

    d_in, d_sae = W_enc.shape
    metadata = SAEMetadata(hook_name=hook_point)
    sae = StandardSAE(StandardSAEConfig(d_in=d_in, d_sae=d_sae, metadata=metadata))
    weights = {"W_enc": W_enc, "W_dec": W_dec, "b_enc": torch.zeros(d_sae)}
    sae.load_state_dict(weights | {"b_dec": torch.zeros(d_in)})
    return sae
