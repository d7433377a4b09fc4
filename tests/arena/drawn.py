"""Vectors to draw, and what stands on a panel: read back from the figure's artists."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection

W3 = np.random.default_rng(0).normal(size=(3, 2, 4))
W4 = np.random.default_rng(1).normal(size=(5, 3, 2, 4))


def points(axes: Axes) -> np.ndarray:
    """The points, `[feature 2]`."""
    (scatter,) = [one for one in axes.collections if isinstance(one, PathCollection)]
    return np.asarray(scatter.get_offsets())


def segments(axes: Axes) -> np.ndarray:
    """The lines, `[feature end 2]`."""
    (lines,) = [one for one in axes.collections if isinstance(one, LineCollection)]
    return np.array(lines.get_segments())


def face_colors(axes: Axes) -> np.ndarray:
    """The points' colours, `[feature 4]`; those of the lines are the same."""
    (scatter,) = [one for one in axes.collections if isinstance(one, PathCollection)]
    (lines,) = [one for one in axes.collections if isinstance(one, LineCollection)]
    found = np.asarray(scatter.get_facecolor())
    np.testing.assert_array_equal(found, np.asarray(lines.get_color()))
    return found
