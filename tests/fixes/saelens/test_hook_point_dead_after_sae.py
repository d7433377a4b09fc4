"""After a dictionary is detached, a bridge's hook point is the one it was."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.fixes.saelens.attached import IDS, bridge, counting, sae, transcoder

from tl_ext import fixes
from tl_ext.fixes.saelens.hook_point_dead_after_sae import SLUG

pytestmark = pytest.mark.saelens

NAMES = {
    "blocks.0.hook_mlp_out": "blocks.0.mlp.hook_out",
    "blocks.1.attn.hook_z": "blocks.1.attn.o.hook_in",
    "blocks.1.hook_in": "blocks.1.hook_in",
}


def points(model: Any) -> dict[str, tuple[int, str | None]]:
    return {name: (id(point), point.name) for name, point in model._hook_registry.items()}


@pytest.mark.parametrize("compatible", [False, True])
def test_a_run_with_saes_leaves_the_bridge_as_it_was(compatible: bool) -> None:
    model = bridge(compatible=compatible)
    before, (base, cached) = points(model), model.run_with_cache(IDS)
    with fixes.applied(SLUG):
        for name, own in NAMES.items():
            model.run_with_saes(IDS, saes=[sae(name)])
            with pytest.raises(RuntimeError), model.saes([sae(name)]):
                raise RuntimeError
            fired: list[Any] = []
            logits = model.run_with_hooks(IDS, fwd_hooks=[(own, counting(fired))])
            assert len(fired) == 1 and torch.equal(fired[0], cached[own])
            assert torch.equal(logits, base)
        reads, writes = "blocks.1.ln2.hook_out", "blocks.1.mlp.hook_out"
        model.run_with_saes(IDS, saes=[transcoder(reads, writes)])
        assert points(model) == before
        again = model.run_with_cache(IDS)[1]
    assert again.keys() == cached.keys()
    assert all(torch.equal(again[name], cached[name]) for name in cached)


def test_the_users_hooks_are_back_and_the_alias_is_the_same_hook_point() -> None:
    model, fired = bridge(), []
    model.add_hook("blocks.0.mlp.hook_out", counting(fired))
    with fixes.applied(SLUG):
        with model.saes([sae("blocks.0.hook_mlp_out")]), model.saes([sae("blocks.0.hook_mlp_out")]):
            model(IDS)
        assert not fired
        model(IDS)
        assert len(fired) == 1
        model.blocks[0].hook_mlp_out.add_hook(counting(fired))
        model(IDS)
        assert len(fired) == 3
        model.reset_hooks()
        model(IDS)
    assert len(fired) == 3


def test_a_dictionary_attached_before_is_detached_as_upstream_does() -> None:
    model = bridge()
    model.add_sae(sae("blocks.0.hook_mlp_out"))
    with fixes.applied(SLUG):
        model.reset_saes()
        assert model.acts_to_saes == {}
        model(IDS)
