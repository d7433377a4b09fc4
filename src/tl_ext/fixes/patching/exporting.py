"""Laying patches on a checkout of upstream, as commits to send, each with a description.

Both upstream packages have their folder at the root of their repository, as an installed release has,
so paths stay as they are.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from email.utils import parseaddr
from pathlib import Path

from tl_ext.errors import FixError
from tl_ext.fixes.patching.patches import Patch

# No hook runs, nothing is signed: what lands is what the patch says.
_AM = ("-c", "core.hooksPath=/dev/null", "-c", "commit.gpgSign=false", "-c", "am.threeWay=false")


@dataclass(frozen=True)
class Exported:
    """Commits on a branch of a checkout.

    Attributes:
        branch: The branch, which is checked out.
        commits: The commit of each patch, by slug, in their order.
    """

    branch: str
    commits: dict[str, str]


def export(patches: Sequence[Patch], to: Path, *, branch: str) -> Exported:
    """Lay patches on a new branch of a git checkout of upstream, on top of what is checked out.

    All of them apply or nothing is changed: they are tried in a work tree of their own first.

    Args:
        patches: Patches of one series, with what they require, in their order.
        to: The checkout's root.
        branch: The name of the branch to make.

    Returns:
        What was laid.

    Raises:
        FixError: It is no checkout of that upstream package, has changes that are not committed, has
            such a branch, or a patch does not apply to what is checked out.
    """
    _check(patches, to, branch)
    who = []
    if subprocess.run(["git", "config", "user.email"], cwd=to, capture_output=True).returncode:
        name, address = parseaddr(patches[0].fields["From"])
        who = ["-c", f"user.name={name}", "-c", f"user.email={address}"]
    commits: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="tl-ext-export-") as folder:
        tried = Path(folder) / "tree"
        _git(to, "worktree", "add", "-q", "--detach", str(tried), "HEAD")
        try:
            for patch in patches:
                try:
                    _git(tried, *who, *_AM, "am", "-q", str(patch.path.resolve()))
                except FixError as error:
                    raise FixError(
                        f"{patch.name} ({patch.slug}) does not apply to what is checked out in {to}: "
                        f"{error} It is made against {patch.fields['X-TlExt-Base']}; check that out, "
                        "or take along the patches before it. The checkout is as it was."
                    ) from error
                commits[patch.slug] = _git(tried, "rev-parse", "HEAD").strip()
        finally:
            _git(to, "worktree", "remove", "--force", str(tried))
    _git(to, "branch", branch, commits[patches[-1].slug])
    _git(to, "-c", "core.hooksPath=/dev/null", "switch", "-q", branch)
    return Exported(branch, commits)


def _check(patches: Sequence[Patch], to: Path, branch: str) -> None:
    """Raise FixError where the checkout is not one to lay these patches on."""
    if not patches:
        raise FixError("No patch was named.")
    upstreams = {patch.upstream for patch in patches}
    if len(upstreams) > 1:
        raise FixError(
            f"These patches are for {' and '.join(sorted(upstreams))}: export each apart."
        )
    if not to.is_dir():
        raise FixError(
            f"There is no folder {to}; a git checkout of {patches[0].upstream} is expected."
        )
    root = _git(to, "rev-parse", "--show-toplevel").strip()
    if Path(root).resolve() != to.resolve():
        raise FixError(f"{to} is not the root of its checkout, which is {root}. Name the root.")
    changed = sorted(
        {name for one in patches for name in one.files} - {n for p in patches for n in p.added}
    )
    absent = [name for name in changed if not (to / name).is_file()]
    if absent:
        raise FixError(
            f"{to} is no checkout of {patches[0].upstream} that these patches fit: it has no "
            f"{', '.join(absent)}."
        )
    dirty = _git(to, "status", "--porcelain").splitlines()
    if dirty:
        raise FixError(
            f"{to} has changes that are not committed ({', '.join(one[3:] for one in dirty[:3])}). "
            "Commit or stash them first."
        )
    names = _git(to, "branch", "--list", "--format=%(refname:short)").split()
    if branch in names:
        raise FixError(f"{to} has a branch {branch} already. Name another with --branch.")
    _git(to, "check-ref-format", "--branch", branch)


def _git(folder: Path, *words: str) -> str:
    """Run git in a checkout of the user's, under the user's settings."""
    try:
        done = subprocess.run(
            ["git", *words], cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
    except FileNotFoundError as error:
        raise FixError(
            "There is no git on the PATH. Install it; patches are laid with it."
        ) from error
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())
        raise FixError(f"git {words[-1] if 'am' in words else ' '.join(words)}: {said}.")
    return done.stdout
