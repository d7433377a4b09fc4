"""Source trees made in a test, and patches laid on them."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tl_ext import fixes


def committed(folder: Path, files: Mapping[str, str]) -> Path:
    """A folder with these files as the one commit of a repository of its own."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    (folder / ".gitignore").write_text("__pycache__/\n")
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "as upstream has it")
    return folder


def patched(tree: Path, upstream: str, base: str, slug: str) -> fixes.Patch:
    """Lay the patch of a fix on a tree, and see that it changed what it names."""
    (patch,) = [one for one in fixes.series(upstream, base) if one.slug == slug]
    git(tree, "am", "-q", str(patch.path))
    assert sorted(git(tree, "diff", "--name-only", "HEAD~1").split()) == sorted(patch.files)
    return patch


def own_tests_pass(tree: Path, patch: fixes.Patch) -> bool:
    """Whether the regression tests that a patch brings pass in the tree, none of them skipped."""
    process = multiprocessing.get_context("fork").Process(target=_run, args=(tree, patch.added))
    process.start()
    process.join()
    return process.exitcode == 0


class _Skipped:
    """Notes whether a test was skipped."""

    seen = False

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seen = self.seen or report.skipped


def _run(tree: Path, tests: tuple[str, ...]) -> None:
    os.chdir(tree)
    skipped = _Skipped()
    plain = ["-q", "-p", "no:cacheprovider", "-c", os.devnull, f"--rootdir={tree}"]
    code = pytest.main([*plain, *tests], plugins=[skipped])
    os._exit(int(code) or int(skipped.seen))


def git(folder: Path, *words: str) -> str:
    """Run git where no other repository and no settings of a user can reach."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    env |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    who = ["-c", "user.name=test", "-c", "user.email=test@example.invalid"]
    return subprocess.run(
        ["git", *who, *words], cwd=folder, env=env, capture_output=True, text=True, check=True
    ).stdout
