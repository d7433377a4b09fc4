"""What `verify` finds wrong with a patch, where it looks, and what it leaves alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fixes.saelens import test_tutorial_hook_steers_only_the_prompt as tutorial
from tests.fixes.source_trees import committed

from tl_ext import fixes
from tl_ext.errors import FixError
from tl_ext.fixes.children import HEAVY, Children
from tl_ext.fixes.patching.patches import series
from tl_ext.fixes.patching.verifying import verify

# A fix of the release that is installed.
SLUG, UPSTREAM, BASE = next(
    (
        one
        for one in (
            ("rotary-base-not-read", "transformer_lens", "4.3.0"),
            ("load-model-knows-no-bridge", "sae_lens", "6.54.12"),
        )
        if (fixes.installed_release(one[1]) or "").partition("/")[0] == one[2]
    ),
    ("", "", ""),
)
PASSES, FAILS, SKIPS = (
    f"import pytest\n\n\ndef test_it():\n    {line}\n"
    for line in ("pass", "assert 1 == 2", "pytest.skip('not here')")
)
needs_a_release = pytest.mark.skipif(not SLUG, reason="no release is installed that has patches")


@pytest.fixture(scope="module")
def children() -> Iterator[Children]:
    with Children(HEAVY) as made:
        yield made


def patches_of(monkeypatch: pytest.MonkeyPatch, root: Path, *texts: str) -> None:
    """Let the folder of patches hold these, all said to be of one fix."""
    folder = root / "patches" / UPSTREAM / BASE
    folder.mkdir(parents=True)
    names = [f"{n:04}-{SLUG}.patch" for n in range(len(texts))]
    for name, text in zip(names, texts, strict=True):
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "series").write_text("\n".join(names), encoding="utf-8")
    monkeypatch.setattr("tl_ext.fixes.patching.patches.patches_root", lambda: root / "patches")


def made(test: str, changes: str = "") -> str:
    """A patch of `SLUG` with a test and what else it changes."""
    head = series(UPSTREAM, BASE)[0].path.read_text(encoding="utf-8").partition("\n\n")[0]
    lines = [
        f"X-TlExt-Slug: {SLUG}" if line.startswith("X-TlExt-Slug") else line
        for line in head.splitlines()
    ]
    added = test.splitlines()
    diff = "\n".join(
        [
            "diff --git a/tests/test_made.py b/tests/test_made.py",
            "new file mode 100644",
            "--- /dev/null",
            "+++ b/tests/test_made.py",
            f"@@ -0,0 +1,{len(added)} @@",
            *(f"+{line}" for line in added),
        ]
    )
    return "\n".join(lines) + f"\n\nMade for a test.\n---\n\n{diff}\n{changes}-- \n2.39.0\n"


@needs_a_release
def test_a_patch_that_leaves_the_bug_is_told(
    children: Children, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = made(PASSES)
    patches_of(monkeypatch, tmp_path, text)
    (report,) = verify(SLUG, children=children)
    assert not report.right and "With the patch its probe says PRESENT" in report.problem
    assert report.before is not None and report.before.state is fixes.State.PRESENT


@needs_a_release
@pytest.mark.parametrize(
    ("test", "told"), [(FAILS, "assert 1 == 2"), (SKIPS, "1 skipped")], ids=["fails", "is skipped"]
)
def test_a_patch_whose_test_does_not_pass_is_told(
    test: str, told: str, children: Children, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (right,) = [patch for patch in series(UPSTREAM, BASE) if patch.slug == SLUG]
    kept = [
        f"diff --git {part}"
        for part in right.path.read_text(encoding="utf-8").split("diff --git ")[1:]
        if "new file mode" not in part.partition("@@")[0]
    ]
    changes = "".join(kept).partition("\n-- \n")[0] + "\n"
    text = made(test, changes)
    patches_of(monkeypatch, tmp_path, text)
    (report,) = verify(SLUG, children=children)
    assert "Its own test does not pass" in report.problem and told in report.problem


@needs_a_release
def test_a_patch_that_does_not_apply_is_told_and_the_next_is_verified_all_the_same(
    children: Children, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (right,) = [patch for patch in series(UPSTREAM, BASE) if patch.slug == SLUG]
    assert not right.requires
    twice = made(
        PASSES,
        "diff --git a/nowhere.py b/nowhere.py\n--- a/nowhere.py\n+++ b/nowhere.py\n"
        "@@ -1,1 +1,1 @@\n-one\n+two\n",
    )
    patches_of(monkeypatch, tmp_path, twice, right.path.read_text(encoding="utf-8"))
    first, second = verify(children=children)
    assert "git am" in first.problem and "nowhere.py" in first.problem
    assert second.right, second.problem


def test_a_users_git_settings_do_not_matter(
    children: Children, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tmp_path / "gitconfig"
    settings.write_text("[core]\n autocrlf = true\n[commit]\n gpgSign = true\n[user]\n name = x\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("PYTEST_ADDOPTS", "--no-such-option")
    first = tutorial.notebook("print()\n", tutorial.HOOK)
    tree = tmp_path / "SAELens"
    (tree / tutorial.FILE).parent.mkdir(parents=True)
    (tree / tutorial.FILE).write_text(first, encoding="utf-8")
    (report,) = verify(tutorial.SLUG, tree=tree, children=children)
    assert report.right, report.problem
    assert [os.path.relpath(path, tree) for path in tree.rglob("*.*")] == [tutorial.FILE]


def test_a_patch_of_a_source_tree_is_verified_on_a_copy_of_it(
    children: Children, tmp_path: Path
) -> None:
    files = {tutorial.FILE: tutorial.notebook("print()\n", tutorial.HOOK)}
    tree = committed(tmp_path / "SAELens", files)
    (report,) = verify(tutorial.SLUG, tree=tree, children=children)
    assert report.right, report.problem
    assert (tree / tutorial.FILE).read_text(encoding="utf-8") == files[tutorial.FILE]
    (without,) = verify(tutorial.SLUG)
    assert "--tree" in without.skipped and not without.right
    right = tutorial.HOOK.replace("        return\n", "        pass\n")
    tree = committed(tmp_path / "other", {tutorial.FILE: tutorial.notebook("print()\n", right)})
    (report,) = verify(tutorial.SLUG, tree=tree, children=children)
    assert not report.right
    with pytest.raises(FixError, match="name them, SLUG"):
        next(verify(tree=tree))
    with pytest.raises(FixError, match=r"There is no folder .*nowhere"):
        list(verify(tutorial.SLUG, tree=tmp_path / "nowhere"))


def test_an_unknown_slug_names_the_nearest() -> None:
    with pytest.raises(
        FixError, match=r"No patch is called 'prefix'\. Nearest: .*prefix-not-excluded"
    ):
        next(verify("prefix"))
