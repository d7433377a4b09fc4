"""Weights read so that no second copy of them is ever resident.

transformers maps checkpoint files into memory and leaves them mapped until all is loaded. Where a tensor
is used as it lies in the file that is the best there is: the file's pages are the weights. Where it is
cast to another dtype or its rows are reordered, the pages stay beside the result, up to a second copy
of everything. `stored_tensors` reads such a checkpoint piece by piece instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import torch
from safetensors import safe_open
from torch import Tensor
from transformers.modeling_utils import load_state_dict

# Bytes of a tensor that are read at once. Opening a file for each piece costs a millisecond or two, and
# several pieces are in memory at a time, so they are many enough and a small share of all the weights.
_PIECES = 200
_SMALLEST, _LARGEST = 8 * 2**20, 64 * 2**20
_SAFETENSORS_DTYPES = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32}


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a file, which is read when it is indexed, as transformers does with `[...]`.

    Attributes:
        open: Gives something that holds the stored tensor and can be sliced by rows.
        shape: Its shape.
        stored: Its dtype in the file, None where only reading it tells.
        dtype: The dtype it is read in.
        piece: How many bytes of it are read at once.
    """

    open: Callable[[], Any]
    shape: tuple[int, ...]
    stored: torch.dtype | None
    dtype: torch.dtype
    piece: int

    def __getitem__(self, index: Any) -> Tensor:
        if not self.shape or self.stored is None:
            whole: Tensor = self.open()[index]
            return whole
        result = torch.empty(self.shape, dtype=self.dtype)
        row = result[:1].numel() * self.stored.itemsize
        rows = max(1, self.piece // max(1, row))
        for start in range(0, len(result), rows):
            piece = slice(start, min(start + rows, len(result)))
            result[piece] = self.open()[piece]
        return result[index]


def stored_tensors(files: Sequence[str], dtype: torch.dtype) -> dict[str, StoredTensor] | None:
    """The tensors of a checkpoint, none of them read.

    Args:
        files: Checkpoint files, all .safetensors or all .bin.
        dtype: The dtype to read them in.

    Returns:
        The tensors by name, or None for .bin files of the old kind, which can only be read whole.
    """
    found: dict[str, StoredTensor] = {}
    total = sum(Path(file).stat().st_size for file in files)
    piece = min(max(total // _PIECES, _SMALLEST), _LARGEST)
    for file in files:
        if Path(file).suffix == ".safetensors":
            found |= _in_safetensors(file, dtype, piece)
        elif is_zipfile(file):
            found |= _in_bin(file, dtype, piece)
        else:
            return None
    return found


def _in_safetensors(file: str, dtype: torch.dtype, piece: int) -> dict[str, StoredTensor]:
    handle: Any = safe_open(file, framework="pt")
    found = {}
    for name in handle.keys():  # noqa: SIM118 - a handle is no mapping
        part = handle.get_slice(name)
        stored = _SAFETENSORS_DTYPES.get(part.get_dtype())
        opened = partial(_safetensors_slice, file, name)
        found[name] = StoredTensor(opened, tuple(part.get_shape()), stored, dtype, piece)
    return found


def _in_bin(file: str, dtype: torch.dtype, piece: int) -> dict[str, StoredTensor]:
    found = {}
    for name, tensor in _mapped(file).items():
        opened = partial(_bin_tensor, file, name)
        found[name] = StoredTensor(opened, tuple(tensor.shape), tensor.dtype, dtype, piece)
    return found


# Both map the file anew for every piece, so that a piece's pages go once it is read.


def _safetensors_slice(file: str, name: str) -> Any:
    handle: Any = safe_open(file, framework="pt")
    return handle.get_slice(name)


def _bin_tensor(file: str, name: str) -> Tensor:
    return _mapped(file)[name]


def _mapped(file: str) -> dict[str, Tensor]:
    """The tensors of a .bin file, mapped and not read; nothing but tensors is unpickled."""
    content: dict[str, Tensor] = load_state_dict(file, weights_only=True)
    return content
