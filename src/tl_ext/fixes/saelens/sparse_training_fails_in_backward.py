"""SAELens: a TopK dictionary with sparse activations cannot be trained.

With `use_sparse_activations=True` and `rescale_acts_by_decoder_norm=True`, which is the default, decoding
multiplies a sparse tensor of latents by the dense vector of inverse decoder norms. Torch has no backward
for that vector, so the first `loss.backward()` ends in "Could not run 'aten::view' with arguments from
the 'SparseCPU' backend". Seen on CPU.

The fix scales the values that the sparse tensor holds instead: nothing is made dense, and losses and
gradients are those of `use_sparse_activations=False`. It acts where the decoder's gradient is asked for;
everything else is computed as before. Under autocast upstream computes sparse and dense latents with
different precision, with the fix too.
Source: `sae_lens/saes/topk_sae.py`, `act_times_W_dec`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

from tl_ext.fixes.probing import Finding, State

if TYPE_CHECKING:
    from torch import Tensor

SLUG = "sparse-training-fails-in-backward"


def wrap(times_decoder: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The replacement for `act_times_W_dec`.

    Args:
        times_decoder: What is there now.

    Returns:
        The same, with sparse latents scaled before it sees them.
    """

    @wraps(times_decoder)
    def with_values_scaled(
        feature_acts: Tensor, W_dec: Tensor, rescale_acts_by_decoder_norm: bool
    ) -> Tensor:
        import torch

        # Without a gradient upstream's product is right, and sums in an order of its own.
        trained = torch.is_grad_enabled() and W_dec.requires_grad
        if rescale_acts_by_decoder_norm and feature_acts.is_sparse and trained:
            scaled = _scaled(feature_acts, 1 / W_dec.norm(dim=-1))
            return times_decoder(scaled, W_dec, False)
        return times_decoder(feature_acts, W_dec, rescale_acts_by_decoder_norm)

    return with_values_scaled


def _scaled(latents: Tensor, scale: Tensor) -> Tensor:
    """Sparse latents `(..., latent)` times a scale of each latent `(latent,)`."""
    import torch

    latents = latents.coalesce()
    indices = latents.indices()
    values = latents.values() * scale[indices[-1]]
    return torch.sparse_coo_tensor(indices, values, latents.shape, is_coalesced=True)


def probe() -> Finding:
    """Ask a dictionary with sparse activations for the gradients of one training step.

    Returns:
        PRESENT where there are none or others than with dense activations, ABSENT where they agree.
    """
    expected = _gradients(sparse=False)
    try:
        found = _gradients(sparse=True)
    except RuntimeError as error:
        return Finding(State.PRESENT, f"backward fails: {str(error).partition('.')[0]}")
    apart = max((found[name] - expected[name]).abs().max().item() for name in expected)
    if apart > 1e-9:
        return Finding(State.PRESENT, f"gradients are {apart:.2g} from those of dense activations")
    return Finding(State.ABSENT, "gradients are those of dense activations")


def _gradients(*, sparse: bool) -> dict[str, Any]:
    import torch
    from sae_lens.saes.sae import TrainStepInput
    from sae_lens.saes.topk_sae import TopKTrainingSAE, TopKTrainingSAEConfig

    torch.manual_seed(0)
    config = TopKTrainingSAEConfig(
        d_in=4,
        d_sae=6,
        k=2,
        dtype="float64",
        use_sparse_activations=sparse,
        rescale_acts_by_decoder_norm=True,
    )
    sae = TopKTrainingSAE(config)
    for parameter in sae.parameters():
        parameter.data.normal_()
    step = TrainStepInput(
        sae_in=torch.randn(3, 4, dtype=torch.float64),
        coefficients={},
        dead_neuron_mask=None,
        n_training_steps=0,
        is_logging_step=False,
    )
    sae.training_forward_pass(step).loss.backward()
    return {name: parameter.grad for name, parameter in sae.named_parameters()}
