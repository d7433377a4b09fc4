"""Latents are decoded with the scale of the input they were made of."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
import torch

from tl_ext import fixes
from tl_ext.fixes.saelens.decode_scales_by_another_input import KEPT_BY, SLUG, _scales

pytestmark = pytest.mark.saelens

KINDS: dict[str, dict[str, Any]] = {
    "StandardSAE": {},
    "TopKSAE": {"k": 3},
    "JumpReLUSAE": {},
    "GatedSAE": {},
    "MatchingPursuitSAE": {},
    "StandardTrainingSAE": {},
    "TopKTrainingSAE": {"k": 3, "use_sparse_activations": False},
    "BatchTopKTrainingSAE": {"k": 3},
    "JumpReLUTrainingSAE": {},
    "GatedTrainingSAE": {},
    "MatchingPursuitTrainingSAE": {},
}


def dictionary(kind: str = "StandardSAE", scaling: str = "layer_norm") -> Any:
    from sae_lens import saes

    torch.manual_seed(0)
    config = getattr(saes, f"{kind}Config")(
        d_in=6, d_sae=12, normalize_activations=scaling, **KINDS[kind]
    )
    sae = getattr(saes, kind)(config)
    for name, parameter in sae.named_parameters():
        if name in ("W_enc", "W_dec", "b_dec"):
            parameter.data = torch.randn_like(parameter)
    return sae.eval()


def inputs() -> list[torch.Tensor]:
    torch.manual_seed(1)
    return [scale * torch.randn(4, 6) + scale for scale in (1.0, 9.0, 0.2)]


@torch.no_grad()
@pytest.mark.parametrize("scaling", KEPT_BY)
@pytest.mark.parametrize("kind", KINDS)
def test_in_any_order_and_as_often_as_one_likes(kind: str, scaling: str) -> None:
    sae = dictionary(kind, scaling)
    # What is right: each input straight through, decoded before the next is encoded.
    expected = [sae.decode(sae.encode(x)) for x in inputs()]
    with fixes.applied(SLUG):
        latents = [sae.encode(x) for x in inputs()]
        for place in (1, 0, 2, 0, 1, 1):
            assert torch.equal(sae.decode(latents[place]), expected[place])
        assert torch.equal(sae.decode(sae.encode(inputs()[1])), expected[1])


def test_the_inverse_of_layer_norm_by_hand() -> None:
    x, y, _ = inputs()
    sae = dictionary()
    mean, std = x.mean(-1, keepdim=True), x.std(-1, keepdim=True)
    with fixes.applied(SLUG):
        latents = sae.encode(x)
        sae.encode(y)
        found = sae.decode(latents)
    torch.testing.assert_close(found, (latents @ sae.W_dec + sae.b_dec) * std + mean)


def test_latents_changed_in_place_keep_their_scale() -> None:
    x, y, _ = inputs()
    sae = dictionary()
    edited = sae.encode(x).detach()
    edited[:, 3] += 2
    expected = sae.decode(edited)
    with torch.no_grad(), fixes.applied(SLUG):
        latents = sae.encode(x)
        sae.encode(y)
        latents[:, 3] += 2
        torch.testing.assert_close(sae.decode(latents), expected)


def test_what_is_made_of_latents_takes_the_last_scale_once_as_before() -> None:
    x, y, _ = inputs()
    sae = dictionary()
    doubled = 2 * sae.encode(x)
    expected = sae.decode(doubled)
    with fixes.applied(SLUG):
        sae.encode(y)
        doubled = 2 * sae.encode(x)
        assert torch.equal(sae.decode(doubled), expected)
        with pytest.raises(AttributeError, match="ln_std"):
            sae.decode(doubled)
        # Decoding what is known takes away no scale that something else waits for.
        of_y = sae.encode(y)
        doubled = 2 * sae.encode(x)
        sae.decode(of_y)
        assert torch.equal(sae.decode(doubled), expected)


def test_latents_of_another_dictionary_are_none_of_its_own() -> None:
    x, y, _ = inputs()
    one, other = dictionary(), dictionary()
    other.encode(y)
    latents = one.encode(x)
    expected = other.decode(latents)
    with fixes.applied(SLUG):
        latents = one.encode(x)
        other.encode(y)
        assert torch.equal(other.decode(latents), expected)


def test_attached_with_its_error_and_gradients_flow() -> None:
    from sae_lens.analysis.hooked_sae_transformer import _SAEWrapper

    x = inputs()[0].requires_grad_()
    sae = dictionary()
    expected = _SAEWrapper(sae, use_error_term=True)(x)
    expected.sum().backward()
    before, x.grad = x.grad, None
    with fixes.applied(SLUG):
        found = _SAEWrapper(sae, use_error_term=True)(x)
        found.sum().backward()
    assert torch.equal(found, expected)
    assert before is not None and x.grad is not None and torch.equal(x.grad, before)


def test_nothing_is_kept_that_nobody_holds() -> None:
    sae = dictionary()
    with fixes.applied(SLUG):
        latents = sae.encode(inputs()[0])
        kept = weakref.ref(_scales()[latents][1]["ln_mu"])
        sae.decode(latents)
        del latents
    gc.collect()
    assert kept() is None


def test_a_dictionary_that_scales_nothing_is_left_alone() -> None:
    sae = dictionary(scaling="none")
    x = inputs()[0]
    expected = sae.decode(sae.encode(x))
    with fixes.applied(SLUG):
        latents = sae.encode(x)
        assert latents not in _scales()
        assert torch.equal(sae.decode(latents), expected)
