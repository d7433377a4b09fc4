"""git where no other repository, no hook and no settings of a user reach."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tl_ext.errors import FixError

# What a user may have set that would change how a patch is applied or a commit is made.
_PLAIN = (
    "user.name=tl-ext",
    "user.email=tl-ext@example.invalid",
    "core.autocrlf=false",
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "commit.gpgSign=false",
    "am.threeWay=false",
    "apply.whitespace=nowarn",
    "gc.auto=0",
)


def git(folder: Path, *words: str) -> str:
    """Run git in a folder.

    Args:
        folder: Where.
        words: The command.

    Returns:
        What it wrote to stdout.

    Raises:
        FixError: There is no git, or it failed; the message has what it said.
    """
    if shutil.which("git") is None:
        raise FixError("There is no git on the PATH. Install it; patches are applied with it.")
    environment = {name: value for name, value in os.environ.items() if name[:4] != "GIT_"}
    environment |= {
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "LC_ALL": "C",
    }
    settings = [word for one in _PLAIN for word in ("-c", one)]
    done = subprocess.run(
        ["git", *settings, *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())
        raise FixError(f"git {' '.join(words)} failed in {folder}: {said}")
    return done.stdout
