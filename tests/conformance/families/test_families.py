"""What is drawn of the architectures, what is claimed of them, and a few that are asked everything."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from tl_ext import fixes
from tl_ext.conformance.api import capabilities_of
from tl_ext.conformance.checks import MODEL_CHECKS
from tl_ext.conformance.examples import examples, first, subject_of
from tl_ext.conformance.families import FAMILIES, here, own
from tl_ext.conformance.report import Verdict
from tl_ext.conformance.running import run_spec
from tl_ext.conformance.spec import Known
from tl_ext.upstream import own_architectures

OURS = [spec.name for spec in own.SPECS]
SAMPLE = (
    "GPT2LMHeadModel",
    "Gemma2ForCausalLM",
    "FalconForCausalLM",
    "MixtralForCausalLM",
    "DeepseekV3ForCausalLM",
)


def test_there_are_many_and_each_is_one_that_transformers_builds_or_ours() -> None:
    assert len(FAMILIES) >= 44
    assert set(FAMILIES) - set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()) == set(OURS)


def test_what_the_release_has_no_adapter_for_is_told_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert set(here()) == set(FAMILIES) & {*own_architectures(), *OURS}
    monkeypatch.setattr("tl_ext.upstream.own_architectures", lambda: ("GPT2LMHeadModel",))
    assert list(here()) == ["GPT2LMHeadModel", *OURS]


@pytest.mark.parametrize("name", FAMILIES)
def test_every_draw_is_a_config_with_its_tokens_in_the_vocabulary(name: str) -> None:
    @settings(
        max_examples=5,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def drawn(data: st.DataObject) -> None:
        example = data.draw(examples(FAMILIES[name]))
        config = example.config
        assert config.get_text_config().vocab_size == 61
        for kind in ("bos_token_id", "eos_token_id", "pad_token_id"):
            assert (getattr(config, kind, None) or 0) < 61
        assert str(example).startswith(type(config).__name__)

    drawn()


def test_what_is_known_names_fixes_that_there_are() -> None:
    slugs = fixes.specs()
    for spec in FAMILIES.values():
        for known in spec.known_failures.values():
            assert not isinstance(known, Known) or not known.fix or known.fix in slugs


def test_what_a_fix_mends_is_known_until_the_fix_is_in_effect() -> None:
    spec = FAMILIES["GPT2LMHeadModel"]
    slug = "mistyped-hook-names-ignored"
    with fixes.applied(slug):
        assert "mistyped-names-are-refused" not in spec.known_here


def test_what_one_release_does_wrong_is_known_there_alone() -> None:
    assert Known("always").here
    assert not Known("in another release", releases=("2.",)).here
    assert Known("in these", releases=("3.", "4.")).here


def test_a_model_in_memory_is_claimed_what_its_family_is() -> None:
    name = "BitNetForCausalLM"
    bridge = subject_of(FAMILIES[name], first(examples(FAMILIES[name]), 1)[0]).bridge
    assert capabilities_of(bridge) == FAMILIES[name].capabilities


@pytest.mark.usefixtures("upstream_as_installed")
@pytest.mark.parametrize("name", SAMPLE)
def test_what_fails_is_what_is_known(name: str) -> None:
    report = run_spec(FAMILIES[name], MODEL_CHECKS, examples_asked=1, minimise=False)
    assert not [one for one in report if one.verdict is Verdict.FAILED], str(report)


def test_ours_do_what_they_claim_under_the_fixes() -> None:
    mended = {
        known.fix
        for name in OURS
        for known in FAMILIES[name].known_failures.values()
        if isinstance(known, Known)
    }
    with fixes.applied(*mended):
        for name in OURS:
            report = run_spec(FAMILIES[name], MODEL_CHECKS, examples_asked=1, minimise=False)
            assert report.right, str(report)
