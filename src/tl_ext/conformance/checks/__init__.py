"""What is asked of hooked models, each question a function that cites its clause."""

from __future__ import annotations

from tl_ext.conformance.checking import Check
from tl_ext.conformance.checks import (
    attention,
    generation,
    hook_points,
    layers,
    logits,
    losses,
    modules,
    names,
    padding,
    residual,
    tokens,
)

MODEL_CHECKS: tuple[Check, ...] = tuple(
    found
    for room in (
        logits,
        modules,
        hook_points,
        residual,
        attention,
        names,
        padding,
        tokens,
        losses,
        layers,
        generation,
    )
    for found in vars(room).values()
    if isinstance(found, Check)
)
"""The checks of models, in the order they are asked in."""
