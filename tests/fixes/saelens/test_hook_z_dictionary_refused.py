"""A dictionary trained with heads side by side is attached where they lie apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.both_families import identity_sae
from tests.fixes.saelens.attached import bridge
from tests.tiny import VOCABULARY

from tl_ext import fixes
from tl_ext.fixes.saelens.hook_z_dictionary_refused import HOOK_POINT, SLUG
from tl_ext.fixes.saelens.planted import rows, training

pytestmark = pytest.mark.saelens

HEADS, D_HEAD = 3, 4
IDS = torch.tensor([[2, 5, 6, 7, 9], [2, 7, 8, 41, 8]])


@pytest.fixture
def model() -> Any:
    """A HookedSAETransformer; TransformerLens 4 has none."""
    pytest.importorskip("transformer_lens.HookedTransformer")
    from sae_lens import HookedSAETransformer
    from transformer_lens import HookedTransformerConfig

    config = HookedTransformerConfig(
        n_layers=2, d_model=12, n_heads=HEADS, d_head=D_HEAD, d_mlp=16, n_ctx=16,
        act_fn="gelu_new", d_vocab=VOCABULARY, device="cpu", seed=0,
    )  # fmt: skip
    return HookedSAETransformer(config)


def flat_sae(architecture: str = "Standard", **settings: Any) -> Any:
    """A random dictionary with heads side by side, as training leaves it."""
    from sae_lens import saes
    from sae_lens.saes.sae import SAEMetadata

    torch.manual_seed(0)
    config = getattr(saes, f"{architecture}SAEConfig")(
        d_in=HEADS * D_HEAD, d_sae=20, metadata=SAEMetadata(hook_name=HOOK_POINT), **settings
    )
    sae = getattr(saes, f"{architecture}SAE")(config)
    for parameter in sae.parameters():
        parameter.data = 0.3 * torch.randn_like(parameter)
    return sae


def by_hand(model: Any, sae: Any) -> torch.Tensor:
    """Logits with the reconstruction put in place by a plain hook."""

    def edit(z: torch.Tensor, hook: Any) -> torch.Tensor:
        return sae(z.flatten(-2)).unflatten(-1, z.shape[-2:])

    return model.run_with_hooks(IDS, fwd_hooks=[(HOOK_POINT, edit)])  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("architecture", "settings"),
    [("Standard", {}), ("TopK", {"k": 4}), ("JumpReLU", {}), ("Gated", {}),
     ("Standard", {"normalize_activations": "layer_norm"})],
)  # fmt: skip
def test_attached_it_does_what_a_hook_does(
    model: Any, architecture: str, settings: dict[str, Any]
) -> None:
    sae = flat_sae(architecture, **settings)
    flat = torch.randn(2, 5, HEADS * D_HEAD)
    before = sae.encode(flat)
    with torch.no_grad(), fixes.applied(SLUG):
        spliced = model.run_with_saes(IDS, saes=[sae])
        kept = model.run_with_saes(IDS, saes=[sae], use_error_term=True)
    torch.testing.assert_close(spliced, by_hand(model, sae))
    torch.testing.assert_close(kept, model(IDS), atol=1e-4, rtol=1e-4)
    assert (spliced - model(IDS)).abs().max() > 1e-3
    assert torch.equal(sae.encode(flat), before), "what a store yields is read as before"
    assert sae.cfg.reshape_activations == "none"


def test_a_trained_and_saved_one(model: Any, tmp_path: Path) -> None:
    from sae_lens import SAE, StandardTrainingSAEConfig

    run = training(
        model,
        rows(40),
        hook_name=HOOK_POINT,
        sae=StandardTrainingSAEConfig(d_in=HEADS * D_HEAD, d_sae=20),
        output_path=str(tmp_path),
    )
    trained = run.run()
    saved = SAE.load_from_disk(tmp_path)
    with pytest.raises(RuntimeError, match="must match the size"):
        model.run_with_saes(IDS, saes=[saved])
    with torch.no_grad(), fixes.applied(SLUG):
        for sae in (saved, trained):
            torch.testing.assert_close(model.run_with_saes(IDS, saes=[sae]), by_hand(model, saved))


def test_hooks_and_the_cache_are_as_for_one_that_says_hook_z(model: Any) -> None:
    plain, said = flat_sae(), flat_sae(reshape_activations="hook_z")
    expected = model.run_with_cache_with_saes(IDS, saes=[said], use_error_term=True)[1]
    with fixes.applied(SLUG):
        found = model.run_with_cache_with_saes(IDS, saes=[plain], use_error_term=True)[1]
    assert set(found) == set(expected)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], atol=0, rtol=0)


def test_an_error_inside_leaves_the_dictionary_as_it_was(model: Any) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("broken")

    sae = flat_sae()
    with fixes.applied(SLUG), pytest.raises(RuntimeError, match="broken"):
        model.run_with_hooks_with_saes(
            IDS, saes=[sae], fwd_hooks=[(f"{HOOK_POINT}.hook_sae_recons", broken)]
        )
    assert sae.hook_z_reshaping_mode is False


def test_what_was_read_is_read_as_before() -> None:
    """Heads side by side, one head alone, and a width that fits nothing."""
    from sae_lens.analysis.hooked_sae_transformer import _SAEWrapper

    flat, one_head = torch.randn(2, 3, 12), torch.randn(2, 3, 1, 12)
    wrapper = _SAEWrapper(flat_sae())
    before = [wrapper(flat), wrapper(one_head)]
    with fixes.applied(SLUG):
        after = [wrapper(flat), wrapper(one_head)]
        with pytest.raises(RuntimeError):
            wrapper(torch.randn(2, 3, 2, 4))
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


def test_a_bridge_is_spliced_as_before() -> None:
    sae = identity_sae("blocks.1.attn.hook_z", 24)
    found = []
    for applied in ((), (SLUG,)):
        model = bridge()
        with torch.no_grad(), fixes.applied(*applied):
            found.append(model.run_with_saes(IDS, saes=[sae]))
    assert torch.equal(*found)
