"""Hooks under a model's names act in that model, while the dictionary is attached."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.fixes.saelens.attached import (
    IDS,
    both_classes,
    counting,
    filled,
    model_of,
    sae,
    transcoder,
)
from tests.tiny import WIDTH

from tl_ext import fixes
from tl_ext.fixes.saelens.hooks_on_sae_outlive_it import SLUG

pytestmark = pytest.mark.saelens

NAME = {"bridge": "blocks.1.hook_out", "hooked": "blocks.1.hook_resid_post"}
LATENTS = "hook_sae_acts_post"
RESET = "user-hooks-lost-on-attach"
"""Without it a bridge cannot reset hooks while a dictionary is attached."""


def more(latents: Any, hook: Any) -> Any:
    return latents + 5


@both_classes
@pytest.mark.parametrize("permanent", [False, True])
def test_they_act_while_it_is_attached_and_not_elsewhere(kind: str, permanent: bool) -> None:
    model, other, dictionary = model_of(kind), model_of(kind), sae(NAME[kind])
    name = f"{NAME[kind]}.{LATENTS}"
    with torch.no_grad(), fixes.applied(SLUG, RESET):
        x = model.run_with_cache(IDS)[1][NAME[kind]]
        base = other.run_with_saes(IDS, saes=[dictionary])
        steered = dictionary.decode(dictionary.encode(x) + 5)
        with model.saes([dictionary]), other.saes([dictionary]):
            model.add_hook(name, more, is_permanent=permanent)
            _, cache = model.run_with_cache(IDS)
            torch.testing.assert_close(cache[f"{NAME[kind]}.hook_sae_output"], steered)
            assert torch.equal(other(IDS), base)
            model.reset_hooks()
            left = model.run_with_cache(IDS)[1][name]
            torch.testing.assert_close(left, dictionary.encode(x) + 5 * permanent)
        assert torch.equal(other.run_with_saes(IDS, saes=[dictionary]), base)
        assert torch.equal(model.run_with_saes(IDS, saes=[dictionary]), base)
    assert not any(point.has_hooks() for point in dictionary.hook_points())


@both_classes
def test_hooks_on_the_dictionary_itself_act_wherever_it_is(kind: str) -> None:
    model, name, fired = model_of(kind), NAME[kind], []
    dictionary = sae(name)
    dictionary.hook_sae_acts_post.add_hook(more)
    dictionary.hook_sae_acts_post.add_hook(counting(fired))
    with torch.no_grad(), fixes.applied(SLUG, RESET):
        x = model.run_with_cache(IDS)[1][name]
        expected = dictionary(x)
        with model.saes([dictionary]):
            model.reset_hooks()
            _, cache = model.run_with_cache(IDS)
        torch.testing.assert_close(cache[f"{name}.hook_sae_output"], expected)
        torch.testing.assert_close(cache[f"{name}.{LATENTS}"], fired[0])
    assert len(fired) == 2


@both_classes
def test_the_error_term_is_without_them(kind: str) -> None:
    model, name = model_of(kind), NAME[kind]
    dictionary = sae(name)
    with torch.no_grad(), fixes.applied(SLUG), model.saes([dictionary], use_error_term=True):
        x = model.run_with_cache(IDS)[1][f"{name}.hook_sae_input"]
        model.add_hook(f"{name}.{LATENTS}", more)
        _, cache = model.run_with_cache(IDS)
        change = dictionary.decode(dictionary.encode(x) + 5) - dictionary(x)
    torch.testing.assert_close(cache[f"{name}.hook_sae_output"], x + change)
    torch.testing.assert_close(cache[f"{name}.hook_sae_error"], x - dictionary(x))


@both_classes
def test_an_attached_dictionary_keeps_the_names_of_its_own_hook_points(kind: str) -> None:
    dictionary = sae(NAME[kind])
    x = torch.ones(1, 24)
    names = dictionary.run_with_cache(x)[1].keys()
    with fixes.applied(SLUG):
        model_of(kind).run_with_cache_with_saes(IDS, saes=[dictionary])
    assert dictionary.run_with_cache(x)[1].keys() == names


@both_classes
def test_cache_gradients_and_transcoders_are_as_before(kind: str) -> None:
    def found() -> list[Any]:
        model = model_of(kind)
        writes = "blocks.1.mlp.hook_out" if kind == "bridge" else "blocks.1.hook_mlp_out"
        saes = [sae(NAME[kind]), transcoder("blocks.1.ln2.hook_normalized", writes)]
        seen: list[Any] = []
        logits, cache = model.run_with_cache_with_saes(IDS, saes=saes, use_error_term=True)
        with model.saes(saes):
            hooks = [(f"{NAME[kind]}.{LATENTS}", lambda g, hook: seen.append(g[0]))]
            with model.hooks(bwd_hooks=hooks):
                model(IDS).logsumexp(-1).sum().backward()
        weights = [parameter.grad for one in saes for parameter in one.parameters()]
        return [logits, *(cache[name] for name in sorted(cache)), *seen, *weights]

    before = found()
    with fixes.applied(SLUG):
        after = found()
    assert len(before) == len(after) > 20
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


@both_classes
def test_hooks_see_sparse_latents_dense_as_before(kind: str) -> None:
    from sae_lens import TopKTrainingSAE, TopKTrainingSAEConfig
    from sae_lens.saes.sae import SAEMetadata

    config = TopKTrainingSAEConfig(
        d_in=WIDTH,
        d_sae=2 * WIDTH,
        k=3,
        use_sparse_activations=True,
        metadata=SAEMetadata(hook_name=NAME[kind]),
    )
    dictionary, name = filled(TopKTrainingSAE(config), 3), f"{NAME[kind]}.{LATENTS}"

    def found() -> list[Any]:
        model, fired = model_of(kind), []
        with torch.no_grad(), model.saes([dictionary]):
            logits, cache = model.run_with_cache(IDS)
            model.add_hook(name, counting(fired))
            model.add_hook(name, more)
            return [logits, cache[name], model(IDS), *fired]

    before = found()
    dictionary.reset_hooks()
    with fixes.applied(SLUG):
        after = found()
    assert not any(tensor.is_sparse for tensor in (*before, *after))
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
