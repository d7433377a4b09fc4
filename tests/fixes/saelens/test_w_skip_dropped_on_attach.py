"""An attached skip transcoder gives what it gives when it is called."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.fixes.saelens.attached import IDS, both_classes, model_of, transcoder

from tl_ext import fixes
from tl_ext.fixes.saelens.w_skip_dropped_on_attach import SLUG

pytestmark = pytest.mark.saelens

SKIPPING = pytest.mark.parametrize("dictionary", ["SkipTranscoder", "JumpReLUSkipTranscoder"])
HOOK_IN, HOOK_OUT = "blocks.1.ln2.hook_normalized", "blocks.1.mlp.hook_out"


def attachable(kind: str, dictionary: str) -> Any:
    out = "blocks.1.hook_mlp_out" if kind == "hooked" else HOOK_OUT
    return transcoder(HOOK_IN, out, kind=dictionary)


@both_classes
@SKIPPING
def test_what_stands_in_the_model_is_what_the_transcoder_gives(kind: str, dictionary: str) -> None:
    model, attached = model_of(kind), attachable(kind, dictionary)
    out = attached.cfg.metadata.hook_name_out
    with torch.no_grad(), fixes.applied(SLUG):
        expected = attached(model.run_with_cache(IDS)[1][HOOK_IN])
        logits = model.run_with_hooks(IDS, fwd_hooks=[(out, lambda x, hook: expected)])
        found, cache = model.run_with_cache_with_saes(IDS, saes=[attached])
    torch.testing.assert_close(cache[f"{out}.hook_sae_output"], expected)
    torch.testing.assert_close(found, logits)
    decoded = expected - model.run_with_cache(IDS)[1][HOOK_IN] @ attached.W_skip.T
    torch.testing.assert_close(cache[f"{out}.hook_sae_recons"], decoded.detach())


@both_classes
@SKIPPING
def test_the_error_term_is_what_the_skip_connection_leaves(kind: str, dictionary: str) -> None:
    model, attached = model_of(kind), attachable(kind, dictionary)
    out = attached.cfg.metadata.hook_name_out
    with torch.no_grad(), fixes.applied(SLUG):
        base, before = model.run_with_cache(IDS)
        logits, cache = model.run_with_cache_with_saes(IDS, saes=[attached], use_error_term=True)
    torch.testing.assert_close(logits, base)
    error = before[out] - attached(before[HOOK_IN])
    torch.testing.assert_close(cache[f"{out}.hook_sae_error"], error.detach())


def test_gradients_reach_the_skip_connection_and_hooks_still_act() -> None:
    from sae_lens.analysis.hooked_sae_transformer import _SAEWrapper

    attached = transcoder("a", "b", kind="SkipTranscoder", width=6)
    random = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 6, generator=random, requires_grad=True)
    weight = torch.randn(2, 3, 6, generator=random)
    wanted = torch.autograd.grad((attached(x) * weight).sum(), [x, *attached.parameters()])
    with fixes.applied(SLUG):
        wrapper = _SAEWrapper(attached, use_error_term=True)
        wrapper.capture_input(x)
        found = wrapper(torch.zeros(2, 3, 6))
        gradients = torch.autograd.grad((found * weight).sum(), [x, *attached.parameters()])
        for one, other in zip(gradients, wanted, strict=True):
            torch.testing.assert_close(one, other)
        attached.hook_sae_acts_post.add_hook(lambda latents, hook: latents * 0)
        wrapper = _SAEWrapper(attached)
        wrapper.capture_input(x)
        torch.testing.assert_close(wrapper(weight), x @ attached.W_skip.T + attached.b_dec)
    assert wrapper.sae is attached


def test_an_error_inside_leaves_the_dictionary_in_place() -> None:
    from sae_lens.analysis.hooked_sae_transformer import _SAEWrapper

    wrapper = _SAEWrapper(transcoder("a", "b", kind="SkipTranscoder", width=6))
    attached = wrapper.sae
    with fixes.applied(SLUG), pytest.raises(RuntimeError):
        wrapper(torch.zeros(2, 5))
    assert wrapper.sae is attached


def test_a_transcoder_without_skip_connection_is_left_alone() -> None:
    from sae_lens.analysis.hooked_sae_transformer import _SAEWrapper

    wrapper = _SAEWrapper(transcoder("a", "b", width=6), use_error_term=True)
    x, y = torch.linspace(-1, 1, 12).reshape(2, 6), torch.linspace(2, 3, 12).reshape(2, 6)
    results = []
    for slugs in ((), (SLUG,)):
        with fixes.applied(*slugs):
            wrapper.capture_input(x)
            results.append(wrapper(y))
    assert torch.equal(*results)
