"""What fails in many families, and why; what is one family's own stands with it."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from tl_ext.conformance.spec import Known

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tl_ext.conformance.checking import Capability


def _mended(fix: str, *checks: str) -> Mapping[str, Known]:
    return MappingProxyType({check: Known(f"see the fix {fix}", fix) for check in checks})


DELEGATED = _mended(
    "delegated-attention-pattern-edits-dropped",
    "the-pattern-is-the-softmax-of-the-scores",
    "queries-and-keys-meet-in-the-scores",
    "z-is-the-pattern-times-the-values",
    "edits-of-scores-and-pattern-reach-z",
    "an-edit-of-the-pattern-gives-the-z-of-that-pattern",
)
"""Where transformers computes the attention, and hook points stand beside it."""

_OF_VALUES = (
    "z-is-the-pattern-times-the-values",
    "an-edit-of-the-pattern-gives-the-z-of-that-pattern",
)

NO_GAIN = _mended("norm-without-gain-edit-crashes", "returning-what-was-given-changes-nothing")
"""Where norms have no weights."""


def in_39(reason: str, *checks: str) -> Mapping[str, Known]:
    """Checks that fail in TransformerLens 3.9 alone.

    Args:
        reason: Why, with the file.
        checks: Their names.
    """
    return MappingProxyType({check: Known(reason, releases=("3.",)) for check in checks})


GENERATION = (
    "greedy-generation-is-a-loop-over-the-logits",
    "rows-generate-together-what-each-generates-alone",
    "an-edit-holds-in-every-step-of-generation",
    "an-edit-holds-for-rows-that-generate-together",
)
"""The checks that fail where a cache of keys and values is used wrongly."""

LOGITS = (
    "logits-are-the-plain-models",
    "hook-points-hold-what-modules-hold",
    "edits-do-what-they-do-to-modules",
    "masked-padding-changes-no-real-token",
    "the-loss-is-the-cross-entropy-of-the-next-token",
    "the-loss-leaves-masked-padding-out",
    "stopping-at-a-layer-gives-the-stream-there",
    *GENERATION,
)
"""The checks that fail where a model computes something else than the plain one."""

_EVERYWHERE: Mapping[str, str | Known] = {
    **_mended("mistyped-hook-names-ignored", "mistyped-names-are-refused"),
    **_mended(
        "prepend-bos-ignored-in-padding-mask",
        "texts-together-give-what-each-gives-alone",
        "texts-generate-together-what-each-generates-alone",
    ),
    **_mended("callers-tokenizer-reloaded-at-boot", "what-was-set-on-the-tokenizer-is-kept"),
    "the-loss-of-texts-leaves-padding-out": "of a list of texts padded on the right there is no mask: "
    "TransformerLens' model_bridge/bridge.py",
}
_SEQUENTIAL = _mended(
    "resid-mid-edit-reaches-mlp-alone", "the-residual-stream-in-the-middle-is-one-stream"
)


def known_of(can: frozenset[Capability], own: Mapping[str, str | Known]) -> dict[str, str | Known]:
    """What fails in a family: what fails everywhere, and its own.

    Args:
        can: What its models are claimed to do; what is not claimed is not asked, and fails nowhere.
        own: What fails in it besides.
    """
    known = {**_EVERYWHERE, **(_SEQUENTIAL if "sequential-block" in can else {}), **own}
    if "plain-values" in can:
        return known
    return {name: one for name, one in known.items() if name not in _OF_VALUES}
