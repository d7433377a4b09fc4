"""How much of one layer's dictionary is found again in the next layer's, beyond chance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING

import pandas as pd
import torch
from torch import Tensor
from tqdm.auto import tqdm

from tl_ext.analysis.matching import (
    STATISTICS,
    against_null,
    assign,
    pairs_verdict,
    statistics_table,
)
from tl_ext.analysis.nulls import benjamini_hochberg, decision
from tl_ext.report.marks import Lines, Panels, Series, TableMark
from tl_ext.report.page import Figure
from tl_ext.study.plan import DictionaryLabel, Plan

if TYPE_CHECKING:
    from tl_ext.study.session import Session

NAME = "dictionary_matching"
DRAWS = (
    59  # the smallest p is 1/60; adjusted, it stays below 0.05 where a third of the tests reach it
)


def pairs(plan: Plan) -> Iterator[tuple[DictionaryLabel, DictionaryLabel]]:
    """Each dictionary of the residual stream with the next."""
    yield from pairwise(plan.residual)


def settings() -> dict[str, int]:
    """What results depend on besides the session."""
    return {"draws": DRAWS}


def collect(session: Session, needs: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Nearest neighbours of each pair and of draws of chance, and the best assignment."""
    from tl_ext.models.hook_points import to_residual

    plan = session.plan
    stored: dict[str, Tensor] = {}
    for number, (one, other) in enumerate(
        tqdm(list(pairs(plan)), desc="matching", unit="pair", disable=not session.progress)
    ):
        first, second = (
            to_residual(session.model, each.hook_out, each.directions.detach().float())
            for each in (session.dictionaries[one.id], session.dictionaries[other.id])
        )
        found = against_null(first, second, draws=DRAWS, seed=plan.seed)
        best = assign(first, second)
        stored |= {
            f"{number}/statistics": torch.tensor(found.statistics.to_numpy()),
            f"{number}/nearest": found.observed.forward.cosine[:, 0],
            f"{number}/threshold": torch.tensor(found.threshold, dtype=torch.float64),
            f"{number}/total": torch.tensor([best.total, best.bound], dtype=torch.float64),
            f"{number}/exact": torch.tensor(best.method == "exact"),
            f"{number}/assigned": (best.index >= 0).sum(),
        }
    return stored


def tabulate(tensors: Mapping[str, Mapping[str, Tensor]], plan: Plan) -> dict[str, pd.DataFrame]:
    """`dictionary_matching`, a row per pair and statistic; `dictionary_assignment`, a row per pair;
    `dictionary_matching_chance`, a row per pair and draw of chance."""
    mine = tensors[NAME]
    tables, assignments, draws = [], [], []
    for number, (one, other) in enumerate(pairs(plan)):
        labels: dict[str, str | int] = {
            "a": one.id,
            "b": other.id,
            "layer_a": one.layer,
            "layer_b": other.layer,
        }
        told = pd.DataFrame(mine[f"{number}/statistics"].numpy(), columns=list(STATISTICS))
        tables.append(statistics_table("reflected", told).assign(**labels))
        draws.append(told[1:].assign(draw=range(1, len(told)), **labels))
        total, bound = mine[f"{number}/total"].tolist()
        count = int(mine[f"{number}/assigned"])
        assignments.append(
            {
                **labels,
                "latents_a": int((~mine[f"{number}/nearest"].isnan()).sum()),
                "threshold": float(mine[f"{number}/threshold"]),
                "assigned": count,
                "total": total,
                "bound": bound,
                "mean_cosine": total / count if count else float("nan"),
                "method": "exact" if mine[f"{number}/exact"] else "sparse",
            }
        )
    columns = ["a", "b", "layer_a", "layer_b"]
    if not tables:
        empty = pd.DataFrame(columns=columns)
        names = (NAME, "dictionary_assignment", "dictionary_matching_chance")
        return dict.fromkeys(names, empty)
    table = pd.concat(tables, ignore_index=True)
    table["p_adjusted"] = benjamini_hochberg(table["p"])
    table["decision"] = [
        decision(p, smallest)
        for p, smallest in table[["p_adjusted", "smallest_p"]].itertuples(index=False)
    ]
    rest = [name for name in table.columns if name not in columns]
    return {
        NAME: table[columns + rest],
        "dictionary_assignment": pd.DataFrame(assignments),
        "dictionary_matching_chance": pd.concat(draws, ignore_index=True),
    }


def draw(tables: Mapping[str, pd.DataFrame], plan: Plan) -> dict[str, Figure]:
    """Each statistic over the pairs, observed and by chance; the assignments as a table."""
    table = tables[NAME]
    if table.empty:
        return {}
    panels = []
    for name, meaning in STATISTICS.items():
        mine = table[table["statistic"] == name]
        panels.append(
            Lines(
                title=meaning.capitalize(),
                series=[
                    Series("observed", mine["layer_a"], mine["observed"]),
                    Series(
                        "chance, middle 95 % of draws",
                        mine["layer_a"],
                        mine["null_mean"],
                        mine["null_low"],
                        mine["null_high"],
                    ),
                ],
                x="layer, against the next",
                y=meaning,
            )
        )
    return {
        "matching": Figure(
            Panels(title="Latents found again in the next dictionary", panels=panels, columns=3),
            caption=(
                "Every latent of a residual-stream dictionary against all of the next one, by cosine "
                "of the decoder directions. Chance: the next dictionary with the signs of its principal "
                f"coordinates drawn anew, {DRAWS} times, which keeps its mean, its covariance and its "
                "clusters. Chance's own 99th percentile is taken over all sets but the one judged, so "
                "chance lies below 1 % where the observed set lies far above."
            ),
            may=pairs_verdict(table),
            may_not=(
                "That two latents whose directions are near mean the same, or do the same: directions "
                "are not activations. Neighbouring layers share most of the residual stream, so a "
                "counterpart is expected wherever a dictionary is any good.",
                "That half of the latents being mutual neighbours is much: of unrelated directions "
                "about half are.",
            ),
        ),
        "matching-assignment": Figure(
            TableMark(
                title="The best one-to-one assignment of latents",
                data=tables["dictionary_assignment"],
                formats={
                    "threshold": ".3f",
                    "total": ".1f",
                    "bound": ".1f",
                    "mean_cosine": ".3f",
                },
            ),
            caption=(
                "Every latent gets one of the next dictionary, none twice, so that the sum of cosines is "
                "largest. Bound: no assignment has a larger sum; the exact method reaches it. Threshold: "
                "the 99th percentile of the nearest cosine by chance."
            ),
            may="How alike the dictionaries are at best when no latent serves twice.",
            may_not="That every pair is a counterpart: latents without one are assigned too.",
        ),
    }
