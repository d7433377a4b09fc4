"""Features of toy models drawn in two dimensions, as stills and as animations.

The figures are those of ARENA's chapter on superposition and of "Toy Models of Superposition": a line
from the origin to each feature's vector, a panel per instance of the model. The functions are ours;
[`tl_ext.fixes.arena`][tl_ext.fixes.arena] puts them in the place of the course's.
"""

from __future__ import annotations

from tl_ext.arena.drawing import FeatureFigure
from tl_ext.arena.plots import animate_features_in_2d, plot_features_in_2d

__all__ = ["FeatureFigure", "animate_features_in_2d", "plot_features_in_2d"]
