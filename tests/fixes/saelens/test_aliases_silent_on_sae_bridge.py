"""SAETransformerBridge knows the names that TransformerBridge knows."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.fixes.saelens.attached import IDS, bridge, sae
from tests.tiny import FAMILIES, make_tiny_model, tiny_hf_model

from tl_ext import fixes
from tl_ext.fixes.saelens.aliases_silent_on_sae_bridge import SLUG

pytestmark = pytest.mark.saelens


@pytest.mark.parametrize("family", FAMILIES)
def test_names_and_cache_are_those_of_a_bridge(family: str) -> None:
    with fixes.applied(SLUG):
        own, theirs = bridge(family), make_tiny_model(family)
        assert own.hook_dict.keys() == theirs.hook_dict.keys()
        names = {name: point.name for name, point in theirs.hook_dict.items()}
        assert {name: point.name for name, point in own.hook_dict.items()} == names
        with torch.no_grad():
            found, expected = own.run_with_cache(IDS)[1], theirs.run_with_cache(IDS)[1]
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize(
    "name", ["blocks.1.hook_resid_pre", "blocks.1.attn.hook_z", "blocks.1.hook_in"]
)
@pytest.mark.parametrize("compatible", [False, True])
def test_an_edit_does_what_it_does_to_a_bridge(name: str, compatible: bool) -> None:
    def double(x: Any, hook: Any) -> Any:
        return 2 * x

    def logits(model: Any) -> Any:
        if compatible:
            model.enable_compatibility_mode(disable_warnings=True, no_processing=True)
        with torch.no_grad():
            return model.run_with_hooks(IDS, fwd_hooks=[(name, double)])

    expected = logits(make_tiny_model("gpt2"))
    with fixes.applied(SLUG):
        assert torch.equal(logits(bridge()), expected)


@pytest.mark.parametrize("name", ["blocks.1.hook_resid_pre", "blocks.1.hook_mlp_out"])
@pytest.mark.parametrize("compatible", [False, True])
def test_an_attached_dictionary_is_found_under_both_names(name: str, compatible: bool) -> None:
    model, dictionary = bridge(compatible=compatible), sae(name)
    own = model._resolve_hook_name(name)
    with fixes.applied(SLUG), torch.no_grad():
        _, cache = model.run_with_cache_with_saes(IDS, saes=[dictionary])
        for last in ("hook_sae_input", "hook_sae_acts_post", "hook_sae_output"):
            assert torch.equal(cache[f"{name}.{last}"], cache[f"{own}.{last}"])
        with model.saes([dictionary]):
            assert name not in model.hook_dict and own not in model.hook_dict
            through = model.run_with_hooks(
                IDS, fwd_hooks=[(f"{name}.hook_sae_acts_post", lambda x, hook: x * 0)]
            )
            expected = model.run_with_hooks(
                IDS, fwd_hooks=[(f"{own}.hook_sae_acts_post", lambda x, hook: x * 0)]
            )
            assert not torch.equal(through, model(IDS))
        assert torch.equal(through, expected)
        assert name in model.hook_dict


@pytest.mark.parametrize("name", ["blocks.1.hook_resid_pre", "blocks.1.attn.hook_z"])
def test_run_evals_judges_by_what_torch_makes_of_it(name: str) -> None:
    from sae_lens.evals import get_recons_loss
    from sae_lens.training.activation_scaler import ActivationScaler

    model, dictionary = bridge(), sae(name)
    options = {"compute_kl": True, "compute_ce_loss": True}
    with torch.no_grad():
        with fixes.applied(SLUG):
            found = get_recons_loss(dictionary, model, ActivationScaler(), IDS, **options)
        truth = tiny_hf_model("gpt2")
        block = truth.transformer.h[1]
        place = block.attn.c_proj if name.endswith("hook_z") else block
        for edit, which in ((dictionary, "with_sae"), (torch.zeros_like, "with_ablation")):
            with with_first_argument(place, edit):
                logits = truth(IDS).logits
            losses = torch.nn.functional.cross_entropy(
                logits[:, :-1].transpose(1, 2), IDS[:, 1:], reduction="none"
            )
            torch.testing.assert_close(found[f"ce_loss_{which}"], losses)
            assert found[f"kl_div_{which}"].max() > 0.01


def with_first_argument(module: Any, edit: Any) -> Any:
    """A context in which a torch module reads what `edit` makes of its input."""
    return module.register_forward_pre_hook(lambda _, inputs: (edit(inputs[0]), *inputs[1:]))
