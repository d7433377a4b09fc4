"""What two concepts share beyond their frames, and what each has for itself: Fig 3."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import TYPE_CHECKING

import pandas as pd

from tl_ext.analysis.features import beyond_controls, shared_and_private
from tl_ext.report.marks import Bars, Panels, TableMark
from tl_ext.report.page import Figure
from tl_ext.study.analyses.readings import NAME as READINGS
from tl_ext.study.analyses.readings import Readings
from tl_ext.study.plan import ConceptLabel, Plan

if TYPE_CHECKING:
    from torch import Tensor

    from tl_ext.study.session import Session

NAME = "shared_features"
DRAWN = 12


def collect(session: Session, needs: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Nothing beyond the readings."""
    return {}


def pairs(plan: Plan) -> Iterator[tuple[ConceptLabel, ConceptLabel]]:
    """Two concepts of one language; one concept in two languages is the analysis `crosslingual`."""
    able = [one for one in plan.concepts if one.examples > 1 and one.controls > 1]
    for first, second in combinations(able, 2):
        if first.language == second.language:
            yield first, second


def tabulate(tensors: Mapping[str, Mapping[str, Tensor]], plan: Plan) -> dict[str, pd.DataFrame]:
    """`shared_features`, a row per dictionary, pair and latent; `shared_counts`, a row per pair."""
    readings = Readings(tensors[READINGS], plan)
    parts, counts = [], []
    for one in plan.dictionaries:
        differences = {
            concept: beyond_controls(
                readings.latents(one.id, concept, over_tokens="mean"),
                readings.latents(one.id, concept, "controls", over_tokens="mean"),
            )
            for concept in dict.fromkeys(concept for pair in pairs(plan) for concept in pair)
        }
        for first, second in pairs(plan):
            table = shared_and_private(
                differences[first], differences[second], readings.firing_rate(one.id)
            )
            labels: dict[str, str | int] = {
                "dictionary": one.id,
                "hook_point": one.hook_point,
                "layer": one.layer,
                "a": first.label,
                "b": second.label,
            }
            kinds = table["kind"].value_counts()
            counts.append(
                labels
                | {
                    kind.replace(" ", "_"): int(kinds.get(kind, 0))
                    for kind in ("shared", "private a", "private b", "frame")
                }
            )
            for place, (column, value) in enumerate(labels.items()):
                table.insert(place, column, value)
            parts.append(table)
    empty = pd.DataFrame(columns=["dictionary", "a", "b", "kind"])
    return {
        NAME: pd.concat(parts, ignore_index=True) if parts else empty,
        "shared_counts": pd.DataFrame(counts, columns=list(counts[0]) if counts else ["a", "b"]),
    }


def draw(tables: Mapping[str, pd.DataFrame], plan: Plan) -> dict[str, Figure]:
    """The latents shared by each pair of concepts at the focus layer, and how many there are."""
    table, language = tables[NAME], plan.languages[0]
    panels = []
    for first, second in pairs(plan):
        if first.language != language:
            continue
        mine = table[
            (table["dictionary"] == plan.focus)
            & (table["a"] == first.label)
            & (table["b"] == second.label)
            & (table["kind"].isin(["shared", "frame"]))
        ].head(DRAWN)
        if mine.empty:
            continue
        panels.append(
            Bars(
                title=f"{first.name} and {second.name}",
                labels=[
                    f"{latent}{'' if kind == 'shared' else ' (frame)'}"
                    for latent, kind in zip(mine["latent"], mine["kind"], strict=True)
                ],
                # One legend serves all panels, so it names places and the titles say who stands there.
                series={"the first": mine["activation_a"], "the second": mine["activation_b"]},
                y="activation",
            )
        )
    figures = {}
    if panels:
        figures["shared"] = Figure(
            Panels(
                title=f"Latents that fire on both of two concepts, {plan.by_id[plan.focus].hook_point}",
                panels=panels,
                columns=min(3, len(panels)),
                share_x="none",
            ),
            caption=(
                f"Fired on at least half of both concepts' texts; up to {DRAWN} by the smaller of the "
                "two activations, which are means over a word's tokens here. Marked (frame): no more at "
                "the concepts' words than at control words in the same sentences."
            ),
            may=(
                "An unmarked latent answers to both words more than to control words in the same "
                "frames, each by its own 95 % interval."
            ),
            may_not=[
                "That sharing beats chance: intervals are per latent and not corrected for the number "
                "of latents looked at.",
                "That a private latent does nothing at the other word: it was not shown to belong to "
                "it, which is less.",
            ],
        )
    if len(tables["shared_counts"]):
        counts = tables["shared_counts"]
        figures["shared-counts"] = Figure(
            TableMark(
                title="How many latents are shared and private",
                data=counts[counts["dictionary"] == plan.focus].drop(
                    columns=["dictionary", "hook_point", "layer"]
                ),
                first=30,
            ),
            caption=f"At {plan.by_id[plan.focus].hook_point}; every layer is in the CSV file.",
        )
    return figures
