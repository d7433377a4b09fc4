"""A hook point that does not exist is refused by name, and everything that worked works on."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fixes.tiny_models import assert_same_tensors
from tests.tiny import make_tiny_model, tiny_model

from tl_ext import fixes
from tl_ext.fixes.transformerlens.mistyped_hook_names_ignored import SLUG

IDS = torch.tensor([[5, 9, 33]])
WRONG, RIGHT = "blocks.1.hook_resid_pots", "blocks.1.hook_resid_post"


def nothing(activation: Any, hook: Any) -> None:
    """A hook that only looks."""


def in_context(bridge: Any, **hooks: Any) -> None:
    with bridge.hooks(**hooks):
        bridge(IDS)


CALLS: dict[str, Callable[[Any, str], Any]] = {
    "run_with_hooks": lambda bridge, name: bridge.run_with_hooks(
        IDS, fwd_hooks=[(RIGHT, nothing), (name, nothing)]
    ),
    "run_with_hooks, by place": lambda bridge, name: bridge.run_with_hooks(IDS, [(name, nothing)]),
    "run_with_hooks, backward": lambda bridge, name: bridge.run_with_hooks(
        IDS, bwd_hooks=[(name, nothing)]
    ),
    "run_with_hooks, an iterator": lambda bridge, name: bridge.run_with_hooks(
        IDS, fwd_hooks=iter([(RIGHT, nothing), (name, nothing)])
    ),
    "hooks": lambda bridge, name: in_context(bridge, fwd_hooks=[(name, nothing)]),
    "hooks, backward": lambda bridge, name: in_context(bridge, bwd_hooks=[(name, nothing)]),
    "run_with_cache": lambda bridge, name: bridge.run_with_cache(IDS, names_filter=name),
    "run_with_cache, a list": lambda bridge, name: bridge.run_with_cache(IDS, names_filter=[name]),
    "run_with_cache, beside one that exists": lambda bridge, name: bridge.run_with_cache(
        IDS, names_filter=[RIGHT, name]
    ),
    "get_caching_hooks": lambda bridge, name: bridge.get_caching_hooks([RIGHT, name]),
    "add_caching_hooks": lambda bridge, name: bridge.add_caching_hooks([RIGHT, name]),
    "add_hook": lambda bridge, name: bridge.add_hook(name, nothing),
}


@pytest.mark.parametrize("call", CALLS)
def test_it_is_refused_with_the_nearest_names(call: str) -> None:
    bridge: Any = make_tiny_model("llama")
    if "caching" in call and not hasattr(bridge, call):
        pytest.skip("3.9 has no such method")
    with fixes.applied(SLUG):
        CALLS[call](bridge, RIGHT)
        bridge.reset_hooks()
        with pytest.raises((KeyError, AttributeError), match="hook_resid_pots") as raised:
            CALLS[call](bridge, WRONG)
    if call != "add_hook":
        assert f"Nearest: {RIGHT}" in str(raised.value)
    assert not any(point.has_hooks() for point in bridge.hook_dict.values())


@pytest.mark.parametrize("family", ["llama", "phi"])
def test_names_in_every_spelling_and_mode_are_known(family: str) -> None:
    bridge = make_tiny_model(family)
    for _ in ("raw", "compatibility"):
        off = {
            name for name, point in bridge.hook_dict.items() if refused(bridge, point.name or name)
        }
        names = sorted(bridge.hook_dict.keys() - off)
        assert {"blocks.2.hook_out", RIGHT, "hook_embed", "blocks.0.attn.hook_z"} <= set(names)
        with torch.no_grad(), fixes.applied(SLUG):
            bridge.run_with_hooks(
                IDS, fwd_hooks=[(name, nothing) for name in names], stop_at_layer=1
            )
            _, cache = bridge.run_with_cache(IDS, names_filter=names)
        assert RIGHT in cache
        bridge.enable_compatibility_mode(disable_warnings=True)


def refused(bridge: Any, name: str) -> bool:
    return bridge._gated_hook_reason(name) is not None


def test_a_hook_point_that_is_switched_off_is_refused_as_before() -> None:
    bridge = tiny_model("llama")
    name = "blocks.0.hook_mlp_in"
    with fixes.applied(SLUG), pytest.raises(ValueError, match="use_hook_mlp_in"):
        bridge.run_with_hooks(IDS, fwd_hooks=[(name, nothing)])
    with fixes.applied(SLUG), pytest.warns(UserWarning, match="gated-off"):
        bridge.run_with_cache(IDS, names_filter=[name])


def test_a_filter_that_chooses_nothing_is_told_of() -> None:
    bridge = tiny_model("llama")

    def none(name: str) -> bool:
        return name == WRONG

    with torch.no_grad(), fixes.applied(SLUG):
        with pytest.warns(UserWarning, match="chooses none of this model's") as told:
            bridge.run_with_hooks(IDS, fwd_hooks=[(none, nothing)])
        assert told[0].filename == __file__
        with pytest.warns(UserWarning, match="chooses none"):
            _, cache = bridge.run_with_cache(IDS, names_filter=none)
        assert len(cache) == 0
        with warnings.catch_warnings(action="error"):
            bridge.run_with_hooks(IDS, fwd_hooks=[(lambda name: name == RIGHT, nothing)])
            bridge.run_with_cache(IDS)
            bridge.run_with_cache(IDS, names_filter=[])


def test_what_a_call_without_its_arguments_says_is_said_still() -> None:
    with fixes.applied(SLUG), pytest.raises(TypeError, match="input"):
        tiny_model("llama").run_with_hooks()  # type: ignore[call-arg]


@given(
    st.lists(st.sampled_from([RIGHT, "blocks.0.hook_mlp_out", "blocks.2.hook_in", "hook_embed"])),
    st.booleans(),
)
@settings(max_examples=settings.default.max_examples // 4)
def test_with_names_that_exist_not_a_bit_changes(names: list[str], as_function: bool) -> None:
    bridge = tiny_model("llama")
    wanted: Any = (lambda name: name in names) if as_function and names else names

    def run() -> dict[str, torch.Tensor]:
        with torch.no_grad():
            logits, cache = bridge.run_with_cache(IDS, names_filter=wanted)
            edited = bridge.run_with_hooks(
                IDS, fwd_hooks=[(name, lambda activation, hook: activation / 2) for name in names]
            )
        return {"logits": logits, "edited": edited, **cache.cache_dict}

    before = run()
    with fixes.applied(SLUG):
        after = run()
    assert_same_tensors(before, after)
