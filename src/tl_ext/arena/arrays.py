"""`W` as people have it: tensors and arrays of two to four dimensions, and lists of them, ragged or not.

Torch is not imported here: a tensor is told by what it can do.
"""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tl_ext.errors import InputError

Array = NDArray[np.float64]

FORMS = (
    "W is [2 feature], [instance 2 feature] or [timestep instance 2 feature], "
    "or a list of [2 feature], one per instance"
)


@dataclass(frozen=True)
class Features:
    """Feature vectors in the plane.

    Attributes:
        vectors: By timestep and instance, each `[2 feature]`; where nothing moves there is one
            timestep.
        moving: Whether `W` has a time axis.
        shape: How messages call the shape that was given.
    """

    vectors: tuple[tuple[Array, ...], ...]
    moving: bool
    shape: str

    @property
    def n_timesteps(self) -> int:
        """How many timesteps there are."""
        return len(self.vectors)

    @property
    def n_instances(self) -> int:
        """How many instances there are, each with a panel of its own."""
        return len(self.vectors[0])

    @property
    def n_features(self) -> tuple[int, ...]:
        """How many features each instance has."""
        return tuple(instance.shape[1] for instance in self.vectors[0])

    def __str__(self) -> str:
        counts = sorted(set(self.n_features))
        features = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        times = f"{self.n_timesteps} timesteps of " if self.moving else ""
        plural = "s" * (self.n_instances != 1)
        return f"W of shape {self.shape} ({times}{self.n_instances} instance{plural} of {features} features)"


def read_features(W: Any) -> Features:
    """Read `W`.

    Args:
        W: See `FORMS`; torch tensors on any device, with or without gradients and of any real dtype,
            numpy arrays, and lists. What was read already is given back.

    Returns:
        The vectors.

    Raises:
        InputError: It has another shape, is empty, or holds what is no finite number.
    """
    if isinstance(W, Features):
        return W
    given = _stacked(W, "W")
    shape = shape_of(given)
    timesteps, moving = _by_timestep(given, shape)
    if not timesteps or not timesteps[0]:
        raise InputError(f"W of shape {shape} holds no instance to draw. {FORMS}.")
    for instances in timesteps:
        for vectors in instances:
            _check(vectors, shape)
    if len({tuple(one.shape[1] for one in instances) for instances in timesteps}) > 1:
        raise InputError(
            f"W of shape {shape} has other instances or numbers of features at some timesteps than at "
            "the first. Each instance keeps its features over time."
        )
    return Features(tuple(map(tuple, timesteps)), moving, shape)


def as_array(value: Any, name: str) -> Array:
    """Real numbers of any kind as float64.

    Args:
        value: A tensor, an array, or anything that numpy reads as one.
        name: What it is called in messages.

    Returns:
        The array, a copy.

    Raises:
        InputError: It holds what is no real number, or has no values (a tensor on `meta`).
    """
    try:
        if callable(getattr(value, "detach", None)):  # a torch tensor
            value = value.detach()
            if value.is_complex():
                raise InputError(f"{name} is complex ({value.dtype}); real numbers are expected.")
            value = value.to_dense() if str(value.layout) != "torch.strided" else value
            # First to the CPU, as not every device has float64, and numpy has no bfloat16.
            value = value.cpu().double().numpy()
        array = np.asarray(value)
        if array.dtype.kind in "cOSUMm":
            raise InputError(f"{name} has dtype {array.dtype}; real numbers are expected.")
        return array.astype(np.float64)
    except (TypeError, ValueError, RuntimeError, NotImplementedError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{name} cannot be read as real numbers: {error}") from error


def is_array(value: Any) -> bool:
    """Whether a value is a tensor, an array or a number, and not a list of such."""
    return (
        isinstance(value, numbers.Real) or hasattr(value, "__array__") or hasattr(value, "detach")
    )


def shape_of(value: Any) -> str:
    """The shape of an array, or of a list of arrays, as messages call it."""
    if isinstance(value, np.ndarray):
        return str(list(value.shape))
    shapes = [shape_of(one) for one in value]
    more = f" and {len(shapes) - 4} more" if len(shapes) > 4 else ""
    return f"list of {', '.join(shapes[:4])}{more}" if shapes else "[0]"


def _stacked(value: Any, name: str) -> Any:
    """Arrays of lists: stacked wherever the shapes agree, as a list where they do not."""
    if is_array(value):
        return as_array(value, name)
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        raise InputError(f"{name} holds {value!r:.60}, of type {type(value).__name__}. {FORMS}.")
    parts = [_stacked(one, name) for one in value]
    if not parts:
        return np.empty(0)
    stackable = all(isinstance(one, np.ndarray) and one.shape == parts[0].shape for one in parts)
    return np.stack(parts) if stackable else parts


def _by_timestep(given: Any, shape: str) -> tuple[list[list[Array]], bool]:
    """The vectors by timestep and instance, and whether there is a time axis."""
    if isinstance(given, np.ndarray):
        if given.shape == (0,):
            return [], False
        if given.ndim == 2:
            return [[given]], False
        if given.ndim == 3:
            return [list(given)], False
        if given.ndim == 4:
            return [list(instances) for instances in given], True
        raise InputError(f"W of shape {shape} has {given.ndim} dimensions. {FORMS}.")
    if all(isinstance(one, np.ndarray) and one.ndim == 2 for one in given):
        return [given], False
    timesteps = [list(one) if _is_instances(one) else None for one in given]
    found = [one for one in timesteps if one is not None]
    if len(found) == len(timesteps):
        return found, True
    raise InputError(f"W of shape {shape} is none that can be drawn. {FORMS}.")


def _is_instances(value: Any) -> bool:
    """Whether a value holds `[2 feature]`, one per instance."""
    if isinstance(value, np.ndarray):
        return value.ndim == 3
    return all(isinstance(one, np.ndarray) and one.ndim == 2 for one in value)


def _check(vectors: Array, shape: str) -> None:
    """Whether vectors are in the plane and finite."""
    if vectors.shape[0] != 2:
        swapped = vectors.shape[1] == 2
        hint = " The last axis is 2: swap the last two axes." if swapped else ""
        raise InputError(
            f"W of shape {shape} has {vectors.shape[0]} hidden dimensions where the plane has 2.{hint} "
            f"{FORMS}."
        )
    if not np.isfinite(vectors).all():
        bad = int((~np.isfinite(vectors)).any(0).sum())
        raise InputError(
            f"W of shape {shape} holds vectors that are not finite, {bad} of {vectors.shape[1]} in one "
            "instance, and no limits show those. Leave them out, or look at what made them."
        )
