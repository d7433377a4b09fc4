"""Similarity: symmetric, scale-free, and undefined where nothing can be said."""

from __future__ import annotations

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cosine_similarity

from tl_ext.analysis.similarity import (
    contribution_similarity,
    correlation,
    cosine,
    measures,
    pair_table,
    random_live,
)
from tl_ext.errors import InputError

SEEDS = st.integers(0, 10_000)


def rows(seed: int, count: int = 6, width: int = 5) -> torch.Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


@given(seed=SEEDS, scale=st.floats(1e-6, 1e6))
def test_cosine_is_symmetric_scale_free_and_one_with_itself(seed: int, scale: float) -> None:
    x = rows(seed)
    matrix = cosine(x)
    torch.testing.assert_close(matrix, matrix.T)
    torch.testing.assert_close(matrix.diagonal(), torch.ones(6, dtype=torch.float64))
    factors = scale * (1 + torch.rand(6, 1, generator=torch.Generator().manual_seed(seed)))
    torch.testing.assert_close(cosine(x * factors), matrix, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(cosine(-x, x), -matrix)


@given(seed=SEEDS)
def test_cosine_is_torchs(seed: int) -> None:
    a, b = rows(seed), rows(seed + 1, count=4)
    expected = cosine_similarity(a.double()[:, None], b.double()[None], dim=-1)
    torch.testing.assert_close(cosine(a, b), expected)


def test_a_zero_direction_points_nowhere() -> None:
    matrix = cosine(torch.tensor([[1.0, 0.0], [0.0, 0.0]]))
    assert matrix[0, 0] == 1
    assert matrix[0, 1].isnan() and matrix[1, 0].isnan() and matrix[1, 1].isnan()


@pytest.mark.parametrize("size", [1e-40, 1e38])
def test_tiny_and_huge_directions_are_told_apart(size: float) -> None:
    matrix = cosine(torch.tensor([[size, 0.0], [size, size]], dtype=torch.float64))
    assert matrix[0, 1].item() == pytest.approx(0.5**0.5)


@given(seed=SEEDS)
def test_correlation_is_pandas(seed: int) -> None:
    x = rows(seed, count=12)
    expected = torch.tensor(pd.DataFrame(x.double().numpy()).corr().to_numpy())
    torch.testing.assert_close(correlation(x), expected)


def test_a_constant_latent_has_no_correlation() -> None:
    x = torch.tensor([[1.0, 0.0], [1.0, 2.0], [1.0, 5.0]])
    matrix = correlation(x)
    assert matrix[0].isnan().all()
    assert matrix[1, 1].item() == pytest.approx(1.0)


@pytest.mark.parametrize("tokens", [3, 7, 10])
def test_a_constant_latent_has_none_whatever_its_mean_rounds_to(tokens: int) -> None:
    values = torch.stack([torch.full((tokens,), 0.1).double(), torch.rand(tokens).double()], 1)
    assert correlation(values)[0].isnan().all()


def test_a_single_token_has_no_correlation() -> None:
    assert correlation(torch.ones(1, 2)).isnan().all()


@given(seed=SEEDS)
def test_contributions_are_compared_as_whole_matrices(seed: int) -> None:
    """The cosine of flattened [token d] contributions, written out."""
    activations, directions = torch.relu(rows(seed, 9, 4)), rows(seed + 1, 4, 5)
    contributions = torch.einsum("tl,ld->ltd", activations.double(), directions.double())
    torch.testing.assert_close(
        contribution_similarity(activations, directions),
        cosine(contributions.flatten(1)),
        equal_nan=True,
    )


def test_random_live_latents_are_live_others_and_by_seed() -> None:
    rate = torch.tensor([0.1, 0.0, 0.2, 0.3, 0.4, 0.0, 0.5])
    out = torch.tensor([2])
    chosen = random_live(rate, 3, seed=1, leave_out=out)
    assert torch.equal(chosen, random_live(rate, 3, seed=1, leave_out=out))
    assert set(chosen.tolist()) <= {0, 3, 4, 6}
    assert random_live(rate, 99, seed=1, leave_out=out).tolist() == [0, 3, 4, 6]


def test_a_pair_table_has_each_pair_once() -> None:
    labels = pd.DataFrame({"latent": [7, 8, 9]})
    table = pair_table(labels, {"cosine": cosine(rows(0, 3))})
    assert table[["latent_a", "latent_b"]].to_numpy().tolist() == [[7, 8], [7, 9], [8, 9]]
    assert table["cosine"].iloc[1] == pytest.approx(cosine(rows(0, 3))[0, 2].item())


def test_bad_input_says_what_is_wrong() -> None:
    with pytest.raises(InputError, match="share no space"):
        cosine(torch.zeros(1, 2), torch.zeros(1, 3))
    with pytest.raises(InputError, match="2 latents have activations and 3"):
        contribution_similarity(torch.zeros(4, 2), torch.zeros(3, 5))
    with pytest.raises(InputError, match="3 labelled"):
        pair_table(pd.DataFrame({"latent": [1, 2, 3]}), {"cosine": torch.zeros(2, 2)})


def test_measures_are_of_directions_and_where_given_of_activations() -> None:
    directions, activations = rows(0, 4, 5), torch.relu(rows(1, 9, 4))
    assert list(measures(directions)) == ["cosine"]
    found = measures(directions, activations)
    assert torch.equal(found["cosine"], cosine(directions))
    torch.testing.assert_close(found["correlation"], correlation(activations), equal_nan=True)
    assert "contributions" in found
