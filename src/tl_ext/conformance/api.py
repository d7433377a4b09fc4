"""The ways in: a model in memory, an architecture by name, a test file."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import torch

from tl_ext import upstream
from tl_ext.conformance.checking import Capability, Check
from tl_ext.conformance.checks import MODEL_CHECKS
from tl_ext.conformance.families import FAMILIES
from tl_ext.conformance.report import Report, Verdict
from tl_ext.conformance.running import EXAMPLES, Asking, run_subject
from tl_ext.conformance.spec import DEFAULT, ConformanceSpec
from tl_ext.conformance.subject import Subject
from tl_ext.errors import InputError, nearest

if TYPE_CHECKING:
    import pytest
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import PreTrainedModel


def check_model(
    bridge: TransformerBridge,
    *,
    capabilities: Iterable[Capability] | None = None,
    checks: Iterable[str] | None = None,
    tokens: torch.Tensor | None = None,
) -> Report:
    """Check a hooked model that is in memory; it is left as it was.

    Each check runs the model some tens of times on a few tokens: minutes for a model of real size, unless
    `checks` names some.

    Args:
        bridge: The model, with weights as they were loaded.
        capabilities: What it is claimed to do; None means what its kind of blocks and its configuration say.
        checks: Names of the checks to ask; None means all.
        tokens: Tokens [batch, position] to ask with; None draws two rows of six.

    Returns:
        What was found.

    Raises:
        InputError: Its weights were processed, so that there is no plain model to compare with; or there is
            no such check.
    """
    claimed = capabilities_of(bridge) if capabilities is None else frozenset(capabilities)
    if tokens is None:
        words = int(bridge.cfg.d_vocab)
        tokens = torch.randint(0, words, (2, 6), generator=torch.Generator().manual_seed(0))
    training = bridge.training
    bridge.eval()
    try:
        subject = Subject(bridge, plain_of(bridge), tokens, claimed)
        return run_subject(type(bridge.original_model).__name__, subject, named(checks))
    finally:
        bridge.train(training)


def plain_of(bridge: TransformerBridge) -> PreTrainedModel:
    """The plain model of a bridge, made anew: the same class, config and weights, and no bridge in it.

    Args:
        bridge: A bridge with weights as they were loaded.

    Raises:
        InputError: The weights were processed, or are not those of the plain class.
    """
    if upstream.weights_processed(bridge):
        raise InputError(
            "The model's weights were folded or centred, so that there is no plain model with the same ones. "
            "Check it before enable_compatibility_mode() or process_weights()."
        )
    hooked: Any = bridge.original_model
    config = copy.deepcopy(hooked.config)
    plain = type(hooked)._from_config(config, attn_implementation=config._attn_implementation)
    # A bridge's component holds the module it stands for under this name.
    weights = {
        name.replace("._original_component", ""): value
        for name, value in hooked.state_dict().items()
    }
    missing = plain.load_state_dict(weights, strict=False).missing_keys
    tied = getattr(plain, "all_tied_weights_keys", {})
    missing = [name for name in missing if name not in tied]
    if missing:
        raise InputError(
            f"The bridge's model has no weights for {', '.join(missing[:3])} of {type(plain).__name__}; "
            "make the bridge anew from the checkpoint and check that."
        )
    model: PreTrainedModel = plain.to(hooked.dtype).eval()
    return model


def capabilities_of(bridge: TransformerBridge) -> frozenset[Capability]:
    """What a model can do, as far as its architecture, its blocks and its configuration tell.

    Args:
        bridge: The model.
    """
    spec = FAMILIES.get(type(bridge.original_model).__name__)
    found = set(DEFAULT if spec is None else spec.capabilities)
    block = bridge.blocks[0]
    if type(block).__name__.startswith("Parallel"):
        found -= {"sequential-block"}
        found |= {"parallel-block"}
    if hasattr(block, "ln1_post"):
        found |= {"post-norm"}
    config = getattr(bridge.original_model, "config", None)
    text = config.get_text_config() if config is not None else None
    scaled = ("final_logit_softcapping", "logit_scale", "logits_scaling")
    if any(getattr(text, name, None) not in (None, 1, 1.0) for name in scaled):
        found -= {"plain-unembedding"}
    if getattr(text, "_attn_implementation", "eager") != "eager":
        found -= {"attention-weights"}
    return frozenset(found)


def named(checks: Iterable[str] | None) -> list[Check]:
    """Checks by name, in the order they are asked in.

    Args:
        checks: Their names; None means all.

    Raises:
        InputError: There is no such check.
    """
    if checks is None:
        return list(MODEL_CHECKS)
    wanted, known = list(checks), [check.name for check in MODEL_CHECKS]
    for name in wanted:
        if name not in known:
            raise InputError(f"There is no check {name!r}.{nearest(name, known)}")
    return [check for check in MODEL_CHECKS if check.name in wanted]


def parametrize_with_checks(
    specs: Sequence[ConformanceSpec], *, examples_asked: int = EXAMPLES
) -> pytest.MarkDecorator:
    """Make a test of an author's file one test for each architecture and check.

    ```python
    @parametrize_with_checks([MY_SPEC])
    def test_conformance(check):
        check()
    ```

    Args:
        specs: The architectures.
        examples_asked: How many examples to draw of each; its models are made once.

    Returns:
        A decorator for a test with the argument `check`: called, that raises AssertionError with the report
        of what failed, skips what is not claimed and marks known failures as expected.
    """
    import pytest

    cases = []
    for spec in specs:
        asking = cache(_asking(spec, examples_asked))
        cases += [
            pytest.param(_question(asking, check), id=f"{spec.name}-{check.name}")
            for check in MODEL_CHECKS
        ]
    return pytest.mark.parametrize("check", cases)


def _asking(spec: ConformanceSpec, examples_asked: int) -> Callable[[], Asking]:
    return lambda: Asking(spec, examples_asked=examples_asked)


def _question(asking: Callable[[], Asking], check: Check) -> Callable[[], None]:
    def asked() -> None:
        import pytest

        __tracebackhide__ = True
        result = asking().result(check)
        if result.verdict in (Verdict.NOT_CLAIMED, Verdict.NOTHING):
            pytest.skip(f"{result.verdict}: {result.reason or check.told}")
        if result.verdict is Verdict.KNOWN:
            pytest.xfail(result.reason)
        if result.verdict is not Verdict.PASSED:
            pytest.fail(str(result), pytrace=False)

    return asked
