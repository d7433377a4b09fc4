"""The public call: without SAELens too, what is refused, and what a report says."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from tests.dictionaries.saved import NORMALISATIONS, dictionary_of
from tests.tiny import WIDTH, make_tiny_model, tiny_model

from tl_ext.conformance.dictionaries.api import check_dictionary
from tl_ext.conformance.report import Verdict
from tl_ext.dictionaries.sparse import SparseDictionary
from tl_ext.errors import HookPointError, InputError

IDS = [[5, 6, 9, 30], [7, 41, 8, 11]]

OURS = {
    "reconstructions-are-sums-of-contributions",
    "splices-are-those-made-by-hand",
    "error-terms-make-splices-whole",
    "what-is-taken-back-leaves-the-model-as-it-was",
    "evaluations-give-the-activation-one-and-zeros-nothing",
    "evaluations-splice-the-dictionary-itself",
}


def of_width(architecture: str = "standard", **changes: object) -> SparseDictionary:
    wide = {"d_out": WIDTH} if "transcoder" in architecture else {}
    return dictionary_of(architecture, d_in=WIDTH, **wide, **changes)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
@pytest.mark.parametrize(
    ("architecture", "normalisation"),
    [*(("standard", one) for one in NORMALISATIONS), ("topk", "none"), ("skip_transcoder", "none")],
)
def test_without_saelens_what_is_ours_is_asked(
    family: str, architecture: str, normalisation: str
) -> None:
    dictionary = of_width(architecture, normalize_activations=normalisation)
    report = check_dictionary(dictionary, tiny_model(family), IDS)
    assert report.right, str(report)
    assert {one.check for one in report if one.verdict is Verdict.PASSED} == OURS
    assert {one.verdict for one in report} == {Verdict.PASSED, Verdict.NOT_CLAIMED}
    assert report["saved-and-loaded-it-is-the-same"].reason == "it needs saelens"


def test_a_wrong_reader_is_found_without_saelens(monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(self: SparseDictionary, latents: torch.Tensor, statistics: object = None) -> object:
        return latents @ self.directions

    monkeypatch.setattr(SparseDictionary, "decode", decode)
    report = check_dictionary(of_width(), tiny_model(), IDS)
    assert "decode of this package's reader is off by" in str(report)


def test_what_cannot_be_checked_is_refused() -> None:
    dictionary = of_width()
    with pytest.raises(HookPointError, match=r"no hook point 'blocks.1.hook_resid_pree'"):
        elsewhere = dataclasses.replace(dictionary, hook_in="blocks.1.hook_resid_pree")
        check_dictionary(elsewhere, tiny_model(), IDS)
    with pytest.raises(InputError, match="A TransformerBridge is expected, not Linear"):
        check_dictionary(dictionary, torch.nn.Linear(1, 1), IDS)
    with pytest.raises(InputError, match="names no check: 'splices'"):
        check_dictionary(dictionary, tiny_model(), IDS, known_failures={"splices": "known"})


def test_a_known_failure_that_fails_nowhere_is_an_error() -> None:
    known = {"splices-are-those-made-by-hand": "a link"}
    report = check_dictionary(of_width(), make_tiny_model(), IDS, known_failures=known)
    assert [one.check for one in report.failed] == list(known)


@pytest.mark.saelens
@pytest.mark.usefixtures("upstream_as_installed")
def test_a_model_with_something_attached_is_refused() -> None:
    from tests.conformance.dictionaries.subjects import model, sae_of

    bridge, sae = model(), sae_of("standard")
    bridge.add_sae(sae)
    with pytest.raises(InputError, match=r"dictionaries attached at blocks\.1\.hook_resid_pre"):
        check_dictionary(sae, bridge, IDS)
