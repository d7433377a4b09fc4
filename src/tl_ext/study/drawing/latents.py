"""The figures that the study and the notebook calls both draw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from tl_ext.report.marks import Heatmap, Lines, Series, Stems
from tl_ext.study.plan import latent_name


def latent_stems(table: pd.DataFrame, *, length: int, title: str, top: int) -> Stems:
    """Activations over the latents of one dictionary, a series per concept and language.

    Args:
        table: Rows of `concept_activations` of that dictionary.
        length: Its number of latents.
        title: Of the figure.
        top: How many of each series are named.
    """
    groups = list(table.groupby(["concept", "language"], sort=False))
    series = [
        # Where there is one series, the title says whose it is.
        Series(
            f"{name} ({language})" if len(groups) > 1 else "mean activation",
            rows["latent"],
            rows["activation"],
        )
        for (name, language), rows in groups
    ]
    return Stems(
        title=title, series=series or [Series("none fired", [], [])], length=length, top=top
    )


def similarity_heatmap(
    values: Any, latents: pd.DataFrame, measure: str, *, title: str, groups: Sequence[str]
) -> Heatmap:
    """How alike latents are, by one measure.

    Args:
        values: `[latent latent]`, NaN where undefined.
        latents: A row per latent, in that order, with `hook_point` and `latent`.
        measure: What a cell says.
        title: Of the figure.
        groups: The group of each latent; lines are drawn between groups.
    """
    labels = [
        latent_name(hook_point, latent)
        for hook_point, latent in latents[["hook_point", "latent"]].to_numpy()
    ]
    return Heatmap(
        title=title,
        values=values,
        rows=labels,
        columns=labels,
        value_name=measure,
        row_groups=list(groups),
        column_groups=list(groups),
    )


def group_heatmap(
    pairs: pd.DataFrame,
    groups: Sequence[tuple[str, Sequence[int]]],
    measure: str,
    *,
    hook_point: str,
    title: str,
) -> Heatmap:
    """How alike the latents of several groups are, by one measure; a latent may stand in several.

    Args:
        pairs: A row per pair of latents, with `latent_a`, `latent_b` and the measure.
        groups: Their names and latents, in the order drawn.
        measure: What a cell says.
        hook_point: What the latents' dictionary reads.
        title: Of the figure.
    """
    known = {}
    for a, b, value in pairs[["latent_a", "latent_b", measure]].to_numpy():
        known[int(a), int(b)] = known[int(b), int(a)] = float(value)
    members = [(name, latent) for name, latents in groups for latent in latents]
    values = [
        [1.0 if a == b else known.get((a, b), float("nan")) for _, b in members] for _, a in members
    ]
    latents = pd.DataFrame({"hook_point": hook_point, "latent": [latent for _, latent in members]})
    return similarity_heatmap(
        values, latents, measure, title=title, groups=[name for name, _ in members]
    )


BOUNDS = {
    "null_99_firing_rate": "99 % of latents firing as often",
    "null_99_words": "99 % of other words' latents",
    "null_99_chance": "99 % of chance",
}
"""Columns of the nulls' 99th percentiles, and how figures call them."""


def counterpart_lines(table: pd.DataFrame, *, title: str) -> Lines:
    """How similar the counterparts of some latents are in every other layer, and what the nulls reach.

    Args:
        table: Rows of `counterparts` of one dictionary and measure: of one concept, or of one latent.
        title: Of the figure.
    """
    latents = [rows for _, rows in table.groupby("latent", sort=False)]
    series = [
        # Panels share a legend, so a line is named by its latent's place; the labels say which it is.
        Series(
            f"latent {place}",
            rows["other_layer"],
            rows["similarity"],
            labels=[
                f"{latent_name(point, mine)}: {other} #{theirs}"
                for point, mine, other, theirs in zip(
                    *(rows[name] for name in ("hook_point", "latent", "other", "counterpart")),
                    strict=True,
                )
            ],
        )
        for place, rows in enumerate(latents, start=1)
    ]
    series += [
        Series(name, latents[0]["other_layer"], latents[0][column])
        for column, name in BOUNDS.items()
        if column in table
    ]
    return Lines(title=title, series=series, x="other layer", y="similarity")
