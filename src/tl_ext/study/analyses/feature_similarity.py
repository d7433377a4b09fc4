"""How alike a concept's strongest latents are, within a layer and across layers: Figs 4 and 6."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pandas as pd
import torch
from torch import Tensor

from tl_ext.analysis import similarity
from tl_ext.analysis.features import activation_table
from tl_ext.report.marks import Heatmap
from tl_ext.report.page import Figure
from tl_ext.study.analyses.readings import NAME as READINGS
from tl_ext.study.analyses.readings import Readings
from tl_ext.study.drawing.latents import similarity_heatmap
from tl_ext.study.plan import DictionaryLabel, Plan

if TYPE_CHECKING:
    from tl_ext.study.session import Session

NAME = "feature_similarity"
MEASURES = {
    "cosine": "cosine of the decoder directions",
    "correlation": "correlation of the activations over background text",
    "contributions": "cosine of the contributions over background text",
}
MAY_NOT = (
    "That the top latents are more alike than chance: they were chosen because they fire at one "
    "word, and latents chosen so are alike even with random decoders. The next part compares them "
    "with latents chosen in the same way at other words."
)


def groups(readings: Readings, plan: Plan) -> pd.DataFrame:
    """The latents compared: of every dictionary the top latents at every concept of the first language,
    and random live ones.

    Returns:
        A row per latent: `dictionary`, `hook_point`, `layer`, `latent`, `group` ("happy", ..., or
        "random").
    """
    rows = []
    for place, one in enumerate(plan.dictionaries):
        taken: list[int] = []
        for concept in plan.in_language(plan.languages[0]):
            best = activation_table(readings.latents(one.id, concept))["latent"].head(plan.top)
            fresh = [int(latent) for latent in best if int(latent) not in taken]
            taken += fresh
            rows += [_row(one, latent, concept.name) for latent in fresh]
        chosen = similarity.random_live(
            readings.firing_rate(one.id),
            plan.contrast,
            seed=plan.seed + place,
            leave_out=torch.tensor(taken, dtype=torch.long),
        )
        rows += [_row(one, int(latent), "random") for latent in chosen]
    return pd.DataFrame(rows, columns=["dictionary", "hook_point", "layer", "latent", "group"])


def _row(dictionary: DictionaryLabel, latent: int, group: str) -> dict[str, object]:
    return {
        "dictionary": dictionary.id,
        "hook_point": dictionary.hook_point,
        "layer": dictionary.layer,
        "latent": latent,
        "group": group,
    }


def collect(session: Session, needs: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Directions of the compared latents in the residual stream, and their activations over text."""
    from tl_ext.dictionaries.reading import chosen_latents, residual_directions

    compared = groups(Readings(needs[READINGS], session.plan), session.plan)
    if compared.empty:
        return {"activations": torch.zeros(2, 0), "directions": torch.zeros(0, 1)}
    chosen = {
        str(id): torch.tensor(part["latent"].tolist())
        for id, part in compared.groupby("dictionary", sort=False)
    }
    activations = chosen_latents(
        session.model,
        session.dictionaries,
        session.background,
        chosen,
        batch_size=session.batch_size,
        max_tokens=session.plan.max_tokens,
        progress=session.bar("similarity"),
    )
    directions = [
        residual_directions(session.model, session.dictionaries[id], latents).cpu()
        for id, latents in chosen.items()
    ]
    return {
        "activations": torch.cat(list(activations.values()), dim=1),
        "directions": torch.cat(directions),
    }


def tabulate(tensors: Mapping[str, Mapping[str, Tensor]], plan: Plan) -> dict[str, pd.DataFrame]:
    """`feature_similarity`, a row per pair of latents; `compared_latents`, a row per latent."""
    compared = groups(Readings(tensors[READINGS], plan), plan)
    activations, directions = (tensors[NAME][part] for part in ("activations", "directions"))
    return {
        "compared_latents": compared,
        NAME: similarity.pair_table(compared, similarity.measures(directions, activations)),
    }


def draw(tables: Mapping[str, pd.DataFrame], plan: Plan) -> dict[str, Figure]:
    """Within the focus layer (Fig 4), and across the residual stream's layers (Fig 6)."""
    compared, table = tables["compared_latents"], tables[NAME]
    if table.empty:
        return {}
    first = plan.names[0]
    within = compared[
        (compared["dictionary"] == plan.focus) & compared["group"].isin([first, "random"])
    ]
    residual = {one.id for one in plan.residual or plan.dictionaries}
    across = compared[compared["dictionary"].isin(residual) & (compared["group"] == first)]
    figures = {}
    for measure, meaning in MEASURES.items():
        figures[f"similarity-within-{measure}"] = Figure(
            _heatmap(
                table,
                within,
                measure,
                title=f"{meaning.capitalize()}, {plan.by_id[plan.focus].hook_point}",
                groups=within["group"].tolist(),
            ),
            caption=(
                f"The {plan.top} strongest latents at {first!r} beside {plan.contrast} random live "
                "ones. Empty: undefined, such as a latent that never fired on the background or a hook "
                "point without an image in the residual stream."
            ),
            may="How alike these latents are by this measure.",
            may_not=MAY_NOT,
        )
    for measure in ("cosine", "correlation"):
        figures[f"similarity-across-{measure}"] = Figure(
            _heatmap(
                table,
                across,
                measure,
                title=f"{MEASURES[measure].capitalize()}, across layers",
                groups=[f"layer {layer}" for layer in across["layer"]],
            ),
            caption=(
                f"The {plan.top} strongest latents at {first!r} in every layer of the residual "
                "stream."
            ),
            may="Which latents of different layers point or fire alike.",
            may_not=(
                "That two latents are one feature, or that a pattern of the whole figure beats "
                "chance: no null is drawn here."
            ),
        )
    return figures


def _heatmap(
    table: pd.DataFrame, latents: pd.DataFrame, measure: str, *, title: str, groups: Sequence[str]
) -> Heatmap:
    """The square of one measure between some latents, in the order given; 1 on the diagonal."""
    names = list(zip(latents["dictionary"], latents["latent"], strict=True))
    place = {name: index for index, name in enumerate(names)}
    square = torch.full((len(names), len(names)), float("nan"), dtype=torch.float64)
    for row in table.itertuples(index=False):
        a = place.get((row.dictionary_a, row.latent_a))
        b = place.get((row.dictionary_b, row.latent_b))
        if a is not None and b is not None:
            square[a, b] = square[b, a] = getattr(row, measure)
    # A latent with any defined similarity is exactly like itself; one with none stays undefined.
    defined = ~square.isnan().all(dim=1)
    square[defined, defined] = 1.0
    return similarity_heatmap(square.tolist(), latents, measure, title=title, groups=groups)
