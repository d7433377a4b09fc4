"""Shares of both languages: by brute force, against other words, between kinds."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tl_ext.analysis.crosslingual import Said
from tl_ext.analysis.intervals import resamples
from tl_ext.analysis.overlap import (
    Counts,
    Pairing,
    compare_kinds,
    kinds_sentence,
    overlap,
    pairing,
    pooled,
    sharing_sentence,
    word_counts,
)
from tl_ext.errors import InputError


def said(concept: torch.Tensor, rate: float = 0.02) -> Said:
    return Said(concept, torch.zeros_like(concept), torch.full_like(concept, rate))


def counts(both: list[float], either: list[float]) -> Counts:
    return Counts(np.array(both, dtype=float), np.array(either, dtype=float))


def test_selection_is_made_anew_in_each_resample() -> None:
    generator = torch.Generator().manual_seed(0)
    parts = {
        language: Said(
            torch.relu(torch.randn(9, 30, generator=generator)),
            torch.relu(torch.randn(9, 30, generator=generator) - 0.7),
            torch.full((9, 30), 0.1),
        )
        for language in ("en", "fr")
    }
    found = overlap(parts, draws=25, seed=5)
    for draw, weights in enumerate(resamples(9, 25, seed=5)):
        rows = torch.repeat_interleave(torch.arange(9), weights.long())
        members = [
            Said(one.concept[rows], one.controls[rows], one.chance[rows]).belongs()[0]
            for one in parts.values()
        ]
        assert found.both[draw] == int((members[0] & members[1]).sum())
        assert found.either[draw] == int((members[0] | members[1]).sum())
    assert found.either.min() > 0


def test_a_share_is_of_sums_and_undefined_where_nothing_belongs() -> None:
    share = pooled([counts([1, 1, 1], [4, 4, 4]), counts([0, 1, 0], [0, 1, 0])])
    assert (share.both, share.either, share.value) == (1, 4, 0.25)
    assert share.interval.high <= 0.4 + 1e-9
    assert math.isnan(pooled([counts([0, 0], [0, 0])]).value)
    assert math.isnan(pooled([]).value)


@given(st.integers(0, 2**31 - 1))
def test_word_counts_equal_counting(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    first, second = (torch.rand(size, 15, generator=generator) < 0.4 for size in (2, 5))
    both, either = word_counts(first, second)
    for i, a in enumerate(first):
        for j, b in enumerate(second):
            assert both[i, j] == int((a & b).sum())
            assert either[i, j] == int((a | b).sum())


def test_own_words_are_ranked_among_all_words_for_one_concept() -> None:
    both = torch.tensor([[3.0, 0, 1, 3, 2]])
    either = torch.tensor([[10.0, 10, 10, 10, 10]])
    found = pairing(both, either, [0])
    assert found.share == pytest.approx(0.3)
    assert sorted(found.null) == pytest.approx([0, 0.1, 0.2, 0.3])
    assert found.p == pytest.approx(2 / 5)
    assert found.decision == "cannot decide"


def test_several_concepts_get_different_words_and_a_smaller_p() -> None:
    words = 30
    both = torch.zeros(3, words)
    both[range(3), range(3)] = 5
    found = pairing(both, torch.full((3, words), 20.0), [0, 1, 2], draws=499)
    assert len(found.null) == 499
    assert found.p == pytest.approx(found.smallest, abs=0.01)
    assert found.decision == "shown"
    assert found.null.max() <= 0.25
    again = pairing(both, torch.full((3, words), 20.0), [0, 1, 2], draws=499)
    assert np.array_equal(found.null, again.null)


def test_without_a_latent_nothing_is_decided() -> None:
    nothing = torch.zeros(1, 50)
    assert pairing(nothing, nothing, [0]).decision == "cannot decide"
    with pytest.raises(InputError, match="own"):
        pairing(nothing, nothing, [0, 1])
    with pytest.raises(InputError, match="own"):
        pairing(nothing, torch.zeros(1, 49), [0])


def kinds(first: float, second: float, *, either: int = 40) -> tuple[object, str]:
    generator = np.random.default_rng(0)

    def of(share: float) -> Counts:
        drawn = generator.binomial(either, share, size=200)
        return counts([round(share * either), *drawn], [either] * 201)

    found = compare_kinds({1: [of(first)], 2: [of(first)]}, {2: [of(second)]}, names=("A", "B"))
    return found, kinds_sentence(("A", "B"), found)


def test_kinds_are_compared_where_both_are() -> None:
    found, said_of_it = kinds(0.8, 0.1)
    assert found.verdict == "A"
    assert found.layers == (2,)
    assert found.first.either == 40
    assert (
        "a larger share belongs to both languages in A (at layer 2: 32 of 40 against 4 of 40"
        in (said_of_it)
    )
    assert kinds(0.1, 0.8)[0].verdict == "B"
    assert kinds(0.5, 0.5)[0].verdict == "no difference shown"
    assert kinds(0.8, 0.1, either=5)[0].verdict == "cannot decide"
    assert "fewer than 10" in kinds(0.8, 0.1, either=5)[1]


def test_a_kind_without_dictionaries_is_not_tested() -> None:
    found = compare_kinds({1: [counts([1, 1], [20, 20])]}, {}, names=("attention", "MLP"))
    assert found.verdict == "not tested"
    assert "not tested" in kinds_sentence(("attention", "MLP"), found)


def test_sentences_say_what_the_numbers_allow() -> None:
    share = pooled([counts([5] * 50, [100] * 50)])

    def test(p: float, decision: str) -> Pairing:
        return Pairing(0.05, np.full(99, 0.01), p, 0.01, decision)  # type: ignore[arg-type]

    both = {"fr": test(0.01, "shown"), "en": test(0.02, "shown")}
    assert sharing_sentence("x", share, both).endswith(
        "more than two words of these languages share by chance."
    )
    one = both | {"en": test(0.4, "not shown")}
    assert "not shown to be more" in sharing_sentence("x", share, one)
    few = both | {"en": test(0.1, "cannot decide")}
    assert "cannot decide" in sharing_sentence("x", share, few)
    assert "not tested" in sharing_sentence("x", share, {})
    assert "no latent" in sharing_sentence("x", pooled([counts([0], [0])]), both)
