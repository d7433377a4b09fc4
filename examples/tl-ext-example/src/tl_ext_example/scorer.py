"""A score of generated texts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from tl_ext.steering.generations import Generations


def words(generations: Generations) -> pd.Series[float]:
    """How many words each generation has."""
    return pd.Series([float(len(text.split())) for text in generations.texts], name="example_words")


def words_to_unit(scores: pd.Series[float]) -> pd.Series[float]:
    """Twenty words or more count as 1."""
    return (scores / 20).clip(upper=1.0)
