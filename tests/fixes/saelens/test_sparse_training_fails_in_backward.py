"""A dictionary with sparse activations is trained as one with dense activations is."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tl_ext import fixes
from tl_ext.fixes.saelens.sparse_training_fails_in_backward import SLUG

pytestmark = [
    pytest.mark.saelens,
    # Upstream's TopK makes the sparse tensor, without saying whether it is to be checked.
    pytest.mark.filterwarnings("ignore:Sparse invariant checks:UserWarning"),
]

D_IN, D_SAE = 8, 24
DEAD = torch.arange(D_SAE) % 3 == 0


def dictionary(*, sparse: bool, dtype: str = "float64", **changes: Any) -> Any:
    """A TopK dictionary whose decoder rows have norms of their own."""
    from sae_lens.saes.topk_sae import TopKTrainingSAE, TopKTrainingSAEConfig

    settings: dict[str, Any] = {"rescale_acts_by_decoder_norm": True, **changes}
    config = TopKTrainingSAEConfig(
        d_in=D_IN, d_sae=D_SAE, k=4, dtype=dtype, use_sparse_activations=sparse, **settings
    )
    sae = TopKTrainingSAE(config)
    draw = torch.Generator().manual_seed(3)
    for parameter in sae.parameters():
        parameter.data = torch.randn(parameter.shape, generator=draw).to(parameter.dtype)
    sae.W_dec.data *= torch.linspace(0.2, 3, D_SAE)[:, None].to(sae.W_dec.dtype)
    return sae


def inputs(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, D_IN, generator=torch.Generator().manual_seed(4)).double()


def step(sae: Any, x: torch.Tensor, dead: torch.Tensor | None = None) -> Any:
    """What one forward and backward gives, beside the gradients in the parameters."""
    from sae_lens.saes.sae import TrainStepInput

    given = TrainStepInput(
        sae_in=x, coefficients={}, dead_neuron_mask=dead, n_training_steps=0, is_logging_step=False
    )
    out = sae.training_forward_pass(given)
    out.loss.backward()
    return out


def assert_same_step(sparse: Any, dense: Any, x: torch.Tensor, dead: torch.Tensor | None) -> None:
    found, expected = step(sparse, x, dead), step(dense, x, dead)
    torch.testing.assert_close(found.sae_out, expected.sae_out)
    torch.testing.assert_close(found.feature_acts.to_dense(), expected.feature_acts)
    assert found.losses.keys() == expected.losses.keys()
    for name in expected.losses:
        torch.testing.assert_close(found.losses[name], expected.losses[name])
    for name, parameter in dense.named_parameters():
        assert parameter.grad.abs().max() > 0
        torch.testing.assert_close(sparse.get_parameter(name).grad, parameter.grad)


@pytest.mark.parametrize("shape", [(5,), (1,), (2, 3), (2, 1, 3)])
@pytest.mark.parametrize(
    ("normalised", "dead"),
    # Upstream has no auxiliary loss with layer_norm, and says so.
    [("none", None), ("none", DEAD), ("layer_norm", None)],
    ids=["none dead", "some dead", "layer_norm"],
)
def test_losses_reconstructions_and_gradients_are_those_of_dense_activations(
    shape: tuple[int, ...], normalised: str, dead: torch.Tensor | None
) -> None:
    sparse, dense = (
        dictionary(sparse=sparse, normalize_activations=normalised) for sparse in (True, False)
    )
    with fixes.applied(SLUG):
        assert_same_step(sparse, dense, inputs(*shape), dead)
        assert sparse(inputs(2)).shape == (2, D_IN)


def test_gradients_are_those_of_the_formula() -> None:
    x, sae = inputs(5), dictionary(sparse=True)
    with fixes.applied(SLUG):
        step(sae, x)
    leaves = {
        name: value.detach().clone().requires_grad_() for name, value in sae.named_parameters()
    }
    norms = leaves["W_dec"].norm(dim=-1)
    before = ((x - leaves["b_dec"]) @ leaves["W_enc"] + leaves["b_enc"]) * norms
    kept = torch.zeros_like(before).scatter(1, before.topk(4).indices, 1.0)
    out = (before.relu() * kept) @ (leaves["W_dec"] / norms[:, None]) + leaves["b_dec"]
    (out - x).pow(2).sum(-1).mean().backward()
    for name, leaf in leaves.items():
        torch.testing.assert_close(sae.get_parameter(name).grad, leaf.grad)


def test_sparse_activations_stay_sparse_up_to_the_product(monkeypatch: pytest.MonkeyPatch) -> None:
    from sae_lens.saes import topk_sae

    seen: list[tuple[bool, int]] = []
    multiply = topk_sae._sparse_matmul_nd

    def watched(latents: torch.Tensor, decoder: torch.Tensor) -> torch.Tensor:
        seen.append((latents.is_sparse, latents._nnz()))
        return multiply(latents, decoder)

    monkeypatch.setattr(topk_sae, "_sparse_matmul_nd", watched)
    with fixes.applied(SLUG):
        step(dictionary(sparse=True), inputs(5))
    assert seen == [(True, 5 * 4)]


def test_a_hook_on_the_latents_sees_and_edits_them() -> None:
    def edit(latents: torch.Tensor, hook: Any) -> torch.Tensor:
        return latents * 2

    sparse, dense = dictionary(sparse=True), dictionary(sparse=False)
    with fixes.applied(SLUG):
        for sae in (sparse, dense):
            sae.hook_sae_acts_post.add_hook(edit)
        assert_same_step(sparse, dense, inputs(5), DEAD)


def trained(*, sparse: bool) -> dict[str, torch.Tensor]:
    """The weights after upstream's trainer has taken a dozen steps, with dead latents at the end."""
    from sae_lens.config import SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    draw = torch.Generator().manual_seed(5)
    trainer = SAETrainer(
        SAETrainerConfig(
            total_training_samples=12 * 16,
            train_batch_size_samples=16,
            lr=1e-2,
            lr_end=1e-3,
            dead_feature_window=1,
            feature_sampling_window=5,
        ),
        sae=dictionary(sparse=sparse),
        data_provider=(torch.randn(16, D_IN, generator=draw).double() for _ in range(12)),
    )
    sae = trainer.fit()
    assert trainer.dead_neurons.any()
    return {name: value.detach() for name, value in sae.state_dict().items()}


def test_training_gives_the_weights_that_dense_activations_give() -> None:
    start = dictionary(sparse=False).state_dict()
    with fixes.applied(SLUG):
        found, expected = trained(sparse=True), trained(sparse=False)
    for name, value in expected.items():
        assert not torch.equal(value, start[name])
        torch.testing.assert_close(found[name], value)


@pytest.mark.parametrize("shape", [(5,), (2, 3)])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_was_right_is_bitwise_what_it_was(shape: tuple[int, ...], dtype: str) -> None:
    def everything() -> list[torch.Tensor]:
        x = inputs(*shape).to(getattr(torch, dtype))
        dense = dictionary(sparse=False, dtype=dtype)
        unscaled = dictionary(sparse=True, dtype=dtype, rescale_acts_by_decoder_norm=False)
        frozen = dictionary(sparse=True, dtype=dtype)
        frozen.W_dec.requires_grad_(False)
        found = []
        for sae in (dense, unscaled, frozen):
            out = step(sae, x)
            found += [out.sae_out, out.loss]
            found += [value.grad for value in sae.parameters() if value.grad is not None]
        with torch.no_grad():
            found.append(dictionary(sparse=True, dtype=dtype)(x))
        return found

    before = everything()
    with fixes.applied(SLUG):
        after = everything()
    assert len(before) == len(after)
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


def test_without_the_fix_the_first_backward_fails() -> None:
    with pytest.raises(NotImplementedError, match="aten::view"):
        step(dictionary(sparse=True), inputs(5))
