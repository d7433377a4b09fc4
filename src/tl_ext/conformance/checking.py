"""What a check is, how it says what it found, and when two tensors are the same."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from textwrap import dedent
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

Capability = Literal[
    "causal",
    "sequential-block",
    "parallel-block",
    "post-norm",
    "attention-weights",
    "whole-pattern",
    "plain-values",
    "plain-embedding",
    "plain-unembedding",
    "generates",
    "padding",
    "compatibility-mode",
]
"""What a model may be claimed to do; what is not claimed is not checked, and is said so.

`"causal"`: a token sees those before it. `"sequential-block"`, `"parallel-block"`: the MLP reads the
residual stream after the attention's output was added, or the same that the attention reads.
`"post-norm"`: what a block adds is normed before it is added. `"attention-weights"`: there are scores and
a pattern. `"whole-pattern"`: the pattern is the softmax of the scores, with no sink that takes a share.
`"plain-values"`: z is the pattern times the values, with no gate, norm or clip between them.
`"plain-embedding"`: what the embedding gives enters the stream, with no factor after it.
`"plain-unembedding"`: logits are the final norm's output times the unembedding, with no softcap, scale or
further layer. `"generates"`, `"padding"`, `"compatibility-mode"`: it can do that.
"""

DictionaryCapability = Literal["saelens", "attaches", "scales-by-input", "folds-norms", "texts"]
"""What a dictionary, and the model it stands in, may be claimed to do.

`"saelens"`: it is an object of SAELens'. `"attaches"`: the model takes those, as SAETransformerBridge does.
`"scales-by-input"`: each row is scaled by what it is itself. `"folds-norms"`: the lengths of its decoder
directions can be folded into its encoder. `"texts"`: the model's tokenizer gives the tokens of their text.
"""

TOLERANCE = {
    torch.float64: 1e-9,
    torch.float32: 1e-4,
    torch.bfloat16: 5e-2,
    torch.float16: 1e-2,
}
"""The largest error that is rounding, as `distance` measures it, by the type computed in."""


@dataclass(frozen=True)
class Violation:
    """One way in which a model does not do what a clause says.

    Attributes:
        what: Where: a hook point, or what was computed.
        told: What was seen and what should have been.
        size: The error as `distance` measures it; infinite where there is no number.
        script: Lines of Python that compute `error` from `bridge`, `reference` and `ids`.
    """

    what: str
    told: str
    size: float = math.inf
    script: str = ""


@dataclass
class Findings:
    """What a check found; it compares through this, so that a check that compared nothing shows.

    Attributes:
        tolerance: The largest error that is rounding.
        compared: How many comparisons were made.
        violations: Those that failed.
    """

    tolerance: float
    compared: int = 0
    violations: list[Violation] = field(default_factory=list)

    def close(self, what: str, got: Tensor, truth: Tensor, *, script: str = "") -> None:
        """Ask that two tensors are the same up to rounding.

        Args:
            what: What they are.
            got: What the hooked model gave.
            truth: What it should be.
            script: Lines that compute `error` once more.
        """
        self.compared += 1
        if got.shape != truth.shape:
            told = f"has the shape {tuple(got.shape)}; expected is {tuple(truth.shape)}"
            self.violations.append(Violation(what, told, script=dedent(script)))
            return
        size = distance(got, truth)
        if not size <= self.tolerance:
            told = f"is off by {size:.2g} of the largest value; rounding is {self.tolerance:.0e}"
            self.violations.append(Violation(what, told, size, dedent(script)))

    def same(self, what: str, got: Tensor, truth: Tensor, *, script: str = "") -> None:
        """Ask that two tensors are the same to the bit.

        Args:
            what: What they are.
            got: What the hooked model gave.
            truth: What it should be.
            script: Lines that compute `error` once more.
        """
        self.compared += 1
        if not (got.shape == truth.shape and torch.equal(got, truth)):
            size = distance(got, truth) if got.shape == truth.shape else math.inf
            told = f"is not the same to the bit; it is off by {size:.2g}"
            self.violations.append(Violation(what, told, size, dedent(script)))

    def holds(self, what: str, held: bool, told: str, *, script: str = "") -> None:
        """Ask that something is so.

        Args:
            what: What it is about.
            held: Whether it is so.
            told: What was seen and what should have been, for when it is not.
            script: Lines that compute `error` once more: more than nothing where it is not so.
        """
        self.compared += 1
        if not held:
            self.violations.append(Violation(what, told, script=dedent(script)))


class Asked(Protocol):
    """What checks are asked of: a model, or a dictionary in one."""

    @property
    def tolerance(self) -> float:
        """The largest error that is rounding."""
        ...

    @property
    def capabilities(self) -> frozenset[Any]:
        """What it is claimed to do."""
        ...


@dataclass(frozen=True)
class Check:
    """Something that is asked of a model, or of a dictionary.

    Attributes:
        name: Its name, of words joined by hyphens.
        clause: The clause of docs/behaviour.md that it asks about.
        needs: What must be claimed for the question to have a meaning.
        ask: The function that asks.
    """

    name: str
    clause: str
    needs: frozenset[Capability | DictionaryCapability]
    ask: Callable[[Any, Findings], None]

    @property
    def told(self) -> str:
        """What is asked, in the words of the function's docstring."""
        return (self.ask.__doc__ or "").partition("\n")[0].strip()


def check(
    clause: str, *needs: Capability | DictionaryCapability
) -> Callable[[Callable[[Any, Findings], None]], Check]:
    """Make a check of a function.

    Args:
        clause: The clause that it asks about.
        needs: What must be claimed.
    """

    def made(ask: Callable[[Any, Findings], None]) -> Check:
        return Check(ask.__name__.replace("_", "-"), clause, frozenset(needs), ask)

    return made


def distance(got: Tensor, truth: Tensor) -> float:
    """How far a tensor is from what it should be: the largest difference, over the largest value or 1.

    Both are read in the wider of their types. What is minus infinity, or the least number of its type, in
    both counts as the same: masked scores are one or the other.

    Args:
        got: What there is.
        truth: What there should be, of the same shape.

    Returns:
        0 for the same; infinite where one is NaN and the other is not.
    """
    if not got.numel():
        return 0.0
    masked = _masked(got) & _masked(truth)
    wide = torch.promote_types(got.dtype, truth.dtype)
    left, right = (one.detach().to(wide).masked_fill(masked, 0) for one in (got, truth))
    nans = left.isnan() & right.isnan()
    off = (left - right).abs().masked_fill(nans, 0).max().item()
    if math.isnan(off):
        return math.inf
    return float(off / max(1.0, right.masked_fill(nans, 0).abs().max().item()))


def _masked(values: Tensor) -> Tensor:
    if not values.is_floating_point():
        return torch.zeros_like(values, dtype=torch.bool)
    return values <= torch.finfo(values.dtype).min / 2
