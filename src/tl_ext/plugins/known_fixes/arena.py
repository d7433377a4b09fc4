"""Bugs of ARENA's course files, by slug in alphabetical order. Imports no torch."""

from __future__ import annotations

from tl_ext.plugins.known_fixes.rows import Room
from tl_ext.plugins.specs import FixSpec

_here = Room("arena", "arena")

ARENA: tuple[FixSpec, ...] = (
    _here.source_only(
        "plot-features-in-2d-x-must-be-a-sequence",
        symptom='plot_features_in_2d draws nothing: "x must be a sequence" (matplotlib 3.9 and later)',
        present_in=("168d8c2",),
        bug="https://github.com/callummcdougall/ARENA_3.0/pull/66",
    ),
)
