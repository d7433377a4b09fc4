"""What an author of an adapter writes: which models to draw, what is claimed of them, what is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, get_args

from tl_ext import fixes
from tl_ext.conformance.checking import Capability
from tl_ext.errors import InputError, nearest
from tl_ext.upstream import versions

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

DEFAULT: frozenset[Capability] = frozenset(
    (
        "causal",
        "sequential-block",
        "attention-weights",
        "whole-pattern",
        "plain-values",
        "plain-embedding",
        "plain-unembedding",
        "padding",
        "generates",
    )
)
"""What a decoder of the usual build can do."""


def from_config(config: PretrainedConfig) -> PreTrainedModel:
    """A model of a config, of random weights, with eager attention: others keep scores and pattern hidden.

    Args:
        config: A config that `AutoModelForCausalLM` knows.
    """
    from transformers import AutoModelForCausalLM

    model: PreTrainedModel = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    return model


@dataclass(frozen=True)
class Known:
    """Why a check is known to fail, and where it does.

    Attributes:
        reason: Why, with a link.
        fix: The slug of the fix under which it is gone; empty where there is none.
        releases: Of TransformerLens, in which it fails, by how their version begins; empty for all.
    """

    reason: str
    fix: str = ""
    releases: tuple[str, ...] = ()

    @property
    def here(self) -> bool:
        """Whether it fails in the release that is installed, under the fixes that are in effect."""
        if self.fix and fixes.in_effect(self.fix):
            return False
        return not self.releases or (versions()["transformer-lens"] or "").startswith(self.releases)


@dataclass(frozen=True)
class ConformanceSpec:
    """An architecture, for the conformance checks.

    Attributes:
        name: The architecture, as checkpoints name it: `"Qwen2ForCausalLM"`.
        draw_config: Called with Hypothesis' `draw`; gives the config of a tiny model. What it draws first
            and smallest is what a failing example is reduced to.
        capabilities: What its models are claimed to do; what is not claimed is not checked.
        known_failures: By check, why it is known to fail, with a link; as `Known` where it fails in some
            releases alone, or a fix mends it. One that fails nowhere is an error.
        build: Makes the model of a config.
    """

    name: str
    draw_config: Callable[[Callable[[Any], Any]], PretrainedConfig]
    capabilities: frozenset[Capability] = DEFAULT
    known_failures: Mapping[str, str | Known] = field(default_factory=dict)
    build: Callable[[PretrainedConfig], PreTrainedModel] = from_config

    @property
    def known_here(self) -> dict[str, str]:
        """By check, why it is known to fail in what is installed, under the fixes that are in effect."""
        table = {
            name: known if isinstance(known, Known) else Known(known)
            for name, known in self.known_failures.items()
        }
        return {name: known.reason for name, known in table.items() if known.here}

    def __post_init__(self) -> None:
        known = get_args(Capability)
        for capability in self.capabilities:
            if capability not in known:
                raise InputError(
                    f"{self.name}: there is no capability {capability!r}.{nearest(capability, known)}"
                )
        from tl_ext.conformance.checks import MODEL_CHECKS

        names = [check.name for check in MODEL_CHECKS]
        for name in self.known_failures:
            if name not in names:
                raise InputError(
                    f"{self.name}: known_failures names no check: {name!r}.{nearest(name, names)}"
                )
