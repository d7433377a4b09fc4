"""Each patch applies to the release it names, changes what it names, and takes the bug away."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib import metadata, util
from pathlib import Path

import pytest

from tl_ext import fixes
from tl_ext.errors import FixError
from tl_ext.fixes.patches import FIELDS, Patch, patches_root, series
from tl_ext.upstream import saelens_usable

UPSTREAM, BASE = "transformer_lens", "4.3.0"
SERIES = [(UPSTREAM, BASE), ("sae_lens", "6.54.12")]
VERIFY = """
import importlib, json, sys
import pytest
from tl_ext import fixes
upstream, slug, *tests = sys.argv[1:]
finding = fixes.probe(slug)
passed = pytest.main(["-q", "-p", "no:cacheprovider", *tests]) == 0
file = importlib.import_module(upstream).__file__
print(json.dumps([file, finding.state, finding.evidence, passed]))
"""


def git(folder: Path, *words: str) -> str:
    """Run git where no other repository and no settings of a user can reach."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    env |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    who = ["-c", "user.name=test", "-c", "user.email=test@example.invalid"]
    return subprocess.run(
        ["git", *who, *words], cwd=folder, env=env, capture_output=True, text=True, check=True
    ).stdout


@pytest.fixture
def release(upstream: str, base: str, tmp_path: Path) -> Path:
    """The installed release, without caches, as the one commit of a repository of its own."""
    found = util.find_spec(upstream)
    installed = metadata.version(upstream.replace("_", "-")) if found else "none"
    if installed != base:
        pytest.skip(f"patches are made against {upstream} {base}; {installed} is installed")
    if upstream == "sae_lens" and not saelens_usable():
        pytest.skip("SAELens cannot be imported here")
    assert found is not None and found.origin is not None
    shutil.copytree(
        Path(found.origin).parent, tmp_path / upstream, ignore=shutil.ignore_patterns("__pycache__")
    )
    git(tmp_path, "init", "-q")
    (tmp_path / ".git" / "info").mkdir(exist_ok=True)
    (tmp_path / ".git" / "info" / "exclude").write_text("__pycache__/\n")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-q", "-m", base)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize(("upstream", "base"), SERIES)
def test_the_series_in_order(upstream: str, base: str, release: Path) -> None:
    for patch in series(upstream, base):
        git(release, "am", "-q", str(patch.path))
        changed = git(release, "diff", "--name-only", "HEAD~1").split()
        assert sorted(changed) == sorted(patch.files)
        assert git(release, "status", "--porcelain") == ""
        assert patch.added, "a patch carries its regression test"

        # In a process of its own, whose upstream is the copy.
        path = os.pathsep.join([str(release), *filter(None, sys.path)])
        tests = [name for name in patch.added if Path(name).name.startswith("test_")]
        done = subprocess.run(
            [sys.executable, "-c", VERIFY, upstream, patch.slug, *tests],
            env=os.environ | {"PYTHONPATH": path},
            cwd=release,
            capture_output=True,
            text=True,
            check=True,
        )
        file, state, evidence, passed = json.loads(done.stdout.splitlines()[-1])
        assert Path(file).is_relative_to(release)
        assert state == "ABSENT", evidence
        assert passed, done.stdout[-2000:]
        assert git(release, "status", "--porcelain") == ""


def test_every_patch_belongs_to_a_fix_and_says_what_it_must() -> None:
    known = fixes.specs()
    for listing in patches_root().rglob("series"):
        base, upstream = listing.parent.name, listing.parent.parent.name
        for patch in series(upstream, base):
            assert known[patch.slug].upstream == upstream
            assert patch.fields["X-TlExt-Base"].endswith(base)
            assert patch.fields["X-TlExt-Tree"] in ("wheel", "source")
            assert patch.path.name[5:] == f"{patch.slug}.patch"
            assert patch.slug in (patches_root() / "README.md").read_text(encoding="utf-8")


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
    monkeypatch.setattr("tl_ext.fixes.patches.patches_root", lambda: tmp_path)
    with pytest.raises(FixError, match=r"disagree about 0001-absent\.patch"):
        series("up", "1.0")
