"""Tables of features: planted latents are found, frames are taken out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tl_ext.analysis.features import (
    activation_table,
    belongs,
    beyond_controls,
    shared_and_private,
)
from tl_ext.errors import InputError

D, N = 200, 40


def world(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Happy, excited and control texts. Latent 0: both; 1: happy; 2: excited; 3: the frame; 4: dead."""
    noise = torch.Generator().manual_seed(seed)
    happy, excited, control = (
        torch.relu(torch.randn(N, D, generator=noise) - 1.0) for _ in range(3)
    )
    for texts in (happy, excited, control):
        texts[:, :5] = 0
        texts[:, 3] = 4 + torch.rand(N, generator=noise)
    for texts, latents in ((happy, (0, 1)), (excited, (0, 2))):
        for latent in latents:
            texts[:, latent] = 3 + torch.rand(N, generator=noise)
    return happy, excited, control


def test_a_table_holds_what_fired_the_strongest_first() -> None:
    latents = torch.tensor([[0.0, 2.0, 1.0, 0.0], [0.0, 4.0, 0.0, 0.0]])
    table = activation_table(latents)
    assert table["latent"].tolist() == [1, 2]
    assert table["activation"].tolist() == [3.0, 0.5]
    assert table["share"].tolist() == [1.0, 0.5]
    assert table["largest"].tolist() == [4.0, 1.0]


def test_the_frame_is_taken_out_and_the_concept_stays() -> None:
    happy, _, control = world()
    table = beyond_controls(happy, control)
    assert belongs(table)[[0, 1]].all()
    assert not belongs(table)[[2, 3, 4]].any()


def test_kinds_are_what_was_planted() -> None:
    happy, excited, control = world()
    rate = torch.rand(D, generator=torch.Generator().manual_seed(1))
    table = shared_and_private(
        beyond_controls(happy, control), beyond_controls(excited, control), rate
    ).set_index("latent")
    assert table["kind"][[0, 1, 2, 3]].tolist() == ["shared", "private a", "private b", "frame"]
    assert 4 not in table.index
    assert table["firing_rate"][0] == pytest.approx(float(rate[0]))


def test_the_interval_covers_as_often_as_it_says() -> None:
    """With nothing planted, about 2.5 % of latents lie above their interval."""
    noise = torch.Generator().manual_seed(3)
    a, b = (torch.rand(30, 4000, generator=noise) for _ in range(2))
    above = (beyond_controls(a, b)["low"] > 0).mean()
    assert 0.015 < above < 0.045


def test_order_and_positive_scale_of_latents_do_not_matter() -> None:
    happy, _, control = world()
    order = torch.randperm(D, generator=torch.Generator().manual_seed(2))
    plain = belongs(beyond_controls(happy, control)).to_numpy()
    moved = belongs(beyond_controls(7.0 * happy[:, order], 7.0 * control[:, order])).to_numpy()
    assert np.array_equal(plain[order.numpy()], moved)


def test_bad_shapes_are_named() -> None:
    with pytest.raises(InputError, match=r"\[text d_latent\]"):
        activation_table(torch.zeros(0, 3))
    with pytest.raises(InputError, match="at least 2 texts"):
        beyond_controls(torch.zeros(1, 3), torch.zeros(2, 3))
    with pytest.raises(InputError, match="one dictionary"):
        beyond_controls(torch.zeros(2, 3), torch.zeros(2, 4))
    with pytest.raises(InputError, match="one dictionary"):
        shared_and_private(
            beyond_controls(torch.zeros(2, 3), torch.zeros(2, 3)),
            beyond_controls(torch.zeros(2, 4), torch.zeros(2, 4)),
        )


def test_the_interval_is_welchs() -> None:
    from scipy.stats import ttest_ind

    noise = torch.Generator().manual_seed(4)
    a, b = torch.rand(7, 5, generator=noise), 3 * torch.rand(4, 5, generator=noise)
    expected = ttest_ind(a.numpy(), b.numpy(), equal_var=False).confidence_interval(0.95)
    table = beyond_controls(a, b)
    assert table["low"].to_numpy() == pytest.approx(expected.low, rel=1e-5)
    assert table["high"].to_numpy() == pytest.approx(expected.high, rel=1e-5)
