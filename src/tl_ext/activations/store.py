"""Tensors and tables on disk, written whole or not at all, so that an interrupted run continues."""

from __future__ import annotations

import csv
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tl_ext.errors import OutputError

if TYPE_CHECKING:
    import pandas as pd

KEY = "tl_ext.key"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends without an error.

    Args:
        path: The file to write. Its folder is made.

    Raises:
        OutputError: The folder cannot be written to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}.") from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def save(path: Path, tensors: Mapping[str, Tensor], key: Mapping[str, object]) -> None:
    """Write tensors with the key they were computed under.

    Args:
        path: A `.safetensors` file, replaced in one step.
        tensors: By name; any shapes.
        key: Everything the tensors depend on, as JSON values.
    """
    from safetensors.torch import save_file

    with replacing(path) as temporary:
        save_file(
            {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
            str(temporary),
            metadata={KEY: canonical(key)},
        )


def load(path: Path, key: Mapping[str, object]) -> dict[str, Tensor] | None:
    """Read tensors back if they were computed under this very key.

    Returns:
        None where there is no file, it is damaged, or it was computed under another key.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as stored:
            if (stored.metadata() or {}).get(KEY) != canonical(key):
                return None
            return {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    except (OSError, SafetensorError):
        return None


def stored_key(path: Path) -> dict[str, Any] | None:
    """The key tensors were stored under; None where there is no such file, or it is damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as stored:
            known: dict[str, Any] = json.loads((stored.metadata() or {})[KEY])
            return known
    except (OSError, SafetensorError, KeyError, ValueError):
        return None


def remembered(
    path: Path, key: Mapping[str, object], compute: Callable[[], Mapping[str, Tensor]]
) -> dict[str, Tensor]:
    """The tensors stored under `key`, computed and stored first where they are missing.

    Args:
        path: A `.safetensors` file.
        key: Everything the tensors depend on, as JSON values.
        compute: Called when nothing usable is stored.
    """
    stored = load(path, key)
    if stored is None:
        stored = dict(compute())
        save(path, stored, key)
    return stored


def save_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table as CSV, replaced in one step.

    Text is quoted: what a model writes may hold separators, and carriage returns that would otherwise
    begin a new row.
    """
    with replacing(path) as temporary:
        table.to_csv(temporary, index=False, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")


def canonical(key: Mapping[str, object]) -> str:
    """One spelling for one key."""
    return json.dumps(key, sort_keys=True, ensure_ascii=True, default=str)


def text_tensor(text: str) -> Tensor:
    """Text as bytes in a tensor [byte], to be stored beside numbers."""
    return torch.tensor(list(text.encode()), dtype=torch.uint8)


def tensor_text(tensor: Tensor) -> str:
    """The text of a tensor that `text_tensor` made."""
    return bytes(tensor.tolist()).decode()
