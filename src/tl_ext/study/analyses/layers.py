"""The exploration's three claims about layers as tests, and similarity against layer distance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pandas as pd

from tl_ext.analysis import claims
from tl_ext.analysis.counterparts import Share
from tl_ext.analysis.layers import distance_profile, first_less_alike, mean_defined
from tl_ext.report.marks import Axis, Lines, Panels, Series, TableMark
from tl_ext.report.page import Figure
from tl_ext.study.analyses.counterparts import MEASURES, compared, likeness_of, tests_table
from tl_ext.study.analyses.counterparts import NAME as COUNTERPARTS
from tl_ext.study.collecting.layer_search import Family
from tl_ext.study.plan import Plan

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from tl_ext.study.session import Session

NAME = "layers"
ALL = "all concepts"


def collect(session: Session, needs: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Nothing beyond the counterparts."""
    return {}


def tabulate(tensors: Mapping[str, Mapping[str, Tensor]], plan: Plan) -> dict[str, pd.DataFrame]:
    """`layer_similarity`, a row per concept and pair of layers; `layer_distance`, a row per concept and
    distance; `layer_claims`, a row per claim and null."""
    mine = tensors[COUNTERPARTS]
    tests = tests_table(mine, plan)
    similarities, profiles, found, labels = [], [], [], []
    for family in compared(plan):
        for measure in MEASURES:
            label = {"family": family.name, "measure": measure}
            likeness = likeness_of(mine, plan, family, measure)
            similarities += _pairs(likeness, family, measure)
            profiles += _profiles(likeness, family, measure)
            part = tests[(tests["family"] == family.name) & (tests["measure"] == measure)]
            these = [
                *_exist(part),
                claims.nearby(_stacked(likeness), family.layers),
                claims.first(_first(likeness, family), "concept"),
            ]
            words = mine[f"{family.name}/{measure}/words"].numpy()
            if len(words):
                alone = [first_less_alike(one, family.layers) for one in words]
                these.append(claims.first(alone, "other word"))
            found += these
            labels += [label] * len(these)
    return {
        "layer_similarity": pd.concat(similarities, ignore_index=True)
        if similarities
        else pd.DataFrame(columns=["family", "measure", "concept"]),
        "layer_distance": pd.concat(profiles, ignore_index=True)
        if profiles
        else pd.DataFrame(columns=["family", "measure", "concept"]),
        "layer_claims": claims.claims_table(found, labels),
    }


def _exist(tests: pd.DataFrame) -> list[claims.Claim]:
    """Claim 1 against each null, over all pairs of layers."""
    together = tests[tests["from_layer"] == "all"]
    fields = list(Share._fields)
    return [
        claims.exist([Share(*row) for row in rows[fields].itertuples(index=False)], str(null))
        for null, rows in together.groupby("null", sort=False)
    ]


def _stacked(likeness: Mapping[str, np.ndarray]) -> np.ndarray:
    import numpy as np

    return np.stack(list(likeness.values()))


def _first(likeness: Mapping[str, np.ndarray], family: Family) -> list[float]:
    return [first_less_alike(one[0], family.layers) for one in likeness.values()]


def _pairs(likeness: Mapping[str, np.ndarray], family: Family, measure: str) -> list[pd.DataFrame]:
    layers = family.layers
    return [
        pd.DataFrame(
            {
                "family": family.name,
                "measure": measure,
                "concept": concept,
                "layer_a": layers[a],
                "layer_b": layers[b],
                "similarity": [values[0, a, b]],
            }
        )
        for concept, values in likeness.items()
        for a in range(len(layers))
        for b in range(a + 1, len(layers))
    ]


def _profiles(
    likeness: Mapping[str, np.ndarray], family: Family, measure: str
) -> list[pd.DataFrame]:
    every = {name: one[0] for name, one in likeness.items()}
    every[ALL] = mean_defined(_stacked(likeness)[:, 0], axis=0)
    tables = []
    for concept, values in every.items():
        table = distance_profile(values, family.layers)
        for place, (name, label) in enumerate(
            (("family", family.name), ("measure", measure), ("concept", concept))
        ):
            table.insert(place, name, label)
        tables.append(table)
    return tables


def draw(tables: Mapping[str, pd.DataFrame], plan: Plan) -> dict[str, Figure]:
    """The claims with their verdicts, and similarity against distance."""
    table, profile = tables["layer_claims"], tables["layer_distance"]
    if table.empty:
        return {}
    figures = {
        "layer_claims": Figure(
            _claims(table),
            caption=(
                "`value`: the share of latents above the null's 99th percentile, the change of similarity "
                "for each layer further apart, or the first layer's difference from pairs as far apart. "
                "`p` is adjusted for the measures and kinds of hook points that one question was asked "
                "of; `least p` is the smallest there could be, before that. Intervals, 95 %, are over "
                "concepts, over words, or over redrawn texts, as the CSV file says."
            ),
            may=claims.summary(table, ["family", "measure"]),
            may_not=(
                "That what is not shown is not there, least of all where the least p lies above 0.05.",
                "That latents of one concept are independent of one another: they were selected "
                "together. Only the words' null repeats the selection.",
                "That what holds over other words holds for these concepts.",
                "That being the first is why a first layer is less alike: another layer may be unlike the "
                "rest as well, for all words alike.",
            ),
        )
    }
    panels = [
        _distance(part, f"{family}, {measure}")
        for (family, measure), part in profile.groupby(["family", "measure"], sort=False)
        if len(part)
    ]
    if panels:
        figures["layer-distance"] = Figure(
            Panels(
                title="How alike a concept's latents are, by layer distance",
                panels=panels,
                columns=2,
            ),
            caption=(
                f"Mean similarity of a concept's {plan.top} strongest latents of one layer to those of "
                "another, over its languages. The band holds 95 % of the mean over concepts when whole "
                "layers are permuted. Correlations are over the half of the background that chose "
                "nothing."
            ),
            may="Whether latents of nearby layers are more alike than those of distant ones.",
            may_not=(
                "Why: the residual stream carries what one layer wrote to all later ones, so that nearby "
                "layers share most of what they hold."
            ),
        )
    return figures


def _claims(table: pd.DataFrame) -> TableMark:
    """The claims in few columns, what was asked of each question together."""
    together = table.groupby(["claim", "against"], sort=False).ngroup()
    rows = table.iloc[together.argsort(kind="stable")]
    columns = {
        "claim": "claim",
        "against": "against",
        "family": "at",
        "measure": "by",
        "decision": "decision",
        "value": "value",
        "low": "low",
        "high": "high",
        "p_adjusted": "p",
        "smallest": "least p",
    }
    return TableMark(
        title="Three claims about layers",
        data=rows[list(columns)].rename(columns=columns),
        first=len(rows),
        formats=dict.fromkeys(("value", "low", "high"), ".3f")
        | dict.fromkeys(("p", "least p"), ".2g"),
    )


def _distance(part: pd.DataFrame, title: str) -> Lines:
    series = []
    for concept, rows in part.groupby("concept", sort=False):
        band = {"low": rows["null_low"], "high": rows["null_high"]} if concept == ALL else {}
        series.append(Series(str(concept), rows["distance"], rows["similarity"], **band))
    return Lines(title=title, series=series, x="layers apart", y=Axis(title="mean similarity"))
