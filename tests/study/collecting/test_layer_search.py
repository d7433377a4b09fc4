"""Counterparts equal those found by hand from every latent at every token."""

from __future__ import annotations

import pytest
import torch
from tests.dictionaries.test_reading import dictionary
from tests.tiny import tiny_model

from tl_ext.activations.capture import capture
from tl_ext.analysis.similarity import correlation, cosine
from tl_ext.dictionaries.dictionary import Dictionaries
from tl_ext.errors import InputError
from tl_ext.models.hook_points import to_residual
from tl_ext.study.collecting.layer_search import (
    Family,
    Reader,
    by_correlation,
    by_cosine,
    families,
    halves,
)

TEXTS = [" ".join(f"w{5 + (7 * text + 3 * word) % 50}" for word in range(12)) for text in range(24)]
LATENTS = torch.tensor([0, 3, 7, 20, 31])
TESTED = torch.tensor([3, 20])


@pytest.fixture(scope="module")
def at_z() -> Dictionaries:
    points = [f"blocks.{layer}.attn.hook_z" for layer in range(3)]
    return Dictionaries(dictionary(point, point, seed=seed) for seed, point in enumerate(points))


@pytest.fixture(scope="module")
def family(at_z: Dictionaries) -> Family:
    (only,) = families({id: one.hook_in for id, one in at_z.items()})
    return only


def every(latents: torch.Tensor, family: Family) -> dict[str, torch.Tensor]:
    return dict.fromkeys(family.ids, latents)


def test_families_are_of_one_kind_and_several_layers() -> None:
    points = {
        "a": "blocks.1.hook_resid_pre",
        "b": "blocks.0.hook_resid_pre",
        "again": "blocks.1.hook_resid_pre",
        "alone": "blocks.1.hook_mlp_out",
        "outside": "hook_embed",
        "z0": "blocks.0.attn.hook_z",
        "z1": "blocks.4.attn.o.hook_in",
    }
    found = families(points)
    assert found == (
        Family("resid_pre", ("b", "a"), (0, 1)),
        Family("z", ("z0", "z1"), (0, 4)),
    )
    assert found[0].others("b") == [1]
    twice = families(points | {"another": "blocks.0.hook_resid_pre"})
    assert twice[1] == Family("resid_pre 2", ("another", "again"), (0, 1))


def test_by_cosine_is_the_nearest_direction_in_the_residual_stream(
    at_z: Dictionaries, family: Family
) -> None:
    model = tiny_model("gpt2")
    found = by_cosine(
        model,
        at_z,
        family,
        every(LATENTS, family),
        every(TESTED, family),
        draws=5,
        seed=0,
    )
    whole = {id: to_residual(model, one.hook_out, one.directions) for id, one in at_z.items()}
    for id, mine in found.items():
        assert mine.chance.shape == (5, 2, 3)
        for place, other in enumerate(family.ids):
            if other == id:
                assert (mine.latent[:, place] == -1).all()
                assert mine.similarity[:, place].isnan().all()
                continue
            value, index = cosine(whole[id][LATENTS].detach(), whole[other].detach()).max(1)
            assert torch.equal(mine.latent[:, place], index)
            torch.testing.assert_close(mine.similarity[:, place], value, rtol=0, atol=1e-6)
            assert not mine.chance[..., place].isnan().any()


@pytest.mark.parametrize(("batch_size", "memory"), [(5, 2**31), (64, 1)])
def test_by_correlation_chooses_on_one_half_and_measures_on_the_other(
    at_z: Dictionaries, family: Family, batch_size: int, memory: int
) -> None:
    model = tiny_model("gpt2")
    reader = Reader(model, at_z, batch_size=batch_size)
    found, among = by_correlation(
        reader,
        family,
        every(LATENTS, family),
        every(TESTED, family),
        every(LATENTS, family),
        TEXTS,
        draws=5,
        seed=0,
        memory=memory,
    )
    dense = []
    for half in halves(TEXTS):
        read = capture(model, half, [one.hook_in for one in at_z.values()])
        dense.append({id: one.encode(read.activations[one.hook_in]) for id, one in at_z.items()})
    for id, mine in found.items():
        for place in family.others(id):
            other = family.ids[place]
            chosen, measured = (
                correlation(torch.cat([half[id][:, LATENTS], half[other]], 1))[:5, 5:]
                for half in dense
            )
            expected = chosen.nan_to_num(nan=-2).max(1)
            index = torch.where(expected.values > -2, expected.indices, -1)
            assert torch.equal(mine.latent[:, place], index)
            value = measured[torch.arange(5), index].where(index >= 0, torch.nan)
            torch.testing.assert_close(
                mine.similarity[:, place], value, equal_nan=True, rtol=1e-4, atol=1e-5
            )
    a, b = family.ids[:2]
    expected = correlation(torch.cat([dense[1][a][:, LATENTS], dense[1][b][:, LATENTS]], 1))[:5, 5:]
    torch.testing.assert_close(among[a, b], expected, equal_nan=True, rtol=1e-4, atol=1e-5)


def test_one_text_has_no_two_halves() -> None:
    with pytest.raises(InputError, match="at least two"):
        halves(["alone"])
