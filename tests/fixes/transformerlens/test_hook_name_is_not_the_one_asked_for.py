"""Inside a hook, hook.name is the name it was asked for under, and nothing is called twice."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from tests.tiny import make_tiny_model, tiny_model
from transformer_lens.hook_points import HookPoint

from tl_ext import fixes
from tl_ext.fixes.transformerlens.hook_name_is_not_the_one_asked_for import SLUG

IDS = torch.tensor([[5, 9, 33]])
ASKED, OWN = "blocks.1.hook_resid_post", "blocks.1.hook_out"


@pytest.fixture(params=["raw", "compatibility"])
def bridge(request: pytest.FixtureRequest) -> Any:
    made = make_tiny_model("llama")
    if request.param == "compatibility":
        made.enable_compatibility_mode(disable_warnings=True)
    return made


def test_by_every_way_in(bridge: Any) -> None:
    told: list[str] = []

    def listen(activation: Any, hook: Any) -> Any:
        told.append(hook.name)
        return activation  # 3.9 demands that under remove_batch_dim

    bridge.requires_grad_(True)
    with fixes.applied(SLUG):
        bridge.run_with_hooks(IDS, fwd_hooks=[(ASKED, listen)])
        bridge.run_with_hooks(IDS, fwd_hooks=[(ASKED, listen)], remove_batch_dim=True)
        with bridge.hooks(fwd_hooks=[(ASKED, listen)], bwd_hooks=[(ASKED, listen)]):
            bridge(IDS).sum().backward()
        bridge.add_hook(ASKED, listen)
        bridge(IDS)
        bridge.reset_hooks()
        bridge.add_perma_hook(ASKED, listen)
        bridge(IDS)
        bridge.reset_hooks(including_permanent=True)
    assert told == [ASKED] * 6


def test_under_the_bridges_own_name_the_hook_point_itself_comes(bridge: Any) -> None:
    seen: list[Any] = []

    def keep(activation: Any, hook: Any) -> None:
        seen.append(hook)

    with fixes.applied(SLUG):
        bridge.run_with_hooks(IDS, fwd_hooks=[(OWN, keep), (lambda name: name == OWN, keep)])
    assert all(hook is bridge.blocks[1].hook_out for hook in seen) and len(seen) == 2


def test_of_a_filter_the_own_name_or_the_first_it_chooses(bridge: Any) -> None:
    told: list[str] = []

    def listen(activation: Any, hook: Any) -> None:
        told.append(hook.name)

    with fixes.applied(SLUG):
        bridge.run_with_hooks(
            IDS, fwd_hooks=[(lambda name: name.endswith("hook_resid_post"), listen)]
        )
        assert told == [f"blocks.{layer}.hook_resid_post" for layer in range(3)]
        told.clear()
        bridge.run_with_hooks(IDS, fwd_hooks=[(lambda name: name in (ASKED, OWN), listen)])
    assert told == [OWN]


def test_an_edit_happens_once(bridge: Any) -> None:
    def add(activation: Any, hook: Any) -> Any:
        return activation + torch.linspace(0, 1, activation.shape[-1])

    with torch.no_grad():
        truth = bridge.run_with_hooks(IDS, fwd_hooks=[(OWN, add)])
        with fixes.applied(SLUG):
            assert torch.equal(bridge.run_with_hooks(IDS, fwd_hooks=[(ASKED, add)]), truth)
            edited = bridge.run_with_hooks(IDS, fwd_hooks=[(ASKED, partial(add))])
            chosen = [(lambda name: name == ASKED, add)]
            assert torch.equal(bridge.run_with_hooks(IDS, fwd_hooks=chosen), truth)
    assert torch.equal(edited, truth)


def test_what_comes_is_the_hook_point_in_all_but_its_name() -> None:
    bridge: Any = make_tiny_model("gpt2")
    point = bridge.blocks[1].hook_out

    def use(activation: Any, hook: Any) -> None:
        assert isinstance(hook, HookPoint)
        assert hook.layer() == 1 and hook.has_hooks()
        hook.ctx["kept"] = activation
        hook.pos_dim = 1

    with fixes.applied(SLUG):
        bridge.run_with_hooks(IDS, fwd_hooks=[(ASKED, use)])
        assert point.ctx["kept"].shape == (1, 3, 24) and point.pos_dim == 1
        bridge.run_with_hooks(
            IDS, fwd_hooks=[(ASKED, lambda activation, hook: hook.clear_context())]
        )
        assert point.ctx == {} and point.name == OWN
        bridge.add_hook(ASKED, use)
        assert point.fwd_hooks[-1].user_hook is use


def test_a_second_argument_of_another_name_by_place_as_before() -> None:
    bridge = tiny_model("gpt2")
    told: list[str] = []
    listen = [(ASKED, lambda activation, point: (told.append(point.name), activation)[1])]
    with fixes.applied(SLUG):
        bridge.run_with_hooks(IDS, fwd_hooks=listen, remove_batch_dim=True)
    assert told == [ASKED]


def test_the_hooks_of_get_caching_hooks_write_under_all_their_names() -> None:
    bridge: Any = make_tiny_model("gpt2")
    if not hasattr(bridge, "get_caching_hooks"):
        pytest.skip("3.9 has no such method")

    def kept() -> set[str]:
        cache, hooks, _ = bridge.get_caching_hooks(lambda name: name == ASKED)
        bridge.run_with_hooks(IDS, fwd_hooks=hooks)
        return set(cache)

    before = kept()
    with fixes.applied(SLUG):
        assert kept() == before == {ASKED, OWN}
