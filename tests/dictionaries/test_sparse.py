"""What is true of every dictionary, whatever its kind: properties that need no second opinion."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.dictionaries.saved import D_IN, D_LATENT, NORMALISATIONS, dictionary_of

from tl_ext.dictionaries import folders
from tl_ext.dictionaries.dictionary import NORMALISED, Dictionary, Statistics
from tl_ext.dictionaries.sparse import SparseDictionary
from tl_ext.errors import DictionaryError, InputError

SAE_KINDS = ("standard", "topk", "jumprelu", "gated", "batchtopk")


@st.composite
def dictionaries(draw: st.DrawFn) -> SparseDictionary:
    architecture = draw(st.sampled_from(folders.COVERED))
    changes: dict[str, Any] = {"normalize_activations": draw(st.sampled_from(NORMALISATIONS))}
    if architecture not in folders.TRANSCODERS:
        changes["apply_b_dec_to_input"] = draw(st.booleans())
    if "topk" in architecture:
        changes["rescale_acts_by_decoder_norm"] = draw(st.booleans())
    return dictionary_of(architecture, seed=draw(st.integers(0, 5)), **changes)


@st.composite
def rows(draw: st.DrawFn) -> torch.Tensor:
    leading = draw(st.lists(st.integers(0, 4), max_size=3))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    return torch.randn(*leading, D_IN, generator=generator) * draw(st.sampled_from([0.1, 1, 30]))


@given(dictionaries(), rows())
def test_shapes_and_types_are_kept(dictionary: SparseDictionary, x: torch.Tensor) -> None:
    for dtype in (torch.float32, torch.float16, torch.float64):
        given_rows = x.to(dtype)
        latents = dictionary.encode(given_rows)
        assert latents.shape == (*x.shape[:-1], D_LATENT) and latents.dtype == dtype
        out = dictionary.reconstruct(given_rows)
        assert out.shape == (*x.shape[:-1], dictionary.d_out) and out.dtype == dtype
    assert isinstance(dictionary, Dictionary)


@given(dictionaries(), rows(), st.floats(-3, 3))
def test_decoding_is_affine_in_latents(
    dictionary: SparseDictionary, x: torch.Tensor, share: float
) -> None:
    statistics = dictionary.statistics(x)
    one = dictionary.encode(x)
    other = torch.rand_like(one)
    mixed = dictionary.decode(share * one + (1 - share) * other, statistics)
    apart = share * dictionary.decode(one, statistics) + (1 - share) * dictionary.decode(
        other, statistics
    )
    torch.testing.assert_close(mixed, apart, atol=1e-3, rtol=1e-3)


@given(dictionaries(), rows())
def test_contributions_sum_to_the_reconstruction_less_the_bias(
    dictionary: SparseDictionary, x: torch.Tensor
) -> None:
    latents = dictionary.encode(x)
    contributions = latents[..., None] * dictionary.directions  # [... d_latent d_out]
    normalised = dictionary.decode(latents, NORMALISED)
    torch.testing.assert_close(
        contributions.sum(-2), normalised - dictionary.bias, atol=1e-4, rtol=1e-4
    )
    # And with the input's own statistics they make up the reconstruction itself.
    statistics = dictionary.statistics(x) or Statistics()
    restored = statistics.restore(contributions.sum(-2) + dictionary.bias)
    torch.testing.assert_close(restored, dictionary.reconstruct(x), atol=1e-3, rtol=1e-3)


@given(dictionaries(), rows())
def test_a_row_is_encoded_by_itself(dictionary: SparseDictionary, x: torch.Tensor) -> None:
    assert not dictionary.needs_context
    flat = x.reshape(-1, D_IN)
    chosen = torch.arange(len(flat)) % 2 == 0
    torch.testing.assert_close(
        dictionary.encode(flat[chosen]),
        dictionary.encode(x).reshape(-1, D_LATENT)[chosen],
        atol=1e-5,
        rtol=1e-5,
    )
    statistics = dictionary.statistics(flat)
    if statistics is not None:
        latents = dictionary.encode(flat)
        torch.testing.assert_close(
            dictionary.decode(latents[chosen], statistics[chosen]),
            dictionary.decode(latents, statistics)[chosen],
            atol=1e-5,
            rtol=1e-5,
        )


@given(st.sampled_from(SAE_KINDS), st.sampled_from(["layer_norm", "constant_norm_rescale"]))
def test_statistics_belong_to_the_input_and_not_to_the_dictionary(
    architecture: str, normalisation: str
) -> None:
    dictionary = dictionary_of(architecture, normalize_activations=normalisation)
    x, y = torch.randn(3, D_IN), torch.randn(3, D_IN) * 9
    latents, statistics = dictionary.encode(x), dictionary.statistics(x)
    before = dictionary.decode(latents, statistics)
    dictionary.encode(y)
    assert torch.equal(dictionary.decode(latents, statistics), before)
    with pytest.raises(DictionaryError, match=r"statistics=dictionary.statistics\(x\)"):
        dictionary.decode(latents)


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
@pytest.mark.parametrize("architecture", SAE_KINDS)
def test_rows_of_zeros_give_numbers(architecture: str, normalisation: str) -> None:
    dictionary = dictionary_of(architecture, normalize_activations=normalisation)
    assert dictionary.reconstruct(torch.zeros(2, D_IN)).isfinite().all()


@pytest.mark.parametrize("architecture", SAE_KINDS)
def test_encoding_leaves_its_input_and_its_weights_alone(architecture: str) -> None:
    dictionary = dictionary_of(architecture)
    x = torch.randn(5, D_IN)
    kept, weights = x.clone(), dictionary.W_enc.clone()
    first = dictionary.encode(x)
    assert torch.equal(x, kept) and torch.equal(dictionary.W_enc, weights)
    assert torch.equal(dictionary.encode(x), first)


@pytest.mark.parametrize("architecture", folders.COVERED)
def test_gradients_reach_the_input(architecture: str) -> None:
    dictionary = dictionary_of(architecture)
    x = torch.randn(5, D_IN, requires_grad=True)
    dictionary.reconstruct(x).sum().backward()
    assert x.grad is not None and x.grad.isfinite().all()


def test_rows_of_another_width_are_refused() -> None:
    dictionary = dictionary_of()
    with pytest.raises(InputError, match=rf"width {D_IN}.*\(2, 3\)"):
        dictionary.encode(torch.zeros(2, 3))
    with pytest.raises(InputError, match=f"{D_LATENT} latents; rows of 7"):
        dictionary.decode(torch.zeros(2, 7))


def test_directions_are_not_copied() -> None:
    dictionary = dictionary_of()
    assert dictionary.directions.data_ptr() == dictionary.W_dec.data_ptr()


def test_topk_keeps_k_and_units_of_norm_are_those_of_the_direction() -> None:
    dictionary = dictionary_of("topk", rescale_acts_by_decoder_norm=True)
    latents = dictionary.encode(torch.randn(50, D_IN))
    assert int((latents != 0).sum(-1).max()) <= 4
    torch.testing.assert_close(dictionary.directions.norm(dim=-1), torch.ones(D_LATENT))


def test_another_type_is_another_type() -> None:
    wide = dictionary_of("jumprelu").to(dtype=torch.float64)
    assert wide.dtype == torch.float64
    assert wide.encode(torch.randn(3, D_IN)).dtype == torch.float32
