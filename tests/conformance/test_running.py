"""Checks asked of real families: what is wrong upstream is found, and shown again by a script."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.conformance.specs import GPT2, GPTJ, LLAMA, UNFIXED

from tl_ext import fixes
from tl_ext.conformance.checking import Check, Findings
from tl_ext.conformance.checks import MODEL_CHECKS
from tl_ext.conformance.examples import examples, first
from tl_ext.conformance.report import Verdict
from tl_ext.conformance.running import run_spec
from tl_ext.conformance.spec import ConformanceSpec
from tl_ext.conformance.subject import Subject
from tl_ext.errors import InputError
from tl_ext.fixes.children import HEAVY, Children

# What upstream does wrong in every architecture, or in those whose attention it leaves to transformers.
KNOWN = {
    "mistyped-names-are-refused": "mistyped-hook-names-ignored",
    "the-residual-stream-in-the-middle-is-one-stream": "resid-mid-edit-reaches-mlp-alone",
    "the-pattern-is-the-softmax-of-the-scores": "delegated-attention-pattern-edits-dropped",
    "queries-and-keys-meet-in-the-scores": "delegated-attention-pattern-edits-dropped",
    "z-is-the-pattern-times-the-values": "delegated-attention-pattern-edits-dropped",
    "edits-of-scores-and-pattern-reach-z": "delegated-attention-pattern-edits-dropped",
    "an-edit-of-the-pattern-gives-the-z-of-that-pattern": "delegated-attention-pattern-edits-dropped",
    "texts-together-give-what-each-gives-alone": "prepend-bos-ignored-in-padding-mask",
    "texts-generate-together-what-each-generates-alone": "prepend-bos-ignored-in-padding-mask",
    "what-was-set-on-the-tokenizer-is-kept": "callers-tokenizer-reloaded-at-boot",
}
pytestmark = pytest.mark.usefixtures("upstream_as_installed")


@pytest.fixture(scope="module")
def children() -> Iterator[Children]:
    """Processes for scripts: importing what they do takes longer than what they show."""
    with Children((*HEAVY, "transformer_lens.model_bridge")) as made:
        yield made


@pytest.mark.parametrize("spec", [GPT2, LLAMA, GPTJ], ids=lambda spec: spec.name)
def test_what_is_found_is_what_is_known_and_gone_under_the_fixes(spec: ConformanceSpec) -> None:
    for result in run_spec(spec, MODEL_CHECKS, minimise=False).failed:
        if result.check in UNFIXED:
            continue
        slug = KNOWN[result.check]
        assert fixes.probe(slug).state is fixes.State.PRESENT
    with fixes.applied(*set(KNOWN.values())):
        report = run_spec(spec, MODEL_CHECKS, minimise=False)
    assert {one.check for one in report.failed} == UNFIXED, str(report)
    assert {one.verdict for one in report if one.check not in UNFIXED} <= {
        Verdict.PASSED,
        Verdict.NOT_CLAIMED,
    }


@pytest.mark.parametrize(
    ("spec", "check"),
    [
        (GPT2, "the-residual-stream-in-the-middle-is-one-stream"),
        (GPTJ, "the-pattern-is-the-softmax-of-the-scores"),
        (GPTJ, "an-edit-of-the-pattern-gives-the-z-of-that-pattern"),
        (GPT2, "texts-together-give-what-each-gives-alone"),
        (GPT2, "what-was-set-on-the-tokenizer-is-kept"),
        (LLAMA, "the-loss-of-texts-leaves-padding-out"),
        (GPTJ, "texts-generate-together-what-each-generates-alone"),
    ],
    ids=lambda one: getattr(one, "name", one),
)
def test_the_script_shows_it_in_thirty_lines_without_this_package(
    spec: ConformanceSpec, check: str, children: Children, tmp_path: Path
) -> None:
    checks = [one for one in MODEL_CHECKS if one.name == check]
    (result,) = run_spec(spec, checks)
    assert result.verdict is Verdict.FAILED
    assert len(result.script.splitlines()) <= 30 and "tl_ext" not in result.script
    (tmp_path / "shown.py").write_text(result.script)
    done = children.call("runpy:run_path", str(tmp_path / "shown.py"))
    assert done.error == "SystemExit: True", done.output
    # Upstream may warn before.
    assert any(line.startswith("error ") for line in done.output.splitlines())


def _says_something(subject: Subject, found: Findings) -> None:
    """Tests say something of large models."""
    found.holds("size", subject.ids.shape[0] < 2 and subject.bridge.cfg.n_layers < 2, "is large")


def test_a_failure_of_a_larger_example_is_made_smaller() -> None:
    check = Check("says-something", "M1", frozenset(), _says_something)
    (whole,) = run_spec(LLAMA, [check], examples_asked=8, minimise=False)
    (smaller,) = run_spec(LLAMA, [check], examples_asked=8)
    assert whole.verdict is smaller.verdict is Verdict.FAILED
    assert len(smaller.example) <= len(whole.example)


def test_examples_are_the_same_at_each_call_and_begin_with_the_smallest() -> None:
    one, other = (first(examples(LLAMA), 4) for _ in range(2))
    assert [str(each) for each in one] == [str(each) for each in other]
    assert one[0].config.num_hidden_layers == 1 and len(one[0].ids) == 1
    assert len({str(each) for each in one}) > 1


def test_known_failures_are_told_apart_and_one_that_fails_nowhere_is_an_error() -> None:
    checks = [one for one in MODEL_CHECKS if one.name in (*KNOWN, "logits-are-the-plain-models")]
    known = {"mistyped-names-are-refused": "known", "logits-are-the-plain-models": "known"}
    report = run_spec(replace(GPT2, known_failures=known), checks, examples_asked=1)
    assert report["mistyped-names-are-refused"].verdict is Verdict.KNOWN
    assert report["logits-are-the-plain-models"].verdict is Verdict.NOT_KNOWN
    assert report["logits-are-the-plain-models"] in report.failed
    assert "FAILS NOWHERE" in str(report)


def test_what_is_not_claimed_is_said() -> None:
    report = run_spec(replace(GPT2, capabilities=frozenset()), MODEL_CHECKS, examples_asked=1)
    result = report["edits-leave-earlier-tokens-alone"]
    assert result.verdict is Verdict.NOT_CLAIMED and result.reason == "it needs causal"
    assert "not claimed: " in str(report)


def test_a_check_that_raises_has_failed_and_one_that_compares_nothing_has_not_passed() -> None:
    def breaks(subject: Subject, found: Findings) -> None:
        """It breaks."""
        raise ValueError("something")

    def nothing(subject: Subject, found: Findings) -> None:
        """It asks nothing."""

    checks = [Check(ask.__name__, "M1", frozenset(), ask) for ask in (breaks, nothing)]
    broken, empty = run_spec(GPT2, checks, examples_asked=1, minimise=False)
    assert broken.verdict is Verdict.FAILED and "ValueError: something" in broken.violations[0].told
    assert empty.verdict is Verdict.NOTHING


def test_a_model_that_cannot_be_booted_fails_in_every_check() -> None:
    def refuses(config: object) -> object:
        raise RuntimeError("no such model")

    spec = replace(GPT2, build=refuses)  # type: ignore[arg-type]
    report = run_spec(spec, MODEL_CHECKS[:2], examples_asked=1)
    assert [one.violations[0].told for one in report] == ["raises RuntimeError: no such model"] * 2


def test_the_subject_is_as_it_was_after_all_checks() -> None:
    from tl_ext.conformance.examples import subject_of

    subject = subject_of(LLAMA, first(examples(LLAMA), 1)[0])
    weights = {name: value.clone() for name, value in subject.bridge.state_dict().items()}
    logits = subject.run()
    for check in MODEL_CHECKS:
        check.ask(subject, Findings(subject.tolerance))
    assert torch.equal(subject.run(), logits) and torch.equal(
        subject.truth, subject.plain(subject.ids)
    )
    assert all(
        torch.equal(value, weights[name]) for name, value in subject.bridge.state_dict().items()
    )
    hooks = [point for point in subject.bridge.hook_dict.values() if point.fwd_hooks]
    assert hooks == []


def test_a_mistyped_capability_or_known_failure_is_refused() -> None:
    with pytest.raises(InputError, match=r"no capability 'casual'\. Nearest: causal"):
        replace(GPT2, capabilities=frozenset({"casual"}))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="names no check: 'mistyped'"):
        replace(GPT2, known_failures={"mistyped": "x"})
