"""Whole files or none: what is written appears under its name only when it is complete."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from tl_ext.errors import OutputError


def write_whole(path: Path, content: bytes) -> Path:
    """Write beside the target, then move into place; an interrupt leaves the old file as it was.

    Args:
        path: The file; folders that lack are made.
        content: All of it.

    Returns:
        The path.

    Raises:
        OutputError: It cannot be written there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            os.chmod(name, 0o666 & ~_umask())
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written ({error}). Give a folder that can be written to."
        ) from error
    return path


def _umask() -> int:
    """The process' mask for new files: mkstemp makes them private, a report is to be read."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
