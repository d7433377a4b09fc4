"""A norm without parameters is edited as any other norm is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.fixes.taken_back import as_installed
from tests.fixes.tiny_models import IDS, booted, compatible, made
from tests.tiny import make_tiny_model
from torch import Tensor

from tl_ext.fixes.transformerlens.norm_without_gain_edit_crashes import SLUG

pytestmark = [
    pytest.mark.usefixtures("fixed"),
    # Upstream warns that an edited norm is worked out by its own arithmetic.
    pytest.mark.filterwarnings("ignore"),
]
NORMS = {"blocks.1.ln1": "model.layers.1.input_layernorm", "ln_final": "model.norm"}


def halved(value: Tensor, hook: Any) -> Tensor:
    return value / 2


def doubled(value: Tensor, hook: Any) -> Tensor:
    return value * 2


@torch.no_grad()
@pytest.mark.parametrize("boot", [booted, compatible])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(("hook", "edit"), [("hook_normalized", halved), ("hook_scale", doubled)])
def test_an_edit_does_what_it_does_in_the_plain_model(
    boot: Callable[..., Any], norm: str, hook: str, edit: Callable[..., Tensor]
) -> None:
    given = boot(made("OlmoConfig")).run_with_hooks(IDS, fwd_hooks=[(f"{norm}.{hook}", edit)])
    plain = made("OlmoConfig")
    plain.get_submodule(NORMS[norm]).register_forward_hook(lambda *call: call[-1] / 2)
    true = plain(IDS).logits
    torch.testing.assert_close(given.log_softmax(-1), true.log_softmax(-1), atol=1e-4, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_the_type_stays(dtype: torch.dtype) -> None:
    bridge = booted(made("OlmoConfig").to(dtype))
    given = bridge.run_with_hooks(IDS, fwd_hooks=[("blocks.1.ln1.hook_normalized", halved)])
    assert given.dtype is dtype


def test_gradients_reach_backward_hooks() -> None:
    bridge = booted(made("OlmoConfig"))
    found: list[Tensor] = []
    bridge.add_hook(
        "blocks.1.ln1.hook_normalized", lambda grad, hook: found.append(grad), dir="bwd"
    )
    bridge(IDS)[0, -1, 5].backward()
    plain, held = made("OlmoConfig"), []

    def keep(module: Any, given: Any, output: Tensor) -> None:
        output.retain_grad()
        held.append(output)

    plain.model.layers[1].input_layernorm.register_forward_hook(keep)
    plain(IDS).logits[0, -1, 5].backward()
    torch.testing.assert_close(found[0], held[0].grad, atol=1e-5, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_norms_with_a_gain_are_edited_as_before(family: str) -> None:
    bridge = make_tiny_model(family)
    hooks = [("blocks.1.ln1.hook_normalized", halved)]
    fixed = bridge.run_with_hooks(IDS, fwd_hooks=hooks)
    with as_installed(SLUG):
        assert torch.equal(fixed, bridge.run_with_hooks(IDS, fwd_hooks=hooks))
