"""Proofs as a program asks for them; what the command makes of them is tested with the command."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tl_ext import fixes
from tl_ext.errors import FixError, PluginError
from tl_ext.fixes import Proof, State
from tl_ext.plugins import builtin

SLUG = "registered-adapters-ignored-by-boot"
PRESENT, ABSENT, UNKNOWN = State.PRESENT, State.ABSENT, State.UNKNOWN


def test_a_proof_is_three_states_and_leaves_nothing_in_effect() -> None:
    proof = fixes.prove(SLUG)
    assert proof == Proof(PRESENT, ABSENT, PRESENT) and proof.right
    assert not fixes.in_effect(SLUG)


@pytest.mark.parametrize(
    "states", [(PRESENT, PRESENT, PRESENT), (PRESENT, ABSENT, ABSENT), (PRESENT, UNKNOWN, PRESENT)]
)
def test_other_states_are_wrong(states: tuple[State, State, State]) -> None:
    assert not Proof(*states).right and str(Proof(*states)).endswith("WRONG")


def test_a_probe_without_an_answer_proves_nothing_and_a_reason_excuses_it() -> None:
    assert not Proof(UNKNOWN).right and str(Proof(UNKNOWN)) == "UNKNOWN; its probe has no answer"
    assert Proof(UNKNOWN, unasked="it is not installed").right


def test_a_bug_of_source_files_is_proved_by_its_patch() -> None:
    (slug, *_) = (slug for slug, spec in fixes.specs().items() if spec.kind == "source-only")
    proof = fixes.prove(slug)
    assert proof.right and "patches verify" in str(proof)
    with pytest.raises(FixError, match="source-only wraps nothing"):
        fixes.reach(slug)


def test_reach_tells_the_names_and_leaves_nothing_in_effect() -> None:
    status = fixes.reach(SLUG)
    assert status.applied == 1
    assert [name for name in status.targets if name.startswith("transformer_lens.factories")]
    assert not fixes.in_effect(SLUG)


def test_what_cannot_be_imported_reaches_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = replace(builtin.FIXES[0], upstream="no_such_package_at_all")
    monkeypatch.setattr(builtin, "FIXES", (nowhere,))
    with pytest.raises(FixError, match="no_such_package_at_all cannot be imported here"):
        fixes.reach(nowhere.slug)
    assert fixes.prove(nowhere.slug).unasked == "no_such_package_at_all is not installed"
    with pytest.raises(PluginError, match="Nearest"):
        fixes.prove(f"{nowhere.slug}s")
