"""Titles of the figure and of its panels, for each timestep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tl_ext.arena.arrays import Features
from tl_ext.errors import InputError


def read_title(title: Any, features: Features) -> tuple[str, ...]:
    """The figure's title at each timestep.

    Args:
        title: None, one text, or a list with one per timestep.
        features: What is drawn.

    Returns:
        A text per timestep, empty for none.

    Raises:
        InputError: There are more or fewer texts than timesteps.
    """
    if not _is_list(title):
        return (_text(title),) * features.n_timesteps
    if features.moving and len(title) == features.n_timesteps:
        return tuple(map(_text, title))
    wanted = f"{features.n_timesteps}, one per timestep" if features.moving else "one text"
    raise InputError(
        f"title is a list of {len(title)} for {features}; expected is {wanted}. Titles of panels are "
        "called titles."
    )


def read_titles(titles: Any, features: Features) -> tuple[tuple[str, ...], ...]:
    """The titles of the panels at each timestep.

    Args:
        titles: None; a list with one per instance; or a list of such lists, one per timestep. For one
            instance, a text will do.
        features: What is drawn.

    Returns:
        A text per timestep and instance, empty for none.

    Raises:
        InputError: There are more or fewer texts than instances, or lists than timesteps.
    """
    t, i = features.n_timesteps, features.n_instances
    if titles is None or (i == 1 and not _is_list(titles)):
        return ((_text(titles),) * i,) * t
    if not _is_list(titles):
        raise InputError(f"titles is {titles!r:.60} for {features}; a list of {i} is expected.")
    nested = [_is_list(one) for one in titles]
    if not any(nested) and len(titles) == i:
        return (tuple(map(_text, titles)),) * t
    if features.moving and all(nested) and {len(one) for one in titles} == {i} and len(titles) == t:
        return tuple(tuple(map(_text, one)) for one in titles)
    lengths = sorted({len(one) for one, inner in zip(titles, nested, strict=True) if inner})
    inner = f" of lists of {' or '.join(map(str, lengths))}" if any(nested) else ""
    or_lists = f", or {t} lists of {i}" if features.moving else ""
    raise InputError(
        f"titles is a list of {len(titles)}{inner} for {features}; a list of {i} is expected{or_lists}."
    )


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _text(value: Any) -> str:
    return "" if value is None else str(value)
