"""Whether patches do what they say: on a copy of the release, in processes that import the copy.

For each patch: the bug is there without it, it applies and changes exactly the files it names, with it
the probe says ABSENT and its own regression test passes, and the package that was asked lies in the
copy. No network is used, and nothing is written outside a temporary folder.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tl_ext.errors import FixError, nearest
from tl_ext.fixes.api import probe, specs
from tl_ext.fixes.children import HEAVY, Children
from tl_ext.fixes.patching.patches import (
    Patch,
    every_patch,
    every_series,
    series,
    with_requirements,
)
from tl_ext.fixes.patching.trees import Scratch
from tl_ext.fixes.probing import Finding, State
from tl_ext.fixes.releases import expected, installed_release

# SAELens is verified beside the TransformerLens that is installed.
_BESIDE: Mapping[str, tuple[str, ...]] = {
    "sae_lens": ("transformer_lens", "transformer_lens.model_bridge")
}
_TAIL = 2000


@dataclass(frozen=True)
class PatchReport:
    """What became of one patch.

    Attributes:
        patch: The patch.
        beneath: Slugs of the patches that were applied before it.
        skipped: Why it was not verified here; empty where it was.
        problem: What is wrong with it; empty where nothing is.
        before: What its probe saw without any patch.
        after: What its probe saw with it.
        seconds: How long it took.
    """

    patch: Patch
    beneath: tuple[str, ...] = ()
    skipped: str = ""
    problem: str = ""
    before: Finding | None = None
    after: Finding | None = None
    seconds: float = 0.0

    @property
    def right(self) -> bool:
        """Whether it was verified and does what it says."""
        return not (self.skipped or self.problem)


def verify(
    *slugs: str, tree: Path | None = None, children: Children | None = None
) -> Iterator[PatchReport]:
    """Verify patches: each series in its order, or chosen ones each alone with what it requires.

    Args:
        slugs: The fixes whose patches to verify, each alone; none means every series in order.
        tree: A source tree to verify the chosen ones on, instead of the installed release.
        children: Where to ask, for many calls in a row; None makes what is right for each series.

    Yields:
        A report per patch. Patches for another release than the installed one, and those for source
        trees where no tree is given, are skipped and say so.

    Raises:
        FixError: There is no patch for a slug, no such tree, no git, or a tree without slugs.
    """
    there = [patch.slug for patch in every_patch()]
    for slug in slugs:
        if slug not in there:
            raise FixError(f"No patch is called {slug!r}.{nearest(slug, there)}")
    if tree is not None and not slugs:
        raise FixError("A source tree is for the patches that fit it: name them, SLUG... --tree.")
    for upstream, base in every_series():
        among = series(upstream, base)
        chosen = [patch for patch in among if not slugs or patch.slug in slugs]
        here = []
        for patch in chosen:
            why = _why_not_here(patch, tree)
            if why:
                yield PatchReport(patch, skipped=why)
            else:
                here.append(patch)
        if here:
            asked = children or Children((*HEAVY, *_BESIDE.get(upstream, ())))
            with nullcontext(children) if children else asked:
                yield from _on_a_copy(here, among, asked, alone=bool(slugs), tree=tree)


def _why_not_here(patch: Patch, tree: Path | None) -> str:
    """Why a patch cannot be verified here; empty where it can."""
    if tree is not None:
        return ""
    if patch.of_source:
        return "it is for a source tree: name one with --tree"
    release = installed_release(patch.upstream)
    if release is None or release.partition("/")[0] != patch.base:
        return f"it is made against {patch.upstream} {patch.base}; installed is {release}"
    return ""


def _on_a_copy(
    chosen: Sequence[Patch],
    among: Sequence[Patch],
    children: Children,
    *,
    alone: bool,
    tree: Path | None,
) -> Iterator[PatchReport]:
    """Verify patches of one series."""
    upstream = among[0].upstream
    with tempfile.TemporaryDirectory(prefix="tl-ext-verify-") as folder:
        root = Path(folder).resolve()
        scratch = (
            Scratch.of_installed(upstream, root) if tree is None else Scratch.of_tree(tree, root)
        )
        bench = _Bench(scratch, children)
        before = bench.ask([patch.slug for patch in chosen], [])
        # A package that only a patch lets be imported is asked with that patch, wherever it stands.
        kinds = {slug: spec.kind for slug, spec in specs().items()}
        opening = [] if before.file else [p for p in among if kinds[p.slug] == "import-time"]
        failed: dict[str, str] = {}
        if opening and not alone:
            failed = bench.apply_each(chosen)
        for done, patch in enumerate(chosen):
            begin = time.perf_counter()
            missing = [patch]
            beneath = list(chosen[:done])
            if alone:
                scratch.back()
                missing = with_requirements([p.slug for p in (patch, *opening)], among)
                beneath = [one for one in missing if one is not patch]
            elif opening:
                missing, beneath = [], [one for one in chosen if one is not patch]
            problem, after = failed.get(patch.slug, ""), None
            seen = before.findings[patch.slug]
            try:
                if before.file or kinds[patch.slug] == "import-time":
                    _check_before(patch, seen, tree)
                for one in missing:
                    scratch.apply(one)
                if not problem:
                    after = bench.verify(patch)
            except FixError as error:
                problem = str(error)
                scratch.tidy()
            yield PatchReport(
                patch,
                tuple(one.slug for one in beneath),
                problem=problem,
                before=seen,
                after=after,
                seconds=time.perf_counter() - begin,
            )


def _check_before(patch: Patch, seen: Finding, tree: Path | None) -> None:
    """Raise FixError where a probe does not say without the patch what it should."""
    wanted = (expected(specs()[patch.slug]) if tree is None else None) or State.PRESENT
    if seen.state is not wanted:
        raise FixError(f"Without the patch its probe says {seen}, not {wanted}.")


@dataclass(frozen=True)
class _Answer:
    """What a process that imported the copy said."""

    findings: Mapping[str, Finding]
    file: str  # the package that was asked; empty where it cannot be imported
    passed: bool
    output: str


@dataclass(frozen=True)
class _Bench:
    """A copy to apply patches to, and processes to ask it in."""

    scratch: Scratch
    children: Children

    def apply_each(self, patches: Sequence[Patch]) -> dict[str, str]:
        """Apply patches; by slug, why some of them do not."""
        failed = {}
        for patch in patches:
            try:
                self.scratch.apply(patch)
            except FixError as error:
                failed[patch.slug] = str(error)
                self.scratch.tidy()
        return failed

    def verify(self, patch: Patch) -> Finding:
        """What the probe of an applied patch says. FixError where anything is not as it must be."""
        if not patch.tests:
            raise FixError(f"{patch.path} adds no test. A patch carries its regression test.")
        answer = self.ask([patch.slug], patch.tests)
        after = answer.findings[patch.slug]
        if not answer.file or not Path(answer.file).is_relative_to(self.scratch.folder):
            raise FixError(
                f"What was asked is {answer.file or after}, which does not lie in the copy."
            )
        if after.state is not State.ABSENT:
            raise FixError(f"With the patch its probe says {after}.")
        if not answer.passed:
            raise FixError(f"Its own test does not pass with the patch:\n{answer.output[-_TAIL:]}")
        self.scratch.check_clean(patch)
        return after

    def ask(self, slugs: Sequence[str], tests: Sequence[str]) -> _Answer:
        """Probe and test in a process that imports the copy."""
        folder = self.scratch.folder
        outcome = self.children.call(
            f"{__name__}:_inside",
            list(slugs),
            list(tests),
            str(folder),
            path=[folder],
            cwd=folder,
        )
        if outcome.error:
            raise FixError(f"Asking the copy failed: {outcome.error}\n{outcome.output[-_TAIL:]}")
        said = outcome.result
        findings = {
            slug: Finding(State(state), evidence)
            for slug, (state, evidence) in said["findings"].items()
        }
        return _Answer(findings, said["file"], said["passed"], outcome.output)


class _Passes:
    """Counts the tests that pass, for pytest."""

    passed = 0

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.passed += report.when == "call" and report.passed


def _inside(slugs: Sequence[str], tests: Sequence[str], folder: str) -> dict[str, Any]:
    """What `_Bench.ask` runs in its own process."""
    import importlib

    import torch

    torch.set_num_threads(1)
    known, findings, file = specs(), {}, folder
    for slug in slugs:
        if known[slug].kind == "source-only":
            finding = probe(slug, tree=folder)
        else:
            finding = probe(slug)
            try:
                file = str(importlib.import_module(known[slug].upstream).__file__)
            except ImportError:
                file = ""
        findings[slug] = (str(finding.state), finding.evidence)
    passed = True
    if tests:
        import pytest

        plain = ["-q", "-p", "no:cacheprovider", "-c", os.devnull, f"--rootdir={folder}"]
        counting = _Passes()
        # A test that is skipped shows nothing.
        passed = pytest.main([*plain, *tests], plugins=[counting]) == 0 and counting.passed > 0
    return {"findings": findings, "file": file, "passed": passed}
