"""Which latents fire on a concept in several languages: each test against its definition."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tl_ext.analysis.crosslingual import (
    Said,
    beyond_background_p,
    beyond_controls_p,
    crosslingual_table,
    firing_chance,
    sets,
    smallest_reachable,
    weak_shared,
)
from tl_ext.errors import InputError

TEXTS, RATE = 20, 0.02


def said(concept: torch.Tensor, controls: torch.Tensor | None = None, rate: float = RATE) -> Said:
    controls = torch.zeros_like(concept) if controls is None else controls
    return Said(concept, controls, torch.full_like(concept, rate))


def rates(latents: int) -> torch.Tensor:
    return torch.full((latents,), RATE)


def strong(texts: int = TEXTS, *, seed: int, scale: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * (1 + 0.1 * torch.rand(texts, 1, generator=generator))


def silent(texts: int = TEXTS) -> torch.Tensor:
    return torch.zeros(texts, 1)


@given(st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=1, max_size=9))
def test_the_sign_test_equals_flipping_every_frame(differences: list[float]) -> None:
    values = torch.tensor(differences)[:, None]
    p = beyond_controls_p(said(values.clamp(min=0), (-values).clamp(min=0)))[0]
    flips = [np.dot(differences, signs) for signs in product((-1, 1), repeat=len(differences))]
    assert p == pytest.approx(np.mean(np.array(flips) >= sum(differences)))


@given(st.lists(st.floats(0.01, 0.9), min_size=1, max_size=7), st.integers(0, 7))
def test_the_background_test_equals_every_outcome(chances: list[float], fired: int) -> None:
    fired = min(fired, len(chances))
    concept = torch.zeros(len(chances), 1)
    concept[:fired] = 1
    one = Said(concept, torch.zeros_like(concept), torch.tensor(chances)[:, None])
    expected = sum(
        np.prod([c if hit else 1 - c for c, hit in zip(chances, hits, strict=True)])
        for hits in product((0, 1), repeat=len(chances))
        if sum(hits) >= fired
    )
    assert beyond_background_p(one)[0] == pytest.approx(expected, rel=1e-5)


def test_a_word_of_more_tokens_has_more_chances() -> None:
    chance = firing_chance(torch.tensor([0.0, 0.5]), 999, torch.tensor([1, 2]))
    assert chance[:, 0].tolist() == pytest.approx([0.001, 1 - 0.999**2])
    assert chance[1, 1] == pytest.approx(0.75, abs=1e-3)


def test_kinds_are_what_they_are_called() -> None:
    both = [strong(seed=1), strong(seed=2)]
    en = torch.cat([both[0], both[0], silent(), both[0], silent()], dim=1)
    fr = torch.cat([both[1], silent(), both[1], both[1], silent()], dim=1)
    controls = torch.zeros_like(en)
    controls[:, 3] = 0.9 * en[:, 3]  # fires at every word of the frame
    controls_fr = controls.clone()
    controls_fr[:, 3] = 0.9 * fr[:, 3]
    table = crosslingual_table(
        {"en": said(en, controls), "fr": said(fr, controls_fr)}, firing_rate=rates(5)
    ).set_index("latent")
    assert table["kind"].to_dict() == {
        0: "shared",
        1: "private en",
        2: "private fr",
        3: "frame",
    } | ({4: "not shown"} if 4 in table.index else {})
    # Latent 3 is always higher at the concept, and fires more often than background: only size tells
    # that it belongs to the frame.
    assert table.loc[0, "p"] == pytest.approx(0.5**TEXTS)
    assert table.loc[0, "decision"] == "shown"


def test_what_is_merely_not_shown_in_the_other_language_is_not_private() -> None:
    half = strong(seed=3)
    half[TEXTS // 2 - 1 :] = 0  # fires on too few texts to belong, and strongly where it does
    table = crosslingual_table(
        {"en": said(strong(seed=1)), "fr": said(3 * half)}, firing_rate=rates(1)
    )
    assert table["kind"].tolist() == ["shown in en"]


def test_few_texts_cannot_decide_among_many_latents() -> None:
    latents = 200
    one = torch.zeros(5, latents)
    one[:, :1] = strong(5, seed=1)
    table = crosslingual_table({"en": said(one), "fr": said(one)}, firing_rate=rates(latents))
    assert smallest_reachable(said(one))[0] == pytest.approx(0.5**5)
    assert table["decision"].tolist() == ["cannot decide"]
    assert table["kind"].tolist() == ["not shown"]


def test_latents_that_never_fire_are_not_counted() -> None:
    one = torch.zeros(12, 300)
    one[:, :1] = strong(12, seed=1)
    few = crosslingual_table({"en": said(one), "fr": said(one)}, firing_rate=torch.zeros(300))
    assert few["live"].tolist() == [1]
    assert few["kind"].tolist() == ["shared"]


@given(st.integers(0, 2**31 - 1), st.floats(0.01, 100))
def test_the_order_of_latents_and_their_scale_change_nothing(seed: int, scale: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    parts = [torch.relu(torch.randn(8, 12, generator=generator)) for _ in range(4)]
    order = torch.randperm(12, generator=generator)
    rate = torch.rand(12, generator=generator) / 3

    def table(parts: list[torch.Tensor], rate: torch.Tensor) -> object:
        chance = rate.expand(8, -1)
        both = {
            "en": Said(parts[0], parts[1], chance),
            "fr": Said(parts[2], parts[3], chance),
        }
        return crosslingual_table(both, firing_rate=rate).set_index("latent").sort_index()

    plain = table(parts, rate)
    moved = table([scale * part[:, order] for part in parts], rate[order])
    moved.index = order.numpy()[moved.index]
    moved = moved.sort_index()
    for column in ("kind", "decision"):
        assert moved[column].tolist() == plain[column].tolist()
    for column in ("p", "adjusted", "p_en", "p_controls_fr", "p_background_fr"):
        assert moved[column].to_numpy() == pytest.approx(plain[column].to_numpy(), rel=1e-6)
    assert plain["p"].between(0, 1, inclusive="right").all()


def test_sets_are_the_weak_shared_and_the_strongest_private() -> None:
    scales = [0.1, 0.2, 1.0, 2.0, 3.0]
    en = torch.cat([strong(seed=i, scale=s) for i, s in enumerate(scales)] + [silent()], dim=1)
    fr = torch.cat([strong(seed=9 + i, scale=s) for i, s in enumerate(scales)] + [silent()], dim=1)
    fr[:, 3] = 0
    en[:, 5:] = strong(seed=30, scale=5.0)
    norms = torch.tensor([1.0, 1.0, 1.0, 1.0, 1.0, 0.1])
    table = crosslingual_table({"en": said(en), "fr": said(fr)}, firing_rate=rates(6), norms=norms)
    # At " happy" the contributions are 0.1 0.2 1 2 3 0.5: the median is 0.75; in French 0.6.
    assert set(weak_shared(table)["latent"]) == {0, 1}
    found = sets(table)
    assert set(found) == {"weak shared", "private en", "private fr"}
    assert found["private en"] == [3, 5]
    assert sets(table, strongest=1)["private en"] == [3]
    assert found["private fr"] == []


def test_unequal_texts_are_paired_in_their_order_and_bad_input_is_told() -> None:
    one = Said(torch.ones(5, 3), torch.zeros(4, 3), torch.full((5, 3), 0.1))
    assert len(one) == 4
    with pytest.raises(InputError, match="control words"):
        Said(torch.ones(5, 3), torch.zeros(0, 3), torch.full((5, 3), 0.1))
    with pytest.raises(InputError, match="one dictionary"):
        Said(torch.ones(5, 3), torch.zeros(5, 4), torch.full((5, 3), 0.1))
    with pytest.raises(InputError, match="two languages"):
        crosslingual_table({"en": one}, firing_rate=rates(3))
