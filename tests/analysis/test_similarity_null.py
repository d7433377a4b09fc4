"""Groups of latents at many words: the measures are the plain ones, the choice is made anew."""

from __future__ import annotations

import math
from itertools import combinations

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tl_ext.analysis import similarity
from tl_ext.analysis import similarity_null as nulls
from tl_ext.analysis.intervals import resamples
from tl_ext.analysis.selection import candidates, matched_on_rate
from tl_ext.errors import InputError

SEEDS = st.integers(0, 10_000)
WORDS, FRAMES, LATENTS, TOKENS, BLOCKS = 4, 5, 8, 40, 5


class World:
    """Latents at words and on a background, with everything dense beside the groups made of it."""

    def __init__(self, seed: int) -> None:
        source = torch.Generator().manual_seed(seed)
        self.at_words = torch.randn(WORDS, FRAMES, LATENTS, generator=source).relu()
        self.directions = torch.randn(LATENTS, 7, generator=source)
        fires = torch.rand(TOKENS, LATENTS, generator=source) < 0.4
        self.background = fires * torch.rand(TOKENS, LATENTS, generator=source)
        self.block = torch.arange(TOKENS) % BLOCKS

    def groups(self, order: torch.Tensor | None = None) -> nulls.WordGroups:
        """The groups, of a dictionary whose latents stand in another order."""
        order = torch.arange(LATENTS) if order is None else order
        background = self.background[:, order]
        row, latent = background.nonzero(as_tuple=True)
        firings = nulls.Firings(row, latent, background[row, latent])
        found = [candidates(word[:, order], LATENTS) for word in self.at_words]
        latents = torch.stack([one for one, _ in found])
        products, sums = nulls.background_products(
            latents, firings, self.block, blocks=BLOCKS, d_latent=LATENTS
        )
        directions = self.directions[order]
        return nulls.WordGroups(
            latents,
            torch.stack([values for _, values in found]),
            torch.stack([similarity.cosine(directions[one.clamp(min=0)]) for one in latents]),
            products,
            sums,
            torch.bincount(self.block, minlength=BLOCKS).float(),
        )

    def plain(self, k: int, frames: torch.Tensor, tokens: torch.Tensor) -> dict[str, list[float]]:
        """The means over pairs written out, of chosen frames and tokens with repeats."""
        found: dict[str, list[float]] = {measure: [] for measure in nulls.MEASURES}
        for word in self.at_words:
            top = word[frames].double().mean(0).argsort(descending=True, stable=True)[:k]
            matrices = similarity.measures(self.directions[top], self.background[tokens][:, top])
            for measure, matrix in matrices.items():
                pairs = [float(matrix[i, j]) for i, j in combinations(range(k), 2)]
                known = [one for one in pairs if not math.isnan(one)]
                found[measure].append(sum(known) / len(known) if known else math.nan)
        return found


@given(seed=SEEDS, k=st.integers(2, 4))
def test_the_measures_are_those_of_similarity(seed: int, k: int) -> None:
    world = World(seed)
    found = nulls.group_similarity(world.groups(), k)
    expected = world.plain(k, torch.arange(FRAMES), torch.arange(TOKENS))
    for measure in nulls.MEASURES:
        assert found[measure][0].tolist() == pytest.approx(
            expected[measure], abs=1e-4, nan_ok=True
        ), measure


@given(seed=SEEDS)
def test_a_resample_is_the_statistic_of_the_texts_drawn(seed: int) -> None:
    """Weights are repeats: frames and background blocks drawn twice count twice, and latents are
    chosen anew."""
    world, k = World(seed), 2
    frames, blocks = (
        resamples(FRAMES, 3, seed=seed)[1:],
        resamples(BLOCKS, 3, seed=seed + 1)[1:],
    )
    found = nulls.group_similarity(world.groups(), k, frames, blocks)
    for draw in range(3):
        repeated = torch.arange(FRAMES).repeat_interleave(frames[draw].long())
        counts = blocks[draw].long()[world.block]
        expected = world.plain(k, repeated, torch.arange(TOKENS).repeat_interleave(counts))
        for measure in nulls.MEASURES:
            assert found[measure][draw].tolist() == pytest.approx(
                expected[measure], abs=1e-3, nan_ok=True
            ), measure


@given(seed=SEEDS, power=st.integers(-12, 6))
def test_activations_of_any_size_are_compared(seed: int, power: int) -> None:
    """Some dictionaries' activations are thousandths; no correlation is undefined for that."""
    world = World(seed)
    plain = nulls.group_similarity(world.groups(), 3)
    world.background = world.background * 4.0**power
    scaled = nulls.group_similarity(world.groups(), 3)
    for measure in nulls.MEASURES:
        torch.testing.assert_close(scaled[measure], plain[measure], equal_nan=True)


def test_a_latent_that_always_fires_alike_has_no_correlation() -> None:
    size = 3000
    activations = torch.stack([torch.full((size,), 0.1), torch.rand(size)], 1)
    found = nulls.from_products(torch.eye(2), activations.T @ activations, activations.sum(0), size)
    assert found["correlation"][0].isnan().all() and found["correlation"][1, 1] == 1


def test_the_excess_is_over_the_middle_of_the_null_words() -> None:
    values = torch.tensor([[5.0, 1.0, 2.0, 4.0, 8.0], [5.0, 1.0, 3.0, math.nan, math.nan]])
    null = torch.arange(1, 5)
    assert nulls.excess_of(values, 0, null).tolist() == [2.0, 3.0]
    assert nulls.compared(5.0, values[0, 1:])["excess"] == 2.0


@given(seed=SEEDS)
def test_neither_the_order_of_latents_nor_their_scale_matters(seed: int) -> None:
    world = World(seed)
    plain = nulls.group_similarity(world.groups(), 3)
    turned = nulls.group_similarity(
        world.groups(torch.randperm(LATENTS, generator=torch.Generator().manual_seed(seed))), 3
    )
    world.directions, world.background = 7.0 * world.directions, 3.0 * world.background
    world.at_words = 0.5 * world.at_words
    scaled = nulls.group_similarity(world.groups(), 3)
    for measure in nulls.MEASURES:
        torch.testing.assert_close(
            turned[measure], plain[measure], equal_nan=True, atol=1e-4, rtol=1e-3
        )
        torch.testing.assert_close(
            scaled[measure], plain[measure], equal_nan=True, atol=1e-4, rtol=1e-3
        )


def test_a_background_read_in_pieces_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = World(1).groups()
    monkeypatch.setattr(nulls, "TOKENS_AT_ONCE", 3)
    pieces = World(1).groups()
    torch.testing.assert_close(pieces.products, whole.products)
    torch.testing.assert_close(pieces.sums, whole.sums)


def test_latents_that_do_not_fire_make_no_pair() -> None:
    world = World(0)
    world.at_words[0] = 0.0
    world.at_words[0, :, 3] = 1.0
    groups = world.groups()
    assert groups.latents[0].tolist() == [3, *[-1] * (LATENTS - 1)]
    found = nulls.group_similarity(groups, 3)
    assert all(values[0, 0].isnan() for values in found.values())
    assert all(values[0, 1].isfinite() for values in found.values())


def test_without_background_only_directions_are_compared() -> None:
    groups = World(0).groups()
    empty = nulls.WordGroups(
        groups.latents,
        groups.activations,
        groups.cosine,
        groups.products[:0],
        groups.sums[:0],
        groups.tokens[:0],
    )
    found = nulls.group_similarity(empty, 3)
    assert found["cosine"].isfinite().all()
    assert found["correlation"].isnan().all() and found["contributions"].isnan().all()


def test_null_words_are_the_nearest_in_frequency() -> None:
    others = torch.tensor([-9.0, -5.0, -6.0, -20.0])
    assert nulls.like_in_frequency(-5.5, others, 2).tolist() == [1, 2]
    assert nulls.like_in_frequency(-5.5, others, 9).tolist() == [0, 1, 2, 3]


def test_random_groups_fire_as_often_and_leave_the_group_out() -> None:
    rate = torch.tensor([0.5, 0.4, 0.1, 0.09, 0.0, 0.45, 0.11])
    pool = matched_on_rate(rate, torch.tensor([0, 2]), 2, seed=0)
    assert pool.tolist() == [[5, 1], [6, 3]]
    groups = nulls.random_groups(pool, 50, seed=0)
    assert len(groups) == 50
    assert set(groups[:, 0].tolist()) == {5, 1} and set(groups[:, 1].tolist()) == {6, 3}
    twice = nulls.random_groups(torch.tensor([[1, 2], [2, 1]]), 30, seed=0)
    assert (twice[:, 0] != twice[:, 1]).all() and len(twice) == 30
    assert len(nulls.random_groups(torch.empty(2, 0, dtype=torch.long), 30, seed=0)) == 0


def test_a_test_is_read_off_its_null() -> None:
    found = nulls.compared(3.0, [1.0, 2.0, 3.0, 4.0])
    assert (found["p"], found["smallest_p"], found["below"]) == (3 / 5, 1 / 5, 2)
    assert (found["null_median"], found["excess"]) == (2.5, 0.5)
    assert math.isnan(nulls.compared(math.nan, [1.0])["p"])
    empty = nulls.compared(1.0, [])
    assert empty["words"] == 0 and math.isnan(empty["p"]) and math.isnan(empty["null_median"])


@given(seed=SEEDS)
def test_pooling_ignores_a_dictionarys_own_level(seed: int) -> None:
    values = torch.randn(3, 9, generator=torch.Generator().manual_seed(seed)).double()
    null = torch.arange(1, 9)
    moved = [values[0] + 5, values[1], values[2] - 2]
    torch.testing.assert_close(
        nulls.pooled_ranks(list(values), 0, null), nulls.pooled_ranks(moved, 0, null)
    )
    alone = nulls.pooled_ranks([values[0]], 0, null)
    assert alone.argsort().tolist() == values[0].argsort().tolist()


def test_a_word_undefined_in_one_dictionary_is_compared_in_the_others() -> None:
    first = torch.tensor([math.nan, 0.0, 1.0])
    second = torch.tensor([9.0, 2.0, 3.0])
    ranked = nulls.pooled_ranks([first, second], 0, torch.tensor([1, 2]))
    assert ranked.isfinite().all() and float(ranked[0]) == float(ranked.max())


def test_the_trend_with_frequency_is_spearmans() -> None:
    rising = torch.tensor([1.0, 5.0, 6.0, math.nan])
    assert nulls.trend(rising, torch.tensor([-9.0, -4.0, -3.0, 0.0])) == pytest.approx(1.0)
    assert math.isnan(nulls.trend(rising[:2], torch.zeros(2)))
    assert math.isnan(nulls.trend(torch.ones(4), torch.randn(4)))


def row_of(**changes: object) -> dict[str, object]:
    row = nulls.compared(0.41, [0.1] * 57 + [0.5] * 2)
    labels = {"concept": "happy", "language": "en", "measure": "cosine", "top": 3}
    table = nulls.decide(pd.DataFrame([{**labels, **row, "low": 0.3, "high": 0.5}]))
    return {**{str(k): v for k, v in table.iloc[0].to_dict().items()}, **changes}


def test_a_verdict_says_its_numbers() -> None:
    said = nulls.verdict(row_of(), "layer 3")
    assert said.startswith(
        "The 3 strongest latents of happy (en) in layer 3 are shown to point alike"
    )
    assert "0.41 (95 % over texts: 0.30 to 0.50)" in said
    assert "above 57 of 59 of them; p = 0.050, smallest possible 0.017, adjusted 0.050" in said
    assert "not shown to fire alike" in nulls.verdict(
        row_of(measure="correlation", decision="not shown"), "layer 3"
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"words": 0, "p": math.nan}, "there are no matched words"),
        ({"p": math.nan}, "the measure is undefined"),
        ({"decision": "cannot decide"}, "Cannot decide whether the 3 strongest latents of happy"),
    ],
)
def test_what_cannot_be_decided_is_said_to_be_so(changes: dict[str, object], said: str) -> None:
    assert said in nulls.verdict(row_of(**changes), "layer 3")
    with pytest.raises(InputError, match="no measure"):
        nulls.verdict(row_of(measure="angle"), "layer 3")


def test_a_test_that_could_not_reject_is_not_among_the_many() -> None:
    table = nulls.decide(pd.DataFrame({"p": [0.03, 0.5], "smallest_p": [0.01, 0.2]}))
    assert table["adjusted"][0] == 0.03 and math.isnan(table["adjusted"][1])
    assert table["decision"].tolist() == ["shown", "cannot decide"]


def test_counts_compare_the_two_nulls() -> None:
    table = pd.DataFrame(
        {
            "measure": ["cosine"] * 4,
            "p": [0.01, 0.5, 0.6, math.nan],
            "smallest_p": 0.01,
            "random_p": [0.01, 0.02, 0.6, math.nan],
        }
    )
    first, second = nulls.counts(nulls.decide(table))
    assert "Of 4 tests" in first and "1 is shown" in first and "1 could not be made" in first
    assert "cosine 33% and 67%" in second
    assert "Nothing could be tested" in nulls.counts(nulls.decide(table.tail(1)))[0]
    few = table.assign(words=12, smallest_p=1 / 13)
    assert nulls.counts(nulls.decide(few)) == [
        "None of 4 tests can decide: with at most 12 matched words p is at least 0.077."
    ]
