"""Each patch applies to the release it names, changes what it names, and takes the bug away."""

from __future__ import annotations

from pathlib import Path

import pytest

from tl_ext import fixes
from tl_ext.errors import FixError
from tl_ext.fixes.patching.patches import (
    FIELDS,
    Patch,
    every_patch,
    every_series,
    patches_root,
    series,
    with_requirements,
)
from tl_ext.fixes.patching.trees import Scratch
from tl_ext.fixes.patching.verifying import verify
from tl_ext.upstream import saelens_usable

UPSTREAM, BASE = "transformer_lens", "4.3.0"


def here(upstream: str, base: str) -> None:
    """Skip where another release is installed than a series is made against."""
    installed = fixes.installed_release(upstream)
    if installed is None or installed.partition("/")[0] != base:
        pytest.skip(f"patches are made against {upstream} {base}; {installed} is installed")
    if upstream == "sae_lens" and not saelens_usable():
        pytest.skip("SAELens cannot be imported here")


@pytest.mark.slow
def test_every_series_in_order() -> None:
    reports = list(verify())
    assert [report.patch.slug for report in reports if report.problem] == [], [
        f"{report.patch.name} {report.problem}" for report in reports if report.problem
    ]
    verified = {report.patch.upstream for report in reports if report.right}
    assert verified == {
        upstream
        for upstream, base in every_series()
        if (fixes.installed_release(upstream) or "").partition("/")[0] == base
    }


@pytest.mark.parametrize(("upstream", "base"), every_series())
def test_each_applies_alone_with_what_it_requires(upstream: str, base: str, tmp_path: Path) -> None:
    among = [patch for patch in series(upstream, base) if not patch.of_source]
    if not among:
        pytest.skip("its patches are for source trees")
    here(upstream, base)
    scratch = Scratch.of_installed(upstream, tmp_path)
    for patch in among:
        scratch.back()
        ordered = with_requirements([patch.slug], among)
        assert ordered[-1] is patch, "what a patch requires comes before it in the series"
        for one in ordered:
            scratch.apply(one)


def test_every_patch_belongs_to_a_fix_and_says_what_it_must() -> None:
    known = fixes.specs()
    for listing in patches_root().rglob("series"):
        base, upstream = listing.parent.name, listing.parent.parent.name
        for number, patch in enumerate(series(upstream, base), 1):
            assert patch.path.name.startswith(f"{number:04d}-"), "numbered as they apply"
            assert known[patch.slug].upstream == upstream
            assert patch.fields["X-TlExt-Base"].endswith(base)
            assert patch.fields["X-TlExt-Tree"] in ("wheel", "source")
            assert patch.path.name[5:] == f"{patch.slug}.patch"
            assert patch.tests, "a patch carries its regression test"
            with_requirements([patch.slug], series(upstream, base))
            assert patch.slug in (patches_root() / "README.md").read_text(encoding="utf-8")


def test_a_slug_has_one_patch() -> None:
    slugs = [patch.slug for patch in every_patch()]
    assert len(slugs) == len(set(slugs))


def test_what_is_wrong_with_a_patch_or_a_series_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FixError, match=r"No series for transformer_lens 1.0; there is .*4.3.0"):
        series(UPSTREAM, "1.0")
    whole = series(UPSTREAM, BASE)[0].path.read_text(encoding="utf-8")
    broken = tmp_path / "0001-broken.patch"
    broken.write_text(whole.replace("\nBug: ", "\nBag: "), encoding="utf-8")
    with pytest.raises(FixError, match="lacks Bug"):
        Patch.read(broken)
    broken.write_text("From 0\n" + "".join(f"{name}: x\n" for name in FIELDS), encoding="utf-8")
    with pytest.raises(FixError, match="changes no file"):
        Patch.read(broken)
    folder = tmp_path / "up" / "1.0"
    folder.mkdir(parents=True)
    (folder / "series").write_text("0001-absent.patch\n")
    monkeypatch.setattr("tl_ext.fixes.patching.patches.patches_root", lambda: tmp_path)
    with pytest.raises(FixError, match=r"disagree about 0001-absent\.patch"):
        series("up", "1.0")
