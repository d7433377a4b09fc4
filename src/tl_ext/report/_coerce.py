"""What callers give (lists, numpy arrays, tensors, pandas tables) as plain tuples.

Nothing is imported for this: an array is known by its `tolist`, a table by its `to_numpy`. Marks
made of tuples can be compared, hashed and drawn by any renderer, and nobody can change them
afterwards. A number that is undefined (NaN, `None`, pandas' NA) is kept as `None`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from tl_ext.errors import InputError

Numbers = tuple[float | None, ...]
Matrix = tuple[Numbers, ...]


def text(value: object) -> str:
    """A label or sentence as text that UTF-8 can hold (half a surrogate pair becomes U+FFFD)."""
    return str(value).encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def texts(values: Iterable[object], what: str) -> tuple[str, ...]:
    """Several labels; a single string is a mistake and not a sequence of letters."""
    if isinstance(values, str | bytes):
        raise InputError(f"{what}: got the single text {values!r}; give a sequence of texts.")
    return tuple(text(value) for value in listed(values))


def listed(values: Any) -> list[Any]:
    """Any array, tensor, pandas column or iterable as a list (nested where it is nested)."""
    if hasattr(values, "to_numpy"):
        values = values.to_numpy()
    elif hasattr(values, "detach"):
        values = values.detach()
    out = values.tolist() if hasattr(values, "tolist") else list(values)
    if not isinstance(out, list):
        raise InputError(f"got the single value {out!r}; give a sequence.")
    return out


def number(value: Any, what: str, place: int | None = None) -> float | None:
    """One number, or `None` where it is undefined; `place` is its index, for the message."""
    if type(value) is float and math.isfinite(value):
        return value
    if value is None or type(value).__name__ in {"NAType", "NaTType"}:
        return None
    where = what if place is None else f"{what}[{place}]"
    try:
        out = float(value)
    except (TypeError, ValueError) as error:
        raise InputError(f"{where}: got {value!r}; expected a number.") from error
    if math.isnan(out):
        return None
    if math.isinf(out):
        raise InputError(
            f"{where}: got {out}; expected a finite number. Give NaN where a value is undefined."
        )
    return out


def numbers(values: Any, what: str) -> Numbers:
    """A sequence of numbers, `None` where undefined."""
    return tuple(number(value, what, i) for i, value in enumerate(listed(values)))


def defined(values: Any, what: str) -> tuple[float, ...]:
    """A sequence of numbers none of which may be undefined."""
    out = numbers(values, what)
    if None in out:
        raise InputError(
            f"{what}[{out.index(None)}] is undefined; expected numbers only. Leave undefined "
            "points out before drawing."
        )
    return tuple(value for value in out if value is not None)


def matrix(values: Any, what: str) -> Matrix:
    """A rectangular table of numbers, `None` where undefined."""
    rows = listed(values)
    if not all(hasattr(row, "__iter__") and not isinstance(row, str) for row in rows):
        raise InputError(f"{what}: got one dimension; expected two, [row, column].")
    out = tuple(numbers(row, f"{what}[{i}]") for i, row in enumerate(rows))
    if not out or not out[0]:
        raise InputError(f"{what}: got no values; expected at least one row and one column.")
    widths = {len(row) for row in out}
    if len(widths) > 1:
        raise InputError(f"{what}: rows have {sorted(widths)} values; expected one length.")
    return out


def same_length(what: str, **sequences: Sequence[object] | None) -> None:
    """Refuse sequences of different lengths, naming each."""
    lengths = {name: len(values) for name, values in sequences.items() if values is not None}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise InputError(f"{what}: {told}; expected the same number of each.")


def one_of(value: str, allowed: Sequence[str], what: str) -> None:
    """Refuse an option that does not exist, naming those that do."""
    if value not in allowed:
        raise InputError(f"{what}: got {value!r}; expected one of {', '.join(allowed)}.")
