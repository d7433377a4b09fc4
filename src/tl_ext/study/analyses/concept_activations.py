"""Which latents fire on a concept: Figs 1 and 5 of the exploration, and their numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from tl_ext.analysis.features import activation_table
from tl_ext.dictionaries.neuronpedia import ADDRESS
from tl_ext.report.marks import Panels, Stems, TableMark
from tl_ext.report.page import Figure
from tl_ext.study.analyses.readings import NAME as READINGS
from tl_ext.study.analyses.readings import Readings
from tl_ext.study.drawing.latents import latent_stems
from tl_ext.study.plan import DictionaryLabel, Plan

if TYPE_CHECKING:
    from torch import Tensor

    from tl_ext.study.session import Session

NAME = "concept_activations"
MAY = "That these latents are above zero at the word, by this much, on these texts."
MAY_NOT = (
    "That a latent means the concept: it may answer to the sentence's frame, to the part of speech "
    "or to position. The next section takes the frame out."
)


def collect(session: Session, needs: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Nothing beyond the readings."""
    return {}


def tabulate(tensors: Mapping[str, Mapping[str, Tensor]], plan: Plan) -> dict[str, pd.DataFrame]:
    """`concept_activations`: a row per dictionary, concept and latent that fired at its words."""
    readings = Readings(tensors[READINGS], plan)
    parts = []
    for one in plan.dictionaries:
        rate = readings.firing_rate(one.id).numpy()
        for concept in plan.concepts:
            table = activation_table(
                readings.latents(one.id, concept),
                dictionary=one.id,
                hook_point=one.hook_point,
                layer=one.layer,
                concept=concept.name,
                language=concept.language,
            )
            table["firing_rate"] = rate[table["latent"]]
            parts.append(table)
    return {NAME: pd.concat(parts, ignore_index=True)}


def draw(tables: Mapping[str, pd.DataFrame], plan: Plan) -> dict[str, Figure]:
    """Each concept at the focus layer (Fig 1), their strongest latents, and every layer (Fig 5)."""
    table, language = tables[NAME], plan.languages[0]
    focus = plan.by_id[plan.focus]
    stems = [
        concept_stems(table, focus, [(concept.name, language)], title=concept.label, top=plan.top)
        for concept in plan.in_language(language)
    ]
    first = plan.names[0]
    layers = [
        concept_stems(table, one, [(first, language)], title=f"layer {one.layer}", top=plan.top)
        for one in plan.residual or plan.dictionaries
    ]
    return {
        "concepts": Figure(
            Panels(
                title=f"Latents at each concept's word, {focus.hook_point}",
                panels=stems,
                columns=min(3, len(stems)),
            ),
            caption=(
                f"Mean activation over the texts ({plan.concepts[0].examples} for {first}); the "
                f"tokens of a word are joined by {plan.over_tokens}. The {plan.top} strongest are "
                "named."
            ),
            may=MAY,
            may_not=MAY_NOT,
        ),
        "strongest": Figure(
            TableMark(
                title="The strongest latents of each concept",
                data=strongest(table, plan, focus),
                first=30,
                formats={"activation": ".2f", "share": ".0%", "firing_rate": ".2%"},
            ),
            caption=(
                "`share`: of the texts it fires on. `firing_rate`: of background tokens it fires on; "
                "a latent that fires often says little about any one concept."
            ),
        ),
        "layers": Figure(
            Panels(title=f"Latents at {first!r} ({language}), layer by layer", panels=layers),
            caption=(
                "Indices of latents are labels without order: that the positions differ from layer "
                "to layer says nothing."
            ),
            may=MAY,
            may_not=(
                "Whether a latent of one layer is the counterpart of one in another: see the "
                "similarity across layers."
            ),
        ),
    }


def concept_stems(
    table: pd.DataFrame,
    dictionary: DictionaryLabel,
    concepts: Sequence[tuple[str, str]],
    *,
    title: str,
    top: int,
) -> Stems:
    """One dictionary's latents at the words of one concept or several.

    Args:
        table: `concept_activations`.
        dictionary: Which one.
        concepts: Name and language of each series.
        title: Of the figure.
        top: How many of each are named.
    """
    said = table.set_index(["concept", "language"]).index.isin(list(concepts))
    mine = table[(table["dictionary"] == dictionary.id) & said]
    return latent_stems(mine, length=dictionary.d_latent, title=title, top=top)


def strongest(table: pd.DataFrame, plan: Plan, dictionary: DictionaryLabel) -> pd.DataFrame:
    """The `plan.top` strongest latents of every concept in one dictionary, with their pages."""
    mine = table[table["dictionary"] == dictionary.id]
    best = mine.groupby(["concept", "language"], sort=False).head(plan.top)
    columns = ["concept", "language", "latent", "activation", "share", "firing_rate"]
    best = best[columns].reset_index(drop=True)
    if dictionary.neuronpedia:
        best["page"] = [f"{ADDRESS}/{dictionary.neuronpedia}/{latent}" for latent in best["latent"]]
    return best
