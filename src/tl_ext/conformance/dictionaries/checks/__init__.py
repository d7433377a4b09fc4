"""What is asked of dictionaries, each question a function that cites its clause."""

from __future__ import annotations

from tl_ext.conformance.checking import Check
from tl_ext.conformance.dictionaries import sequences
from tl_ext.conformance.dictionaries.checks import computing, evaluating, nesting, splicing, traces

DICTIONARY_CHECKS: tuple[Check, ...] = tuple(
    found
    for room in (computing, splicing, traces, nesting, evaluating, sequences)
    for found in vars(room).values()
    if isinstance(found, Check)
)
"""The checks of dictionaries, in the order they are asked in."""
