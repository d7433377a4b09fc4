"""Colours in every form that is in use, read as one colour per timestep, instance and feature.

A form is read in every way that fits the shape of `W`. Where none fits, and where two fit and give
different pictures, it is an error that says what fits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.colors import CSS4_COLORS, Colormap, Normalize, to_rgba

from tl_ext.arena.arrays import Array, Features, as_array, is_array
from tl_ext.errors import InputError, nearest

DEFAULT = to_rgba("#1f2430")
RGBA = tuple[float, float, float, float]
_Leaf = RGBA | float | None

_LAYOUTS: tuple[tuple[str, ...], ...] = (
    (),
    ("feature",),
    ("instance", "feature"),
    ("timestep", "feature"),
    ("timestep", "instance", "feature"),
)


@dataclass(frozen=True)
class Colors:
    """What to draw each feature with.

    Attributes:
        rgba: By timestep and instance, each `[feature 4]`.
        scale: How numbers became colours; None where no numbers were given.
    """

    rgba: tuple[tuple[Array, ...], ...]
    scale: Normalize | None


def read_colors(
    colors: Any, features: Features, *, color_range: tuple[float, float] | None, cmap: Colormap
) -> Colors:
    """Read colours.

    Args:
        colors: None; one colour; a list with one per feature; a list with such a list, or a list of one
            colour, per instance or per timestep; that per timestep and instance; or numbers in any of
            these shapes. A colour is a name or an RGB(A) tuple. None in the place of a list or a
            colour is the default.
        features: What is drawn.
        color_range: What the ends of the colour map mean, and that numbers are to be mapped. None
            means 0 to 1, or as far as the numbers go.
        cmap: The colour map for numbers.

    Returns:
        The colours.

    Raises:
        InputError: No reading fits, several do, a name is no colour, or a number lies outside the
            range.
    """
    tree = _plain(colors)
    trees = [] if color_range is not None else _as_colors(tree)
    trees = [(_as_numbers(tree), False), *trees]
    found: list[list[list[list[_Leaf]]]] = []
    for one, strict in trees:
        if {float, tuple} <= set(map(type, _leaves(one))):
            continue  # importances beside colours have no reading
        for layout in _LAYOUTS[: len(_LAYOUTS) if isinstance(one, list) else 1]:
            if features.moving or "timestep" not in layout:
                spread = _spread(one, layout, features, strict)
                if spread is not None and spread not in found:
                    found.append(spread)
    if len(found) != 1:
        raise InputError(_complaint(colors, tree, features, ambiguous=bool(found)))
    return _painted(found[0], color_range, cmap)


def _painted(
    spread: list[list[list[_Leaf]]], color_range: tuple[float, float] | None, cmap: Colormap
) -> Colors:
    """Leaves as colours, numbers among them by the scale."""
    values = {
        leaf
        for instances in spread
        for leaves in instances
        for leaf in leaves
        if isinstance(leaf, float)
    }
    scale = _scale(values, color_range) if values else None

    def paint(leaf: _Leaf) -> RGBA:
        if leaf is None:
            return DEFAULT
        if isinstance(leaf, tuple):
            return leaf
        assert scale is not None
        r, g, b, a = cmap(float(scale(leaf)))
        return float(r), float(g), float(b), float(a)

    painted: dict[int, Array] = {}
    for instances in spread:
        for leaves in instances:
            if id(leaves) not in painted:
                painted[id(leaves)] = np.array([paint(leaf) for leaf in leaves]).reshape(-1, 4)
    return Colors(
        tuple(tuple(painted[id(leaves)] for leaves in instances) for instances in spread), scale
    )


def _scale(values: set[float], color_range: tuple[float, float] | None) -> Normalize:
    """What the ends of the colour map mean."""
    if not np.isfinite(list(values)).all():
        raise InputError("colors holds numbers that are not finite; they have no colour.")
    low, high = min(values), max(values)
    if color_range is None:
        return Normalize(min(low, 0.0), max(high, 1.0))
    first, last = color_range
    if not first < last:
        raise InputError(f"color_range is {color_range}; (lowest, highest) is expected.")
    if low < first or high > last:
        raise InputError(
            f"colors goes from {low:g} to {high:g}, beyond color_range {color_range}, where numbers "
            "would look alike. Widen the range, or leave it out."
        )
    return Normalize(first, last)


def _plain(value: Any) -> Any:
    """Lists and tuples of strings, numbers and None; RGB(A) tuples stay tuples."""
    if value is None or isinstance(value, str):
        return value
    if is_array(value):
        names = getattr(getattr(value, "dtype", None), "kind", "") in ("U", "O")
        return _plain(value.tolist()) if names else as_array(value, "colors").tolist()
    if not isinstance(value, Sequence):
        raise InputError(f"colors holds {value!r:.60}, of type {type(value).__name__}.")
    parts = [_plain(one) for one in value]
    alike = isinstance(value, tuple) and all(isinstance(one, float) for one in parts)
    return tuple(parts) if alike else parts


def _as_numbers(tree: Any) -> Any:
    """The reading in which a number is an importance."""
    if isinstance(tree, str):
        return _named(tree)
    if isinstance(tree, list | tuple):
        return [_as_numbers(one) for one in tree]
    return tree


def _as_colors(tree: Any) -> list[tuple[Any, bool]]:
    """The reading in which three or four numbers are a colour, where there is one.

    With it, whether it may not be stretched: lists and arrays of numbers are colours only where
    there is exactly one for each feature.
    """
    strict = False

    def read(node: Any) -> Any:
        nonlocal strict
        if isinstance(node, str):
            return _named(node)
        if isinstance(node, float):
            raise ValueError
        if node is None:
            return None
        if node and all(isinstance(one, float) for one in node):
            if len(node) not in (3, 4) or not all(0 <= one <= 1 for one in node):
                raise ValueError
            strict = strict or isinstance(node, list)
            return to_rgba(tuple(node))
        return [read(one) for one in node]

    try:
        found = read(tree)
    except ValueError:
        return []
    # One list of three numbers is as well an importance of the wrong length.
    return (
        [] if strict and isinstance(tree, list) and isinstance(found, tuple) else [(found, strict)]
    )


def _named(name: str) -> RGBA:
    """A colour by its name, which stays what it is where it was read before."""
    try:
        return to_rgba(name)
    except ValueError as error:
        raise InputError(
            f"colors holds {name!r}, which is no colour of matplotlib.{nearest(name, CSS4_COLORS)}"
        ) from error


def _spread(
    tree: Any, layout: tuple[str, ...], features: Features, strict: bool
) -> list[list[list[_Leaf]]] | None:
    """The leaves by timestep, instance and feature; None where the layout does not fit."""
    sizes = {"timestep": features.n_timesteps, "instance": features.n_instances}

    def at(t: int, i: int) -> list[_Leaf]:
        node, n = tree, features.n_features[i]
        index = {"timestep": t, "instance": i}
        for axis in layout[:-1]:
            node = _pick(node, index[axis], sizes[axis], strict)
        if not layout or node is None:
            if isinstance(node, list):
                raise IndexError
            return [node] * n
        if not isinstance(node, list) or len(node) not in ({n} if strict else {n, 1}):
            raise IndexError
        leaves = [_pick(node, j, n, strict) for j in range(n)]
        if any(isinstance(one, list) for one in leaves):
            raise IndexError
        return leaves

    times = range(features.n_timesteps if "timestep" in layout else 1)
    try:
        out = [[at(t, i) for i in range(features.n_instances)] for t in times]
    except IndexError:
        return None
    return out if "timestep" in layout else out * features.n_timesteps


def _pick(node: Any, index: int, size: int, strict: bool) -> Any:
    """One entry along an axis; a single one stands for all, None for the default."""
    if node is None:
        return None
    if not isinstance(node, list):
        raise IndexError
    if len(node) == size:
        return node[index]
    if len(node) == 1 and not strict:
        return node[0]
    raise IndexError


def _leaves(tree: Any) -> Iterator[_Leaf]:
    if isinstance(tree, list):
        for one in tree:
            yield from _leaves(one)
    elif tree is not None:
        yield tree


def _complaint(colors: Any, tree: Any, features: Features, *, ambiguous: bool) -> str:
    """What is wrong with colours that have no reading, or several."""
    i, counts = features.n_instances, features.n_features
    given = f"colors of shape {_shape(tree)}"
    if ambiguous:
        return (
            f"{given} can be read in several ways for {features}, with different pictures. Name "
            "colours by strings; say color_range=(lowest, highest) where numbers are importances; "
            "write out every axis, [timestep instance feature], where two axes are as long."
        )
    n = str(counts[0]) if len(set(counts)) == 1 else "as many as the instance has features"
    forms = [f"[{n}]", f"[1, {n}]", f"[{i}, {n}]"]
    lists = [f"a list of {n}", f"{i} lists of {n} or of 1 ([['blue'], ['red'], ...])"]
    if features.moving:
        t = features.n_timesteps
        forms.append(f"[{t}, {i}, {n}]")
        lists.append(f"{t} lists of such lists")
    if len(set(counts)) > 1:
        forms, lists = forms[2:], lists[1:]
    return (
        f"{given} do not fit {features}. Give one colour, {', or '.join(lists)}, or numbers of shape "
        f"{' or '.join(forms)}."
    )


def _shape(tree: Any) -> str:
    """Lengths along the axes of nested lists, a range where they differ."""
    lengths: list[str] = []
    level = [tree]
    while level and all(isinstance(one, list | tuple) for one in level):
        counts = sorted({len(one) for one in level})
        lengths.append(str(counts[0]) if len(counts) == 1 else f"{counts[0]}-{counts[-1]}")
        level = [inner for one in level for inner in one if inner is not None]
    return f"[{', '.join(lengths)}]"
