"""The ways in, as a notebook and a test file take them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.conformance.specs import GPT2, UNFIXED
from tests.fixes.tiny_models import booted, made

from tl_ext import fixes
from tl_ext.conformance import MODEL_CHECKS, Verdict, check_model, parametrize_with_checks
from tl_ext.conformance.api import capabilities_of, plain_of
from tl_ext.errors import InputError

FIXES = (
    "mistyped-hook-names-ignored",
    "resid-mid-edit-reaches-mlp-alone",
    "delegated-attention-pattern-edits-dropped",
    "prepend-bos-ignored-in-padding-mask",
    "callers-tokenizer-reloaded-at-boot",
)
pytestmark = pytest.mark.usefixtures("upstream_as_installed")


@pytest.mark.parametrize(
    ("config", "changes"),
    [
        ("LlamaConfig", {}),
        ("Qwen2Config", {"tie_word_embeddings": True}),
        ("Olmo2Config", {}),
        ("Gemma2Config", {"final_logit_softcapping": 3.0}),
        ("GPTNeoXConfig", {"num_key_value_heads": 3}),
    ],
)
def test_a_model_in_memory_is_checked_and_left_as_it_was(
    config: str, changes: dict[str, Any]
) -> None:
    bridge = booted(made(config, **changes))
    tokens = torch.tensor([[4, 9, 30, 7], [8, 17, 60, 5]])
    before, weights = bridge(tokens), {n: v.clone() for n, v in bridge.state_dict().items()}
    with fixes.applied(*FIXES):
        report = check_model(bridge)
    assert {one.check for one in report.failed} == UNFIXED, str(report)
    assert len([one for one in report if one.verdict is Verdict.PASSED]) > len(MODEL_CHECKS) // 2
    assert torch.equal(bridge(tokens), before)
    assert all(torch.equal(value, weights[name]) for name, value in bridge.state_dict().items())


def test_the_plain_model_is_the_one_that_was_booted() -> None:
    model = made("LlamaConfig")
    tokens = torch.tensor([[4, 9, 30, 7]])
    truth = model(tokens).logits
    plain = plain_of(booted(model))
    assert type(plain) is type(model) and torch.equal(plain(tokens).logits, truth)


def test_what_its_blocks_and_its_config_say_is_claimed() -> None:
    softcap = booted(made("Gemma2Config", final_logit_softcapping=3.0))
    assert "plain-unembedding" not in capabilities_of(softcap)
    assert {"post-norm", "sequential-block"} <= capabilities_of(softcap)
    parallel = booted(made("GPTNeoXConfig", num_key_value_heads=3))
    assert "sequential-block" not in capabilities_of(parallel)
    assert "plain-unembedding" in capabilities_of(parallel)


def test_checks_are_chosen_by_name_and_processed_weights_are_refused() -> None:
    bridge = booted(made("LlamaConfig"))
    (result,) = check_model(bridge, checks=["logits-are-the-plain-models"])
    assert result.verdict is Verdict.PASSED
    with pytest.raises(InputError, match=r"no check 'logits-are-plain'\. Nearest: logits-are"):
        check_model(bridge, checks=["logits-are-plain"])
    bridge.enable_compatibility_mode(disable_warnings=True)
    with pytest.raises(InputError, match="before enable_compatibility_mode"):
        check_model(bridge)


def test_a_model_that_gives_other_logits_is_found() -> None:
    bridge = booted(made("LlamaConfig"))
    checks = ["logits-are-the-plain-models", "edits-do-what-they-do-to-modules"]
    point = bridge.blocks[0].mlp.hook_out
    point.register_forward_hook(lambda module, given, output: output * 1.5)
    for result in check_model(bridge, checks=checks):
        assert result.verdict is Verdict.FAILED and result.violations[0].size > 1e-3


class TestParametrized:
    """Every check a test of its own, as an author's file has it."""

    mark = parametrize_with_checks([GPT2], examples_asked=1)

    def test_there_is_one_for_each_check(self) -> None:
        ids = [case.id for case in self.mark.args[1]]
        assert ids == [f"GPT2LMHeadModel-{check.name}" for check in MODEL_CHECKS]

    def test_they_fail_with_the_report_and_pass_under_the_fixes(self) -> None:
        questions = {case.id: case.values[0] for case in self.mark.args[1]}
        name = "GPT2LMHeadModel-the-residual-stream-in-the-middle-is-one-stream"
        with pytest.raises(pytest.fail.Exception, match="under an edit of blocks"):
            questions[name]()
        with fixes.applied(*FIXES):
            questions[name]()
