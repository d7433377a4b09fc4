"""A probe leaves no trace, and one that fails says UNKNOWN."""

from __future__ import annotations

import logging
import random
import sys
import types
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tl_ext import fixes
from tl_ext.errors import FixError, PluginError
from tl_ext.fixes import Agreement
from tl_ext.fixes.probing import Finding, State, run_probe
from tl_ext.plugins import FixSpec

SLUG = "registered-adapters-ignored-by-boot"


def spec(probe: Any, monkeypatch: pytest.MonkeyPatch, upstream: str = "json") -> FixSpec:
    module = types.ModuleType("made_for_probing")
    module.probe = probe  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "made_for_probing", module)
    return FixSpec("a", "none", upstream, "patch-only", "now", "made_for_probing:probe")


def surroundings() -> tuple[Any, ...]:
    return (
        random.getstate(),
        np.random.get_state()[1].tolist(),  # type: ignore[index]
        torch.get_rng_state().tolist(),
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
        logging.root.manager.disable,
        list(warnings.filters),
    )


def disturbing() -> Finding:
    random.random()
    np.random.rand()
    torch.manual_seed(5)
    torch.set_default_dtype(torch.float64)
    torch.set_grad_enabled(False)
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("error")
    return Finding(State.PRESENT, "seen")


def test_what_a_probe_disturbs_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    before = surroundings()
    finding = run_probe(spec(disturbing, monkeypatch))
    assert (finding.state, finding.evidence) == (State.PRESENT, "seen")
    assert surroundings() == before


def test_a_probe_that_raises_is_unknown_and_puts_back_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def raising() -> Finding:
        disturbing()
        raise KeyError("lost")

    before = surroundings()
    finding = run_probe(spec(raising, monkeypatch))
    assert str(finding) == "UNKNOWN: the probe raised KeyError: 'lost'"
    assert surroundings() == before


def test_a_probe_of_source_files_is_given_a_tree(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def looking(tree: Path) -> Finding:
        there = (tree / "wrong.txt").is_file()
        return Finding(State.PRESENT if there else State.ABSENT, str(tree))

    (tmp_path / "wrong.txt").touch()
    of_source = replace(spec(looking, monkeypatch, upstream="no_such_upstream"), kind="source-only")
    assert run_probe(of_source, tree=tmp_path).state is State.PRESENT
    assert run_probe(of_source).state is State.UNKNOWN
    assert "name a source tree" in run_probe(of_source).evidence
    with pytest.raises(FixError, match=r"There is no folder .*nowhere"):
        run_probe(of_source, tree=tmp_path / "nowhere")
    with pytest.raises(FixError, match="a tree is for source-only fixes"):
        run_probe(replace(of_source, kind="patch-only"), tree=tmp_path)
    with pytest.raises(FixError, match="a tree is for source-only fixes"):
        fixes.probe(SLUG, tree=str(tmp_path))


def test_an_absent_upstream_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    finding = run_probe(spec(disturbing, monkeypatch, upstream="no_such_upstream"))
    assert finding.state is State.UNKNOWN
    assert "importing no_such_upstream failed" in finding.evidence


def test_an_unknown_slug_is_an_error_with_the_nearest() -> None:
    with pytest.raises(PluginError, match=f"Nearest: {SLUG}"):
        fixes.probe("registered-adapters-ignored")


def test_all_probes_say_what_is_recorded_soon_and_leave_no_trace() -> None:
    known = fixes.specs()
    for slug in known:
        fixes.probe(slug)  # once for the imports
    before = surroundings()
    findings = {slug: fixes.probe(slug) for slug in known}
    assert surroundings() == before
    for slug, finding in findings.items():
        assert finding.seconds < 5, slug
        assert finding.evidence, slug
    together = sum(finding.seconds for finding in findings.values())
    print(f"{len(findings)} probes took {together:.1f} s")
    assert together < 60

    # Each environment that runs this is one cell of the matrix of releases.
    stands = {slug: fixes.agreement(known[slug], one) for slug, one in findings.items()}
    wrong = {slug: findings[slug] for slug, one in stands.items() if one is Agreement.CONTRADICTS}
    assert wrong == {}
    unsaid = {
        slug
        for slug, one in stands.items()
        if one is Agreement.UNSAID and known[slug].kind != "source-only"
    }
    recorded = {
        release for spec in known.values() for release in (*spec.present_in, *spec.absent_in)
    }
    for slug in unsaid:
        release = fixes.installed_release(known[slug].upstream)
        assert release not in recorded, f"the row of {slug} does not speak of {release}"
