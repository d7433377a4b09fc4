"""Every "module:attribute" string in our own specs leads somewhere: import checkers cannot see them."""

from __future__ import annotations

import dataclasses

import pytest

from tl_ext.plugins import build_manager, builtin, resolve

TABLES = ("ADAPTERS", "FIXES", "ANALYSES", "DICTIONARY_SOURCES", "SCORERS")
REFERENCES = [
    pytest.param(reference, id=f"{spec.name_of}-{field}")
    for table in TABLES
    for spec in getattr(builtin, table)
    for field, reference in spec.references().items()
]


@pytest.mark.parametrize("reference", REFERENCES)
def test_reference_resolves(reference: str) -> None:
    assert callable(resolve(reference))


def test_our_own_plugin_loads_whole() -> None:
    ours = build_manager().report()[0]
    assert (ours.status, ours.reason) == ("loaded", "")


def test_every_table_reaches_its_hook() -> None:
    manager = build_manager()
    for table, found in (
        ("ADAPTERS", manager.adapters()),
        ("FIXES", manager.fixes()),
        ("ANALYSES", manager.analyses()),
        ("DICTIONARY_SOURCES", manager.dictionary_sources()),
        ("SCORERS", manager.scorers()),
    ):
        names = {spec.name_of for spec in getattr(builtin, table)}
        assert names <= set(found), f"{table}: {names - set(found)} are not offered"


def test_no_field_of_a_spec_looks_like_a_reference_and_is_not_declared_as_one() -> None:
    for table in TABLES:
        for spec in getattr(builtin, table):
            declared = set(spec.references())
            for field in dataclasses.fields(spec):
                value = getattr(spec, field.name)
                if isinstance(value, str) and value.startswith("tl_ext.") and ":" in value:
                    assert field.name in declared, f"{spec.name_of}: {field.name}"
