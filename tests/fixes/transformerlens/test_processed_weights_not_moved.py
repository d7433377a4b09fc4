"""A gated MLP in compatibility mode computes with what its projections hold."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.fixes.taken_back import as_installed
from tests.fixes.tiny_models import GPT2_SIZES, IDS, booted, compatible, made

from tl_ext.fixes.transformerlens.processed_weights_not_moved import SLUG

pytestmark = pytest.mark.usefixtures("fixed")

FAMILIES: dict[str, dict[str, Any]] = {
    "LlamaConfig": {"mlp_bias": True},
    "Gemma2Config": {},
    "Phi3Config": {},
    "GPT2Config": GPT2_SIZES,
}


@torch.no_grad()
@pytest.mark.parametrize("config", FAMILIES)
def test_in_another_type_it_predicts_the_same(config: str) -> None:
    bridge = compatible(made(config, **FAMILIES[config]))
    before = bridge(IDS)
    names = list(bridge.state_dict())
    bridge.to(torch.float64, print_details=False)
    after = bridge(IDS)
    assert after.dtype is torch.float64
    assert list(bridge.state_dict()) == names
    torch.testing.assert_close(after.float(), before, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(bridge.to(torch.float32, print_details=False)(IDS), before)


@torch.no_grad()
def test_half_precision_and_back() -> None:
    bridge = compatible(made("LlamaConfig"))
    bridge.original_model.half()
    assert bridge(IDS).dtype is torch.float16


def test_the_projections_learn() -> None:
    bridge = compatible(made("LlamaConfig"))
    bridge(IDS).sum().backward()
    assert bridge.blocks[1].mlp.gate.weight.grad.abs().max() > 0
    with torch.no_grad():
        before = bridge(IDS)
        bridge.blocks[1].mlp.gate.weight.zero_()
        assert (bridge(IDS) - before).abs().max() > 1e-3


@torch.no_grad()
@pytest.mark.parametrize("boot", [booted, compatible])
@pytest.mark.parametrize("config", ["LlamaConfig", "Phi3Config"])
def test_where_nothing_was_moved_nothing_changes(config: str, boot: Any) -> None:
    bridge = boot(made(config))
    fixed = bridge(IDS)
    with as_installed(SLUG):
        assert torch.equal(fixed, boot(made(config))(IDS))
