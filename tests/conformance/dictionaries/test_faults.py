"""Each check of dictionaries catches a fault that is planted for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from tests.conformance.dictionaries.subjects import IDS, model, sae_of
from tests.conformance.dictionaries.test_checks import RECOMMENDED
from tests.tiny import tiny_tokenizer

from tl_ext import fixes
from tl_ext.conformance.checking import Findings
from tl_ext.conformance.dictionaries.checks import DICTIONARY_CHECKS, evaluating
from tl_ext.conformance.dictionaries.subject import DictionarySubject, of_dictionary

pytestmark = [
    pytest.mark.saelens,
    pytest.mark.usefixtures("upstream_as_installed"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

Fault = Callable[[DictionarySubject, pytest.MonkeyPatch], None]
FAULTS: dict[str, tuple[str, Fault]] = {}


def fault(check: str, kind: str = "standard") -> Callable[[Fault], Fault]:
    def kept(plant: Fault) -> Fault:
        FAULTS[check] = kind, plant
        return plant

    return kept


def decoding(subject: DictionarySubject, decode: Callable[[Any, Any], Any]) -> None:
    """Give the dictionary another `decode`, of what there was and latents."""
    was = subject.sae.decode
    vars(subject.sae)["decode"] = lambda latents: decode(was, latents)


def leaving(subject: DictionarySubject, leave: Callable[[], object]) -> None:
    """Do something to the model when a dictionary is taken back."""
    was = subject.bridge.saes

    @contextmanager
    def saes(*args: Any, **options: Any) -> Iterator[Any]:
        with was(*args, **options) as inside:
            yield inside
        leave()

    vars(subject.bridge)["saes"] = saes


@fault("saved-and-loaded-it-is-the-same")
def bias_is_not_saved(subject: DictionarySubject, patch: pytest.MonkeyPatch) -> None:
    vars(subject.sae)["process_state_dict_for_saving"] = lambda state: state.update(
        b_dec=torch.zeros_like(state["b_dec"])
    )


@fault("reconstructions-are-sums-of-contributions")
def decode_is_no_sum(subject: DictionarySubject, patch: pytest.MonkeyPatch) -> None:
    decoding(subject, lambda decode, latents: decode(latents * latents))


@fault("latents-are-decoded-with-their-own-scale", "standard-layer-norm")
def scale_is_the_last_ones(subject: DictionarySubject, patch: pytest.MonkeyPatch) -> None:
    scales, was = [1.0], subject.sae.encode

    def encode(x: Any) -> Any:
        scales[0] = float(x.norm())
        return was(x)

    vars(subject.sae)["encode"] = encode
    decoding(subject, lambda decode, latents: decode(latents) * scales[0])


@fault("folded-norms-are-the-unit-of-latents")
def folded_in_the_decoder_alone(subject: DictionarySubject, patch: pytest.MonkeyPatch) -> None:
    def fold(self: Any) -> None:
        self.W_dec.data.div_(self.W_dec.norm(dim=-1, keepdim=True))

    patch.setattr(type(subject.sae), "fold_W_dec_norm", fold)


@fault("our-readers-compute-the-same")
def read_with_other_weights(subject: DictionarySubject, patch: pytest.MonkeyPatch) -> None:
    # Our reader shares the dictionary's weights, the reference does not.
    subject.sae.b_dec.data += 0.1


@fault("splices-are-those-made-by-hand")
def splice_is_longer(subject: DictionarySubject, patch: pytest.MonkeyPatch) -> None:
    decoding(subject, lambda decode, latents: 1.1 * decode(latents))


@fault("error-terms-make-splices-whole")
def error_term_is_of_other_latents(subject: DictionarySubject, patch: pytest.MonkeyPatch) -> None:
    times: list[int] = []

    def decode(was: Any, latents: Any) -> Any:
        times.append(1)
        return was(latents * len(times))

    decoding(subject, decode)


@fault("edits-of-latents-move-what-they-contribute")
def only_positive_latents_are_decoded(
    subject: DictionarySubject, patch: pytest.MonkeyPatch
) -> None:
    decoding(subject, lambda decode, latents: decode(latents.relu()))


@fault("what-is-taken-back-leaves-the-model-as-it-was")
def a_hook_is_left(subject: DictionarySubject, patch: pytest.MonkeyPatch) -> None:
    leaving(subject, lambda: subject.bridge.add_hook("blocks.0.hook_in", lambda x, hook: None))


@fault("what-is-taken-back-leaves-the-dictionary-as-it-was")
def a_hook_is_left_on_latents(subject: DictionarySubject, patch: pytest.MonkeyPatch) -> None:
    point = subject.sae.hook_sae_acts_post
    leaving(subject, lambda: point.add_hook(lambda x, hook: 2 * x))


@fault("hooks-of-others-see-what-it-reads")
def hooks_of_others_are_reset(subject: DictionarySubject, patch: pytest.MonkeyPatch) -> None:
    leaving(subject, subject.bridge.reset_hooks)


@fault("hook-points-have-all-their-names")
def aliases_are_left_out(subject: DictionarySubject, patch: pytest.MonkeyPatch) -> None:
    was = type(subject.bridge).hook_dict

    def own(bridge: Any) -> Any:
        return {k: v for k, v in was.fget(bridge).items() if "hook_resid_pre" not in k}

    patch.setattr(type(subject.bridge), "hook_dict", property(own))


@fault("dictionaries-at-one-place-replace-and-give-back")
def all_are_taken_back_at_once(subject: DictionarySubject, patch: pytest.MonkeyPatch) -> None:
    def all_of_them() -> None:
        if subject.bridge.acts_to_saes:
            subject.bridge.reset_saes()

    leaving(subject, all_of_them)


FAULTS["dictionaries-that-read-one-place-are-both-there"] = (
    "standard",
    all_are_taken_back_at_once,
)


@fault("evaluations-give-the-activation-one-and-zeros-nothing")
def evaluated_elsewhere(subject: DictionarySubject, patch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    was: Any = evaluating.evaluate_dictionary

    def elsewhere(bridge: Any, dictionary: Any, given: Any) -> Any:
        other = "blocks.2.hook_in"
        return was(bridge, replace(dictionary, hook_in=other, hook_out=other), given)

    patch.setattr(evaluating, "evaluate_dictionary", elsewhere)


FAULTS["evaluations-splice-the-dictionary-itself"] = ("standard", evaluated_elsewhere)


@fault("in-any-order-nothing-is-left")
def hooks_are_not_reset(subject: DictionarySubject, patch: pytest.MonkeyPatch) -> None:
    vars(subject.bridge)["reset_hooks"] = lambda: None


def test_every_check_has_a_fault() -> None:
    assert FAULTS.keys() == {check.name for check in DICTIONARY_CHECKS}


@pytest.mark.parametrize("name", FAULTS)
def test_the_fault_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (check,) = (one for one in DICTIONARY_CHECKS if one.name == name)
    kind, plant = FAULTS[name]
    with fixes.applied(*RECOMMENDED):
        bridge = model(tokenizer=tiny_tokenizer())
        subject = of_dictionary(sae_of(kind), bridge, IDS)
        assert check.needs <= subject.capabilities
        plant(subject, monkeypatch)
        found = Findings(subject.tolerance)
        check.ask(subject, found)
        monkeypatch.undo()
    assert found.violations
