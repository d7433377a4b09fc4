"""A copy of an upstream tree, as the one commit of a repository of its own, to apply patches to."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import util
from pathlib import Path

from tl_ext.errors import FixError
from tl_ext.fixes.patching.git import git
from tl_ext.fixes.patching.patches import Patch

_CACHES = ("__pycache__", "*.pyc", ".git", ".venv", "venv", "node_modules", ".pytest_cache")


@dataclass(frozen=True)
class Scratch:
    """A copy of a tree in a repository of its own.

    Attributes:
        folder: Its root.
        base: The commit of the tree as it was copied.
    """

    folder: Path
    base: str

    @classmethod
    def of_installed(cls, upstream: str, folder: Path) -> Scratch:
        """Copy an installed package, without caches.

        Args:
            upstream: The package, as it is imported.
            folder: An empty folder.

        Returns:
            The copy, with the package's folder at its root.

        Raises:
            FixError: It is not installed, or there is no git.
        """
        found = util.find_spec(upstream)
        if found is None or found.origin is None:
            raise FixError(
                f"{upstream} is not installed; its patches are verified on a copy of it."
            )
        return cls._of(Path(found.origin).parent, folder / upstream, folder)

    @classmethod
    def of_tree(cls, tree: Path, folder: Path) -> Scratch:
        """Copy a source tree: what git tracks, where it is a checkout, or else all of it.

        Args:
            tree: Its root.
            folder: An empty folder.

        Returns:
            The copy.

        Raises:
            FixError: There is no such folder, or no git.
        """
        if not tree.is_dir():
            raise FixError(f"There is no folder {tree}; the root of a source tree is expected.")
        if not (tree / ".git").exists():
            return cls._of(tree, folder, folder)
        for name in git(tree, "ls-files", "-z").split("\0"):
            if name and (tree / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(tree / name, folder / name)
        return cls._committed(folder)

    @classmethod
    def _of(cls, source: Path, to: Path, root: Path) -> Scratch:
        shutil.copytree(
            source, to, ignore=shutil.ignore_patterns(*_CACHES), dirs_exist_ok=True, symlinks=True
        )
        return cls._committed(root)

    @classmethod
    def _committed(cls, root: Path) -> Scratch:
        git(root, "init", "-q", "--template=")
        (root / ".git" / "info").mkdir(exist_ok=True)
        (root / ".git" / "info" / "exclude").write_text("__pycache__/\n", encoding="utf-8")
        git(root, "add", "-A", "--force")
        git(root, "commit", "-q", "--no-verify", "--allow-empty", "-m", "As it was copied")
        return cls(root, git(root, "rev-parse", "HEAD").strip())

    def apply(self, patch: Patch) -> None:
        """Apply a patch as a commit, and make sure that exactly the files it names changed.

        Args:
            patch: The patch.

        Raises:
            FixError: It does not apply, or other files changed.
        """
        git(self.folder, "am", "-q", str(patch.path.resolve()))
        changed = git(self.folder, "diff", "--name-only", "--no-renames", "-z", "HEAD~1").split(
            "\0"
        )
        self._forget(patch.files)
        if sorted(filter(None, changed)) != sorted(patch.files):
            raise FixError(
                f"{patch.path} changed {', '.join(filter(None, changed)) or 'nothing'}, and names "
                f"{', '.join(patch.files)}. Make it again with git format-patch."
            )
        self.check_clean(patch)

    def check_clean(self, patch: Patch) -> None:
        """Raise FixError where files lie about that no commit holds."""
        odd = git(self.folder, "status", "--porcelain").strip()
        if odd:
            raise FixError(f"{patch.path} or its test leaves files behind: {odd}")

    def back(self) -> None:
        """Take everything back that was applied."""
        changed = git(self.folder, "diff", "--name-only", "--no-renames", "-z", self.base, "HEAD")
        self.tidy(self.base)
        self._forget(filter(None, changed.split("\0")))

    def tidy(self, commit: str = "HEAD") -> None:
        """Leave what an apply began and did not end.

        Args:
            commit: The commit to go to.
        """
        shutil.rmtree(self.folder / ".git" / "rebase-apply", ignore_errors=True)
        git(self.folder, "reset", "-q", "--hard", commit)
        git(self.folder, "clean", "-fdq")

    def _forget(self, files: Iterable[str]) -> None:
        """Drop what was compiled of files: a change within a second may go unnoticed by Python."""
        for file in (self.folder / name for name in files):
            for compiled in (file.parent / "__pycache__").glob(f"{file.stem}.*"):
                compiled.unlink(missing_ok=True)
