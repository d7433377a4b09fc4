"""Edits: what they change, to the bit what they do not, and what they refuse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.interventions.toy import LATENTS, POINT, WIDTH, activation, same_bits, toy_dictionary
from torch import Tensor

from tl_ext.errors import DictionaryError, InputError
from tl_ext.interventions.edits import Ablate, Add, AddEach, Clamp, Edit, Splice

DTYPES = (torch.float32, torch.float64, torch.bfloat16)
NORMALISATIONS = ("none", "constant_norm_rescale", "layer_norm")


def some_edits() -> list[Edit]:
    toy = toy_dictionary()
    return [
        Add(POINT, torch.linspace(-1, 1, WIDTH)),
        Clamp(toy, (3, 1), 2.5),
        Ablate(toy, range(LATENTS)),
        Splice(toy),
    ]


@given(st.integers(0, 10**6), st.sampled_from(DTYPES), st.integers(1, 3), st.integers(1, 4))
def test_an_edit_with_nothing_to_do_is_bit_equal(
    seed: int, dtype: torch.dtype, texts: int, tokens: int
) -> None:
    x = activation(texts, tokens, WIDTH, dtype=dtype, seed=seed)
    toy = toy_dictionary()
    silent = (toy.encode(x) == 0).all(0).all(0).nonzero().flatten().tolist()
    nothing: list[Edit] = [Add(POINT, torch.zeros(WIDTH)), Splice(toy, keep_error=True)]
    if silent:
        nothing += [Ablate(toy, silent), Clamp(toy, silent, 0.0)]
    nowhere = torch.zeros(texts, tokens, dtype=torch.bool)
    for edit in nothing:
        assert same_bits(edit.apply(x), x)
        assert same_bits(edit.apply(x, ~nowhere), x)
    for edit in some_edits():
        assert same_bits(edit.apply(x, nowhere), x)


@given(st.integers(0, 10**6), st.sampled_from(DTYPES))
def test_cells_outside_where_are_bit_equal_and_those_inside_change(
    seed: int, dtype: torch.dtype
) -> None:
    x = activation(3, 4, WIDTH, dtype=dtype, seed=seed)
    before = x.clone()
    where = torch.rand(3, 4, generator=torch.Generator().manual_seed(seed)) < 0.5
    for edit in some_edits():
        edited = edit.apply(x, where)
        assert edited.dtype == dtype and edited.shape == x.shape
        assert same_bits(edited[~where], before[~where])
        assert not (edited[where] == before[where]).all(-1).any()
        tolerance = 0.1 if dtype == torch.bfloat16 else 1e-5
        everywhere = edit.apply(x)[where]
        torch.testing.assert_close(edited[where], everywhere, atol=tolerance, rtol=tolerance)
        assert same_bits(x, before), "the activation was changed in place"


@given(st.integers(0, 10**6), st.sampled_from(NORMALISATIONS))
def test_edits_of_latents_keep_the_error_term(seed: int, normalisation: str) -> None:
    x = activation(2, 3, WIDTH, seed=seed)
    toy = toy_dictionary(normalisation=normalisation)
    latents, statistics = toy.encode(x), toy.statistics(x)
    error = x - toy.decode(latents, statistics)
    for edit, value in (
        (Clamp(toy, (5, 0), torch.tensor([2.0, 3.0])), [2.0, 3.0]),
        (Ablate(toy, (5, 0)), [0.0, 0.0]),
        (Ablate(toy, [5, 0], to=torch.tensor([0.5, 1.0])), [0.5, 1.0]),
    ):
        edited = latents.clone()
        edited[..., [5, 0]] = torch.tensor(value)
        expected = toy.decode(edited, statistics) + error
        torch.testing.assert_close(edit.apply(x), expected, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_splice_is_the_reconstruction(normalisation: str) -> None:
    x = activation(2, 3, WIDTH)
    toy = toy_dictionary(normalisation=normalisation)
    torch.testing.assert_close(Splice(toy).apply(x), toy.reconstruct(x))


@given(st.integers(0, 10**6), st.sampled_from(DTYPES), st.booleans(), st.booleans())
def test_add_each_is_add_row_by_row(
    seed: int, dtype: torch.dtype, by_token: bool, masked: bool
) -> None:
    x = activation(3, 4, WIDTH, dtype=dtype, seed=seed)
    before = x.clone()
    shape = (3, 4, WIDTH) if by_token else (3, WIDTH)
    vectors = activation(*shape, seed=seed + 1)
    vectors[1] = 0
    draws = torch.Generator().manual_seed(seed)
    where = torch.rand(3, 4, generator=draws) < 0.5 if masked else None
    edited = AddEach(POINT, vectors).apply(x, where)
    assert edited.dtype == dtype and edited.device == x.device
    assert same_bits(edited[1], before[1]), "a row whose vector is zero comes back bit by bit"
    for row in range(3):
        for token in range(4):
            own = Add(POINT, vectors[row, token] if by_token else vectors[row])
            cell = (slice(row, row + 1), slice(token, token + 1))
            alone = own.apply(x[cell], None if where is None else where[cell])
            assert same_bits(edited[cell], alone)
    assert same_bits(x, before), "the activation was changed in place"
    if not by_token:  # a decode step reads one token
        step = AddEach(POINT, vectors).apply(x[:, :1])
        assert same_bits(step, AddEach(POINT, vectors).apply(x)[:, :1])


def test_add_adds_in_the_wider_type() -> None:
    vector = torch.full((WIDTH,), 0.3)
    x = activation(1, 2, WIDTH, dtype=torch.bfloat16)
    expected = (x.float() + vector).to(torch.bfloat16)
    assert same_bits(Add(POINT, vector).apply(x), expected)


def test_a_transcoder_reads_one_hook_point_and_writes_another() -> None:
    read, x = activation(2, 3, WIDTH, seed=1), activation(2, 3, WIDTH)
    transcoder = toy_dictionary(
        hook_in="blocks.1.ln2.hook_normalized", hook_out="blocks.1.hook_mlp_out"
    )
    splice, ablate = Splice(transcoder), Ablate(transcoder, 0)
    assert (splice.reads, splice.hook_point) == (transcoder.hook_in, transcoder.hook_out)
    torch.testing.assert_close(splice.apply(x, read=read), transcoder.reconstruct(read))
    contribution = transcoder.encode(read)[..., :1] * transcoder.directions[0]
    torch.testing.assert_close(ablate.apply(x, read=read), x - contribution)
    with pytest.raises(InputError, match="read="):
        splice.apply(x)


@dataclass(frozen=True)
class Contextual:
    """Each latent is the running sum of another dictionary's: rows alone give other latents."""

    inner: Any
    needs_context: bool = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def encode(self, x: Tensor) -> Tensor:
        assert x.ndim == 3, "whole sequences are expected"
        return self.inner.encode(x).cumsum(1)


def test_a_dictionary_that_needs_context_gets_the_sequence() -> None:
    x = activation(2, 4, WIDTH)
    contextual = Contextual(toy_dictionary(normalisation="layer_norm"))
    where = torch.tensor([[False, False, True, True], [False, True, False, True]])
    edited = Splice(contextual).apply(x, where)
    expected = contextual.decode(contextual.encode(x), contextual.statistics(x))
    torch.testing.assert_close(edited[where], expected[where])
    assert same_bits(edited[~where], x[~where])
    assert Clamp(contextual, 0, 1.0).needs_context and not Add(POINT, torch.ones(3)).needs_context


def test_refusals_say_what_was_given_and_what_was_expected() -> None:
    toy = toy_dictionary()
    with pytest.raises(InputError, match=r"width 5.*width 24"):
        Add(POINT, torch.ones(5)).apply(activation(1, 1, WIDTH))
    with pytest.raises(InputError, match="NaN or infinity in 1 of 2"):
        Add(POINT, torch.tensor([1.0, float("nan")]))
    with pytest.raises(InputError, match=r"\[1, 2\]"):
        Add(POINT, torch.ones(1, 2))
    for shape in ((2, WIDTH), (4, WIDTH), (3, WIDTH + 1), (3, 2, WIDTH), (3, 1, WIDTH)):
        with pytest.raises(InputError, match="a vector for each row of the forward pass"):
            AddEach(POINT, torch.ones(shape)).apply(activation(3, 4, WIDTH))
    with pytest.raises(InputError, match="Add takes one vector for all rows"):
        AddEach(POINT, torch.ones(WIDTH))
    with pytest.raises(InputError, match="NaN or infinity in 1 of 4"):
        AddEach(POINT, torch.tensor([[1.0, float("nan")], [0.0, 1.0]]))
    with pytest.raises(InputError, match="numbers are expected"):
        Add(POINT, "happy")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"no latents \[40\]: it has 40"):
        Clamp(toy, (1, LATENTS), 1.0)
    with pytest.raises(InputError, match="each once"):
        Ablate(toy, ())
    with pytest.raises(InputError, match="each once"):
        Ablate(toy, (1, 1))
    with pytest.raises(InputError, match=r"shape \[3\].*2 latents"):
        Clamp(toy, (1, 2), torch.ones(3))
    with pytest.raises(InputError, match="NaN"):
        Clamp(toy, 1, float("nan"))
    with pytest.raises(DictionaryError, match=r"width 24.*width 6"):
        Splice(toy).apply(activation(1, 1, 6))
    # The width is told even where the edit would have nothing to do.
    with pytest.raises(DictionaryError, match="width"):
        Splice(toy, keep_error=True).apply(activation(1, 1, 6))


def test_edits_describe_themselves() -> None:
    toy = toy_dictionary()
    assert [
        str(edit)
        for edit in (
            Add(POINT, torch.ones(2), name="happy x 2"),
            AddEach(POINT, torch.ones(3, 2)),
            Clamp(toy, (3, 1), 2.5),
            Ablate(toy, range(9)),
            Ablate(toy, 1, to=0.5),
            Splice(toy, keep_error=True),
        )
    ] == [
        f"add happy x 2 at {POINT}",
        f"add a vector for each row at {POINT}",
        f"clamp 3, 1 of toy to 2.5 at {POINT}",
        f"ablate 0, 1, 2, 3, 4, 5, ... of toy at {POINT}",
        f"ablate 1 of toy to 0.5 at {POINT}",
        f"splice toy with its error term at {POINT}",
    ]
