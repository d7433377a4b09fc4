"""The two calls: a figure of features, and the same figure in motion."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any, Literal

import matplotlib
from matplotlib.colors import Colormap

from tl_ext.arena.arrays import read_features
from tl_ext.arena.colors import read_colors
from tl_ext.arena.drawing import FeatureFigure, Plan
from tl_ext.arena.layout import grid, reaches
from tl_ext.arena.saving import check_ending
from tl_ext.arena.titles import read_title, read_titles
from tl_ext.errors import InputError, nearest

_FPS = 20.0
_FASTEST = 50.0  # what readers of GIF files can show


def plot_features_in_2d(
    W: Any,
    *,
    colors: Any = None,
    title: Any = None,
    titles: Any = None,
    n_rows: int | None = None,
    limits: Literal["shared", "own"] | float = "shared",
    color_range: tuple[float, float] | None = None,
    color_label: str = "",
    cmap: str | Colormap = "viridis",
    save: str | PathLike[str] | None = None,
) -> FeatureFigure:
    """Draw each feature's vector from the origin, a panel per instance.

    ```python
    tl_ext.plot_features_in_2d(
        model.W,
        colors=model.importance,
        titles=[f"1 - S = {s:.2f}" for s in sparsities],
        save="superposition.png",
    )
    ```

    A list of names is always one per feature, and two lists of one name, `[["blue"], ["red"]]`, are
    one per instance. What can be read in two ways that look different is an error.

    Args:
        W: The vectors, `[2 feature]` or `[instance 2 feature]`, or a list of `[2 feature]`, one per
            instance, each with features of its own. Tensors on any device, arrays and lists. With
            `[timestep instance 2 feature]`, or a list of such lists, the figure moves, as from
            `animate_features_in_2d`.
        colors: None; one colour; one per feature; one list per instance, or per timestep, or per
            timestep and instance, of one colour or one per feature. A colour is a name or an RGB(A)
            tuple. Or numbers in any of these shapes, such as importances `[feature]`, `[1 feature]` or
            `[instance feature]`: these go through a colour map, which a bar beside the panels states.
        title: The figure's title; a list has one per timestep.
        titles: The panels' titles, one per instance; a list of such lists has one per timestep.
        n_rows: How many rows of panels; where the instances do not divide, the first rows have one
            more. None makes rows of at most 8.
        limits: How far the axes reach: `"shared"`: as far as the longest vector of all; `"own"`: of
            the instance; a number: so far.
        color_range: What the ends of the colour map mean. None means 0 to 1, or as far as the numbers
            go.
        color_label: What the numbers are, beside the colour bar.
        cmap: The colour map for numbers, matplotlib's or the name of one.
        save: A file to write as well; see [`FeatureFigure.save`][tl_ext.arena.FeatureFigure].

    Returns:
        The figure. pyplot does not know it, so there is nothing to close and nothing is opened; a
        notebook shows it where it is the last value of a cell.

    Raises:
        InputError: `W` has another shape or is not finite; the colours, titles or rows do not fit it,
            or can be read in several ways; vectors reach beyond the limits or numbers beyond the
            range; the file's ending is not known.
        OutputError: The file cannot be written.

    Source: Elhage et al., Toy Models of Superposition (2022); ARENA 3.0, chapter 1.
    """
    return _draw(
        W, colors=colors, title=title, titles=titles, n_rows=n_rows, limits=limits,
        color_range=color_range, color_label=color_label, cmap=cmap, save=save, fps=_FPS,
    )  # fmt: skip


def animate_features_in_2d(
    W: Any,
    *,
    colors: Any = None,
    title: Any = None,
    titles: Any = None,
    n_rows: int | None = None,
    limits: Literal["shared", "own"] | float = "shared",
    color_range: tuple[float, float] | None = None,
    color_label: str = "",
    cmap: str | Colormap = "viridis",
    fps: float = _FPS,
    save: str | PathLike[str] | None = None,
) -> FeatureFigure:
    """Draw each feature's vector as it moves, a panel per instance.

    ```python
    tl_ext.animate_features_in_2d(
        torch.stack(data_log["W_enc"]), title=data_log["titles"], save="training.gif"
    )
    ```

    Args:
        W: The vectors, `[timestep instance 2 feature]`, or a list, one per timestep, of
            `[instance 2 feature]` or of lists of `[2 feature]`.
        colors: As for `plot_features_in_2d`, the same at all timesteps or one for each.
        title: The figure's title, or a list with one per timestep.
        titles: The panels' titles, one per instance, or a list of such lists, one per timestep.
        n_rows: How many rows of panels.
        limits: How far the axes reach; they hold for all timesteps.
        color_range: What the ends of the colour map mean, at all timesteps.
        color_label: What the numbers are, beside the colour bar.
        cmap: The colour map for numbers, matplotlib's or the name of one.
        fps: Timesteps per second, at most 50.
        save: A `.gif` or `.html` file to write as well.

    Returns:
        The figure. It shows the last timestep; `show_timestep` draws another one, `save` writes all,
        and a notebook shows a player.

    Raises:
        InputError: `W` has no timesteps, or for a reason of `plot_features_in_2d`; or the speed
            cannot be shown.
        OutputError: The file cannot be written.
    """
    if not isinstance(fps, int | float) or not 0 < fps <= _FASTEST:
        raise InputError(f"fps is {fps!r}; a number above 0 and up to {_FASTEST:g} is expected.")
    return _draw(
        W, colors=colors, title=title, titles=titles, n_rows=n_rows, limits=limits,
        color_range=color_range, color_label=color_label, cmap=cmap, save=save, fps=float(fps),
        must_move=True,
    )  # fmt: skip


def _draw(
    W: Any,
    *,
    colors: Any,
    title: Any,
    titles: Any,
    n_rows: int | None,
    limits: Any,
    color_range: tuple[float, float] | None,
    color_label: str,
    cmap: str | Colormap,
    save: str | PathLike[str] | None,
    fps: float,
    must_move: bool = False,
) -> FeatureFigure:
    """Read everything, then draw, then write."""
    features = read_features(W)
    if must_move and not features.moving:
        raise InputError(
            f"{features} has no timesteps; [timestep instance 2 feature] is expected. "
            "plot_features_in_2d draws what stands still."
        )
    mapping = cmap if isinstance(cmap, Colormap) else matplotlib.colormaps.get(cmap)
    if mapping is None:
        raise InputError(
            f"cmap is {cmap!r}, no colour map of matplotlib.{nearest(str(cmap), matplotlib.colormaps)}"
        )
    path = None if save is None else Path(save)
    if path is not None:
        check_ending(path, moving=features.moving)
    plan = Plan(
        features=features,
        colors=read_colors(colors, features, color_range=color_range, cmap=mapping),
        cmap=mapping,
        color_label=color_label,
        title=read_title(title, features),
        titles=read_titles(titles, features),
        grid=grid(features.n_instances, n_rows),
        reaches=reaches(features, limits),
        fps=fps,
    )
    figure = FeatureFigure(plan)
    if path is not None:
        figure.save(path)
    return figure
