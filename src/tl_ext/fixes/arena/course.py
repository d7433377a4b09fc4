"""What the course calls `plot_features_in_2d` with, as arguments of ours.

The course has had three signatures: `(values, colors, title, subplot_titles, save, colab)` in January
2024; `(W, ...)` with `n_rows`, `adjustable_limits`, `ani_kwargs` and `ani_save_kwargs` after these by
August; and since September `(W, colors, title, subplot_titles,
allow_different_limits_across_subplots, n_rows)`. Names of any of them are understood whichever of them
stands in the module; arguments by place follow the one that does.

What is the course's way and not ours: axes reach to 1.5 where that is enough; colours for half of the
instances hold for the other half too (encoder and decoder in one figure); a flat list of as many names
as there are timesteps is one name per timestep, unless there are as many features.

Source: chapter1_transformer_interp/exercises/part4_superposition_and_saes/utils.py, later
part31_superposition_and_saes/utils.py, `plot_features_in_2d`.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from tl_ext.errors import FixError, InputError

if TYPE_CHECKING:
    from tl_ext.arena import FeatureFigure
    from tl_ext.arena.arrays import Features

_NAMES = (
    "W",
    "colors",
    "title",
    "subplot_titles",
    "save",
    "colab",
    "n_rows",
    "adjustable_limits",
    "allow_different_limits_across_subplots",
    "ani_kwargs",
    "ani_save_kwargs",
)
_REACH = 1.5
# What an animation is made with has no meaning here, where matplotlib's writers are not used.
_WITHOUT_MEANING = {"writer", "repeat", "repeat_delay", "blit", "cache_frame_data"}


def wrap(original: Callable[..., Any]) -> Callable[..., FeatureFigure | None]:
    """Our function under the course's arguments.

    Args:
        original: The course's function, whose order of arguments is kept. It is not called.

    Returns:
        A function that draws with ours. In a notebook it shows the figure and returns None, as the
        course's does; elsewhere it returns the figure.

    Raises:
        FixError: The function takes other arguments than any version of the course.
    """
    order = ["W" if name == "values" else name for name in inspect.signature(original).parameters]
    if order[:1] != ["W"] or not set(order) <= set(_NAMES):
        raise FixError(
            f"{original!r} takes {inspect.signature(original)}, which no version of the course does. "
            "Call tl_ext.plot_features_in_2d instead."
        )

    @functools.wraps(original)
    def plot_features_in_2d(*args: Any, **named: Any) -> FeatureFigure | None:
        from tl_ext.arena.plots import animate_features_in_2d
        from tl_ext.arena.plots import plot_features_in_2d as ours

        options = translated(_by_name(order, args, named))
        figure = animate_features_in_2d(**options) if "fps" in options else ours(**options)
        return None if _shown(figure) else figure

    return plot_features_in_2d


def translated(given: Mapping[str, Any]) -> dict[str, Any]:
    """The course's arguments as ours.

    Args:
        given: Arguments by the names of the later signatures.

    Returns:
        Arguments of `plot_features_in_2d`, or with `fps` among them of `animate_features_in_2d`.

    Raises:
        InputError: `W` cannot be drawn, or the animation is asked for something that has no
            counterpart.
    """
    from tl_ext.arena.arrays import read_features
    from tl_ext.arena.layout import reaches

    features = read_features(given["W"])
    if given.get("adjustable_limits") or given.get("allow_different_limits_across_subplots"):
        limits: str | float = "own"
    else:
        limits = _REACH if max(reaches(features, "shared")) <= _REACH else "shared"
    options = {
        "W": features,
        "colors": _colors(given.get("colors"), features),
        "title": given.get("title"),
        "titles": given.get("subplot_titles"),
        "n_rows": given.get("n_rows"),
        "limits": limits,
        "save": given.get("save"),
    }
    fps = _fps(given.get("ani_kwargs") or {}, given.get("ani_save_kwargs") or {})
    return options | ({"fps": fps} if features.moving else {})


def _by_name(order: list[str], args: tuple[Any, ...], named: dict[str, Any]) -> dict[str, Any]:
    """Arguments by name, as Python would tell them apart."""
    if len(args) > len(order):
        raise TypeError(f"plot_features_in_2d takes {len(order)} arguments; {len(args)} were given")
    found = dict(zip(order, args, strict=False))
    for name, value in named.items():
        name = "W" if name == "values" else name
        if name not in _NAMES or name in found:
            what = "was given twice" if name in found else "is no argument of it"
            raise TypeError(f"plot_features_in_2d: {name!r} {what}")
        found[name] = value
    if "W" not in found:
        raise TypeError("plot_features_in_2d: 'W' is missing")
    return found


def _colors(colors: Any, features: Features) -> Any:
    """The course's colours as ours."""
    t, i = features.n_timesteps, features.n_instances
    if not isinstance(colors, list) or not colors:
        return colors
    per_timestep = features.moving and len(colors) == t
    if per_timestep and all(isinstance(one, str) for one in colors):
        return colors if set(features.n_features) == {t} else [[[one]] for one in colors]

    def for_both_halves(one: Any) -> Any:
        lists = isinstance(one, list) and all(isinstance(inner, list) for inner in one)
        return one * 2 if lists and 2 * len(one) == i else one

    if per_timestep and all(one is None or isinstance(one, list) for one in colors):
        return [for_both_halves(one) for one in colors]
    return for_both_halves(colors)


def _fps(animation: Mapping[str, Any], saving: Mapping[str, Any]) -> float:
    """How fast the course's animation is, as fast as can be shown."""
    odd = (set(animation) - {"interval"} | set(saving) - {"fps"}) - _WITHOUT_MEANING
    if odd:
        raise InputError(
            f"ani_kwargs and ani_save_kwargs hold {', '.join(sorted(odd))}; understood are interval "
            "and fps. Save what plot_features_in_2d returns with a writer of your own."
        )
    return min(50.0, float(saving.get("fps") or 1000 / animation.get("interval", 50)))


def _shown(figure: FeatureFigure) -> bool:
    """Show the figure where there is a notebook; whether there is."""
    ipython = sys.modules.get("IPython")
    if ipython is None or ipython.get_ipython() is None:
        return False
    importlib.import_module("IPython.display").display(figure)
    return True
