"""Patches laid on a checkout as commits, all or none, and what is said of them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tl_ext import fixes
from tl_ext.cli import app
from tl_ext.errors import FixError
from tl_ext.fixes.describing import page, pull_request, readme
from tl_ext.fixes.patching.exporting import export
from tl_ext.fixes.patching.git import git
from tl_ext.fixes.patching.patches import patches_root, series, with_requirements
from tl_ext.fixes.patching.trees import Scratch
from tl_ext.fixes.probing import Finding, State

runner = CliRunner(env={"COLUMNS": "200", "TL_EXT_PLUGINS": None})
UPSTREAM, BASE = next(
    (
        (upstream, base)
        for upstream, base in (("transformer_lens", "4.3.0"), ("sae_lens", "6.54.12"))
        if (fixes.installed_release(upstream) or "").partition("/")[0] == base
    ),
    ("", ""),
)
pytestmark = pytest.mark.skipif(not UPSTREAM, reason="no release is installed that has patches")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout of the installed release, as its repository would be laid out."""
    return Scratch.of_installed(UPSTREAM, tmp_path / "checkout").folder


def log(checkout: Path) -> list[str]:
    return git(checkout, "log", "--format=%s").splitlines()


def state(checkout: Path) -> tuple[str, ...]:
    return (
        git(checkout, "status", "--porcelain", "--branch"),
        git(checkout, "branch", "--list"),
        git(checkout, "worktree", "list"),
    )


def test_commits_lie_on_a_branch_with_what_they_require(checkout: Path) -> None:
    # What is installed lacks the source tree's other files.
    among = [patch for patch in series(UPSTREAM, BASE) if not patch.of_source]
    last = next((patch for patch in reversed(among) if patch.requires), among[-1])
    wanted = with_requirements([last.slug], among)
    done = export(wanted, checkout, branch="topic/one")
    assert log(checkout)[:-1] == [patch.subject for patch in reversed(wanted)]
    assert git(checkout, "rev-parse", "HEAD").strip() == done.commits[last.slug]
    assert git(checkout, "branch", "--show-current").strip() == "topic/one"
    assert git(checkout, "status", "--porcelain") == ""
    for name in last.files:
        assert (checkout / name).is_file()


def test_what_cannot_be_laid_leaves_the_checkout_as_it_was(checkout: Path, tmp_path: Path) -> None:
    patch = series(UPSTREAM, BASE)[0]
    (old,) = [name for name in patch.files if name not in patch.added][:1]
    (checkout / "mine.txt").write_text("mine")
    before = state(checkout)
    with pytest.raises(FixError, match=r"not committed \(mine.txt\).*stash"):
        export([patch], checkout, branch="topic")
    (checkout / "mine.txt").unlink()
    with pytest.raises(FixError, match="is not the root of its checkout"):
        export([patch], checkout / UPSTREAM, branch="topic")
    with pytest.raises(FixError, match="has a branch taken already"):
        git(checkout, "branch", "taken")
        export([patch], checkout, branch="taken")
    git(checkout, "branch", "-D", "taken")
    with pytest.raises(FixError, match="There is no folder"):
        export([patch], tmp_path / "nowhere", branch="topic")

    (checkout / old).write_text("something else\n")
    git(checkout, "commit", "-qam", "Another release")
    after = state(checkout)
    with pytest.raises(FixError, match=rf"{patch.slug}\) does not apply .*as it was"):
        export([patch], checkout, branch="topic")
    assert state(checkout) == after
    (checkout / old).unlink()
    git(checkout, "commit", "-qam", "Another project")
    with pytest.raises(FixError, match=rf"is no checkout of {UPSTREAM} that these patches fit"):
        export([patch], checkout, branch="topic")
    assert before[1] == state(checkout)[1]


def test_the_command_lays_commits_and_writes_descriptions(checkout: Path, tmp_path: Path) -> None:
    patch = series(UPSTREAM, BASE)[0]
    words = ["patches", "export", patch.slug, "--to", str(checkout)]
    done = runner.invoke(app, [*words, "--descriptions", str(tmp_path / "words")])
    assert done.exit_code == 0, done.output
    assert log(checkout)[0] == patch.subject
    assert git(checkout, "branch", "--show-current").strip() == f"tl-ext/{patch.slug}"
    (file,) = (tmp_path / "words").iterdir()
    assert file.name == f"{patch.path.stem}.md"
    text = file.read_text(encoding="utf-8")
    assert all(f"## {part}" in text for part in ("Symptom", "Cause", "Reproduction", "Test"))
    again = runner.invoke(app, words)
    assert again.exit_code == 2 and "--branch" in again.output


def test_commits_are_the_users_where_there_is_one(checkout: Path) -> None:
    git(checkout, "config", "user.name", "Somebody")
    git(checkout, "config", "user.email", "somebody@example.invalid")
    export(series(UPSTREAM, BASE)[:1], checkout, branch="topic")
    said = subprocess.run(
        ["git", "log", "-1", "--format=%cn %an"], cwd=checkout, capture_output=True, text=True
    ).stdout.strip()
    assert said.startswith("Somebody ") and not said.endswith("Somebody")


def test_every_patch_can_be_described() -> None:
    seen = Finding(State.PRESENT, "what was seen")
    for patch in fixes.every_patch():
        text = pull_request(patch, finding=seen)
        assert text.startswith(f"# {patch.subject}\n")
        assert "what was seen" in text and patch.tests[0] in text
        assert patch.message and patch.message in text


def test_the_page_of_fixes_is_made_of_rows() -> None:
    file = Path(__file__).parents[3] / "docs" / "known-fixes.md"
    assert file.read_text(encoding="utf-8") == page(), "run `make fixes-pages`"


def test_the_table_of_patches_is_made_of_rows_and_headers() -> None:
    file = (patches_root() / "README.md").read_text(encoding="utf-8")
    assert file == readme(file), "run `make fixes-pages`"
    for patch in fixes.every_patch():
        assert f"| `{patch.slug}` |" in file and f"`{patch.name}`" in file
    assert "not in )" not in file
