"""ARENA 3.0: `plot_features_in_2d` draws nothing, "x must be a sequence".

Inside the function's `update`, `markers[i][j].set_data(x, y)` is given two plain numbers.
Matplotlib 3.7 and 3.8 warn, 3.9 and later raise `RuntimeError: x must be a sequence`, for stills as
for animations. Upstream took the repair on 26 August 2024 (pull request 66); copies of the course
from before have the bug.

The file is in no package, so there is a patch for the course's tree and nothing to apply at run time.
[`tl_ext.plot_features_in_2d`][tl_ext.arena.plot_features_in_2d] draws the same figures, and
[`put_into`][tl_ext.fixes.arena.put_into] puts it in the place of the course's function.

The probe looks for `plot_features_in_2d` in every `utils.py` of the tree and runs that function, with
the functions beside it that it calls, on a small `W`; nothing else of the file is run, no window
opens, and pyplot is left alone.

Source: chapter1_transformer_interp/exercises/part4_superposition_and_saes/utils.py,
`plot_features_in_2d`.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tl_ext.fixes.extracts import defined
from tl_ext.fixes.probing import Finding, State

SLUG = "plot-features-in-2d-x-must-be-a-sequence"


def probe(tree: Path) -> Finding:
    """Draw a small `W` with each `plot_features_in_2d` of a source tree.

    Args:
        tree: The root of the course, or any folder that holds a `utils.py` of it.

    Returns:
        PRESENT where one of them refuses, ABSENT where all draw, UNKNOWN where there is none.
    """
    import torch

    drawn = []
    for file in sorted(tree.rglob("utils.py")):
        function = _defined(file.read_text(encoding="utf-8"))
        if function is None:
            continue
        name = file.relative_to(tree).as_posix()
        refusal = _refusal(function, torch.rand(1, 2, 3))
        if refusal:
            return Finding(State.PRESENT, f"{name} draws nothing: {refusal}")
        drawn.append(name)
    if not drawn:
        return Finding(State.UNKNOWN, "no utils.py of this tree defines plot_features_in_2d")
    return Finding(State.ABSENT, f"{' and '.join(drawn)} draws 3 features")


def _defined(source: str) -> Callable[..., Any] | None:
    """The function among the names that the course's file imports."""
    import matplotlib
    import numpy as np
    import torch
    from matplotlib.animation import FuncAnimation
    from matplotlib.widgets import Slider

    names: dict[str, Any] = {
        "np": np,
        "t": torch,
        "Tensor": torch.Tensor,
        "Arr": np.ndarray,
        "copy": copy.copy,
        "matplotlib": matplotlib,
        "plt": _Paper(),
        "Slider": Slider,
        "FuncAnimation": FuncAnimation,
        "set_matplotlib_backend": lambda backend: None,
    }
    return defined(source, "plot_features_in_2d", names)


def _refusal(function: Callable[..., Any], W: Any) -> str:
    """What matplotlib says against plain numbers; empty where it draws."""
    from matplotlib import MatplotlibDeprecationWarning

    with warnings.catch_warnings():
        warnings.simplefilter("error", MatplotlibDeprecationWarning)
        try:
            function(W)
        except (RuntimeError, MatplotlibDeprecationWarning) as error:
            if "sequence" not in str(error):
                raise
            return " ".join(str(error).split())
    return ""


class _Paper:
    """What the function asks of pyplot, on figures that pyplot does not know."""

    def __init__(self) -> None:
        import matplotlib

        self.cm = self.colormaps = matplotlib.colormaps

    def subplots(
        self, nrows: int = 1, ncols: int = 1, *, squeeze: bool = True, **options: Any
    ) -> tuple[Any, Any]:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self._figure = Figure(**options)
        FigureCanvasAgg(self._figure)
        return self._figure, self._figure.subplots(nrows, ncols, squeeze=squeeze)

    def axes(self, place: Any, **options: Any) -> Any:
        return self._figure.add_axes(place, **options)

    def get_cmap(self, name: str) -> Any:
        return self.colormaps[name]

    def show(self) -> None:
        pass

    def pause(self, seconds: float) -> None:
        pass
