"""SAELens' baseline of zeros stands where the dictionary does."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.both_families import identity_sae, zero_sae
from tests.tiny import tiny_model

from tl_ext import fixes
from tl_ext.fixes.saelens.zero_ablation_of_excluded_tokens import SLUG

pytestmark = pytest.mark.saelens

IDS = torch.tensor([[2, 5, 6, 2, 9, 30], [2, 7, 2, 2, 41, 8]])


def losses(sae: Any, *, ignore: list[int] | None, family: str = "qwen2") -> dict[str, Any]:
    from sae_lens.evals import get_recons_loss
    from sae_lens.training.activation_scaler import ActivationScaler

    return get_recons_loss(
        sae,
        tiny_model(family),
        ActivationScaler(),
        IDS,
        compute_kl=True,
        compute_ce_loss=True,
        ignore_tokens=ignore,
    )


@pytest.mark.parametrize(
    "hook", ["blocks.1.hook_resid_pre", "blocks.1.hook_mlp_out", "blocks.1.attn.hook_z"]
)
def test_zeros_are_zeros_and_the_identity_changes_nothing(hook: str) -> None:
    with fixes.applied(SLUG):
        zero = losses(zero_sae(hook, 24), ignore=[2])
        same = losses(identity_sae(hook, 24), ignore=[2])
    torch.testing.assert_close(zero["ce_loss_with_sae"], zero["ce_loss_with_ablation"])
    torch.testing.assert_close(zero["kl_div_with_sae"], zero["kl_div_with_ablation"])
    torch.testing.assert_close(same["ce_loss_with_sae"], same["ce_loss_without_sae"])
    assert (zero["ce_loss_with_sae"] - zero["ce_loss_without_sae"]).abs().max() > 0.01


def test_one_head_alone() -> None:
    sae = zero_sae("blocks.1.attn.hook_z", 6)
    sae.cfg.metadata.hook_head_index = 1
    with fixes.applied(SLUG):
        found = losses(sae, ignore=[2])
    torch.testing.assert_close(found["ce_loss_with_sae"], found["ce_loss_with_ablation"])


def test_with_nothing_excluded_all_is_as_it_was() -> None:
    sae = zero_sae("blocks.1.hook_resid_pre", 24)
    before = losses(sae, ignore=None)
    with fixes.applied(SLUG):
        after = losses(sae, ignore=None)
    assert all(torch.equal(before[name], after[name]) for name in before)
