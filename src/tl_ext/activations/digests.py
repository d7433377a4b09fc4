"""Short marks of what results depend on, for the keys they are stored under."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch


def digest(named: Iterable[tuple[str, object]]) -> str:
    """A short mark that changes when weights change, or their order.

    Args:
        named: Tensors, numbers and words by name, such as `model.named_parameters()`.
    """
    parts: list[object] = []
    for name, one in named:
        if isinstance(one, torch.Tensor):
            held = one.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
            values = hashlib.sha256(held.numpy().data).hexdigest()
            parts.append((name, str(one.dtype), tuple(one.shape), values))
        else:
            parts.append((name, one))
    return sha(repr(parts))


def contents(thing: object, name: str = "") -> Iterator[tuple[str, object]]:
    """Every tensor, number and word that a dictionary is made of, by name."""
    if isinstance(thing, torch.nn.Module):
        yield from thing.state_dict(prefix=f"{name}.").items()
        thing = getattr(thing, "cfg", None)
    if isinstance(thing, torch.Tensor | str | int | float | None):
        yield name, thing
    elif isinstance(thing, Mapping):
        for key, value in thing.items():
            yield from contents(value, f"{name}.{key}")
    elif isinstance(thing, Sequence):
        for index, value in enumerate(thing):
            yield from contents(value, f"{name}.{index}")
    elif hasattr(thing, "__dict__"):
        for key, value in vars(thing).items():
            yield from contents(value, f"{name}.{key}")


def sha(text: str) -> str:
    """The first 16 digits of a text's SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
