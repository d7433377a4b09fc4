"""Asking one check of one small model, for tests that plant a fault and look whether it is found."""

from __future__ import annotations

from tl_ext.conformance.checking import Check, Findings, Violation
from tl_ext.conformance.examples import examples, first, subject_of
from tl_ext.conformance.spec import ConformanceSpec
from tl_ext.conformance.subject import Subject


def drawn(spec: ConformanceSpec) -> Subject:
    """The first drawn model of an architecture that has two layers and tokens that differ."""
    return subject_of(
        spec,
        next(
            example
            for example in first(examples(spec), 12)
            if example.config.num_hidden_layers == 2 and len(set(example.ids[0])) > 2
        ),
    )


def ask(check: Check, subject: Subject) -> list[Violation]:
    """What a check says of a model; it compared something."""
    found = Findings(subject.tolerance)
    check.ask(subject, found)
    assert found.compared
    return found.violations
