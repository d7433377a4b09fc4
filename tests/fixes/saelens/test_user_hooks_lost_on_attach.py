"""Hooks at a hook point go on working while a dictionary is attached there, and afterwards."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.fixes.saelens.attached import (
    IDS,
    both_classes,
    bridge,
    counting,
    model_of,
    sae,
    transcoder,
)

from tl_ext import fixes
from tl_ext.fixes.saelens.user_hooks_lost_on_attach import SLUG

pytestmark = pytest.mark.saelens

NAME = {"bridge": "blocks.1.hook_in", "hooked": "blocks.1.hook_resid_pre"}
READS = "blocks.1.ln2.hook_normalized"
WRITES = {"bridge": "blocks.1.mlp.hook_out", "hooked": "blocks.1.hook_mlp_out"}


@both_classes
@pytest.mark.parametrize("permanent", [False, True])
def test_they_see_what_the_dictionary_reads_and_may_edit_it(kind: str, permanent: bool) -> None:
    model, name, fired = model_of(kind), NAME[kind], []
    dictionary = sae(name)
    with torch.no_grad(), fixes.applied(SLUG):
        x = model.run_with_cache(IDS)[1][name]
        expected = model.run_with_hooks(IDS, fwd_hooks=[(name, lambda _, hook: dictionary(2 * x))])
        model.add_hook(name, counting(fired), is_permanent=permanent)
        model.add_hook(name, lambda x, hook: 2 * x, is_permanent=permanent)
        alone = model(IDS)
        for saes, wanted in (([], alone), ([dictionary], expected), ([], alone)):
            fired.clear()
            torch.testing.assert_close(model.run_with_saes(IDS, saes=saes), wanted)
            assert len(fired) == 1 and torch.equal(fired[0], x)
        with pytest.raises(RuntimeError), model.saes([dictionary]), model.saes([sae(name)]):
            raise RuntimeError
        torch.testing.assert_close(model(IDS), alone)


@both_classes
def test_with_an_error_term_they_act_as_if_it_were_not_there(kind: str) -> None:
    model, name = model_of(kind), NAME[kind]
    model.add_hook(name, lambda x, hook: x * 1.5 + 1)
    with torch.no_grad(), fixes.applied(SLUG):
        alone = model(IDS)
        found = model.run_with_saes(IDS, saes=[sae(name)], use_error_term=True)
    torch.testing.assert_close(found, alone)


@both_classes
def test_backward_hooks_see_the_gradient_of_what_the_dictionary_reads(kind: str) -> None:
    model, name, seen = model_of(kind), NAME[kind], []
    dictionary = sae(name)

    def note(gradient: Any, hook: Any) -> None:
        seen.append(gradient[0] if isinstance(gradient, tuple) else gradient)

    model.add_hook(name, note, "bwd")
    with fixes.applied(SLUG), model.saes([dictionary]):
        model(IDS).logsumexp(-1).sum().backward()
    assert len(seen) == 1
    with torch.no_grad():
        x = model.run_with_cache(IDS)[1][name]
    x = x.detach().requires_grad_()
    model.reset_hooks()
    logits = model.run_with_hooks(IDS, fwd_hooks=[(name, lambda _, hook: dictionary(x))])
    (expected,) = torch.autograd.grad(logits.logsumexp(-1).sum(), x)
    torch.testing.assert_close(seen[0], expected)


@both_classes
def test_resetting_hooks_reaches_them_while_it_is_attached(kind: str) -> None:
    model, name, fired = model_of(kind), NAME[kind], []
    with fixes.applied(SLUG):
        model.add_hook(name, counting(fired))
        model.add_hook(name, counting(fired), is_permanent=True)
        with model.saes([sae(name)]):
            model(IDS)
            model.reset_hooks()
            model(IDS)
            assert len(fired) == 3
            model.reset_hooks(including_permanent=True)
            model(IDS)
        model(IDS)
        assert len(fired) == 3
        assert all(point.fwd_hooks == [] for point in model.hook_points())


@both_classes
def test_temporary_hooks_around_it_are_taken_back(kind: str) -> None:
    model, name, fired = model_of(kind), NAME[kind], []
    with fixes.applied(SLUG):
        with model.hooks(fwd_hooks=[(name, counting(fired))]):
            model.add_sae(sae(name))
            model(IDS)
        assert len(fired) == 1
        model(IDS)
        model.reset_saes()
        model(IDS)
        assert len(fired) == 1


@both_classes
def test_a_transcoder_leaves_the_hooks_at_what_it_reads(kind: str) -> None:
    model, fired = model_of(kind), []
    attached = transcoder(READS, WRITES[kind])
    with fixes.applied(SLUG), torch.no_grad():
        for name in (READS, WRITES[kind]):
            model.add_hook(name, counting(fired))
            model.add_hook(name, counting(fired), is_permanent=True)
        for saes in ([], [attached], []):
            fired.clear()
            model.run_with_saes(IDS, saes=saes)
            assert len(fired) == 4
        with model.saes([attached]), model.saes([transcoder(READS, WRITES[kind], seed=5)]):
            model(IDS)
        point = model.hook_dict[READS]
        assert len(point.fwd_hooks) == len(point._forward_hooks) == 2


@both_classes
def test_hooks_at_an_outer_dictionary_survive_an_inner_one(kind: str) -> None:
    model, name, fired = model_of(kind), NAME[kind], []
    with fixes.applied(SLUG), torch.no_grad(), model.saes([sae(name)], use_error_term=True):
        for last in ("hook_sae_output", "hook_sae_error", "hook_sae_acts_post"):
            model.add_hook(f"{name}.{last}", counting(fired))
        model(IDS)
        assert len(fired) == 3
        with model.saes([sae(name, seed=4)]):
            model(IDS)
        assert len(fired) == 3
        model(IDS)
        assert len(fired) == 6
        assert model.hook_dict[f"{name}.hook_sae_output"].name == f"{name}.hook_sae_output"


def test_heads_are_cut_as_before_and_nothing_changes_without_hooks() -> None:
    model, fired = bridge(), []
    name = "blocks.1.attn.hook_z"
    dictionary = sae(name, reshape_activations="hook_z")
    with torch.no_grad():
        before = model.run_with_saes(IDS, saes=[dictionary])
        with fixes.applied(SLUG):
            model = bridge()
            assert torch.equal(model.run_with_saes(IDS, saes=[dictionary]), before)
            model.add_hook("blocks.1.attn.o.hook_in", counting(fired))
            model(IDS)
            assert torch.equal(model.run_with_saes(IDS, saes=[dictionary]), before)
    assert torch.equal(*fired) and fired[0].shape == (*IDS.shape, 3, 8)
