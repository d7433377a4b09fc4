"""The counterpart of each of a concept's latents in every other layer, against three nulls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tl_ext.analysis.counterparts import (
    counterpart_tests,
    percentile,
)
from tl_ext.analysis.layers import mean_defined
from tl_ext.analysis.selection import matched_on_rate, resampled_top
from tl_ext.analysis.similarity import cosine
from tl_ext.report.marks import Lines, Panels
from tl_ext.report.page import Figure
from tl_ext.study.analyses.readings import NAME as READINGS
from tl_ext.study.analyses.readings import Readings
from tl_ext.study.analyses.similarity_null import NAME as WORDS
from tl_ext.study.collecting.layer_search import Family, families
from tl_ext.study.collecting.word_groups import null_words
from tl_ext.study.drawing.latents import counterpart_lines
from tl_ext.study.plan import ConceptLabel, Plan

if TYPE_CHECKING:
    from tl_ext.study.session import Session

NAME = "counterparts"
MEASURES = {
    "cosine": "cosine of the decoder directions",
    "correlation": "correlation of the activations",
}
DRAWS = 99  # of chance, and of the concepts' texts
MATCHES = 40  # latents that fire as often, for each of a concept's


def compared(plan: Plan) -> tuple[Family, ...]:
    """The dictionaries that are compared layer by layer."""
    return families({one.id: one.hook_point for one in plan.dictionaries})


def said_first(plan: Plan) -> tuple[ConceptLabel, ...]:
    """The concepts whose counterparts are tested: those of the first language."""
    return plan.in_language(plan.languages[0])


def settings() -> dict[str, int]:
    """What results depend on besides the session."""
    return {"draws": DRAWS, "matches": MATCHES}


def collect(session: Session, needs: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Counterparts of the top latents and of what they are held against; likeness across layers."""
    from tl_ext.study.collecting.layer_search import Reader, by_correlation, by_cosine

    plan = session.plan
    readings = Readings(needs[READINGS], plan)
    reader = Reader(
        session.model,
        session.dictionaries,
        batch_size=session.batch_size,
        max_tokens=plan.max_tokens,
        progress=session.bar("counterparts"),
    )
    tensors: dict[str, Tensor] = {}
    for family in compared(plan):
        groups = {
            id: _groups(readings, plan, id) | _beside(needs[WORDS], plan, id) for id in family.ids
        }
        latents = {id: _distinct(*each.values()) for id, each in groups.items()}
        tested = {
            id: _distinct(each["top"][: len(said_first(plan)), 0]) for id, each in groups.items()
        }
        among = {id: _distinct(each["top"], each["words"]) for id, each in groups.items()}
        drawn = {"draws": DRAWS, "seed": plan.seed}
        by_text, correlations = by_correlation(
            reader, family, latents, tested, among, session.background, **drawn
        )
        found = {
            "cosine": by_cosine(
                session.model, session.dictionaries, family, latents, tested, **drawn
            ),
            "correlation": by_text,
        }
        cosines = _cosines(session, family, among)
        for id in family.ids:
            tensors |= {f"{id}/{name}": each for name, each in groups[id].items()}
            tensors |= {f"{id}/latents": latents[id], f"{id}/tested": tested[id]}
            for measure, results in found.items():
                tensors |= {
                    f"{id}/{measure}/latent": results[id].latent,
                    f"{id}/{measure}/similarity": results[id].similarity,
                    f"{id}/{measure}/chance": results[id].chance,
                }
        for measure, matrices in (("cosine", cosines), ("correlation", correlations)):
            for group in ("top", "words"):
                tensors[f"{family.name}/{measure}/{group}"] = _likeness(
                    family, matrices, among, {id: each[group] for id, each in groups.items()}
                )
    return tensors


def _groups(readings: Readings, plan: Plan, id: str) -> dict[str, Tensor]:
    """The latents of concepts: `top` [concept draw k] and, for the first language, `matched`
    [concept k match], others that fire as often."""
    top = torch.stack(
        [
            resampled_top(
                readings.latents(id, concept), plan.top, draws=DRAWS, seed=plan.seed + place
            )
            for place, concept in enumerate(in_order(plan))
        ]
    )
    rate = readings.firing_rate(id)
    matched = [
        matched_on_rate(rate, one, MATCHES, seed=plan.seed)
        for one in top[: len(said_first(plan)), 0]
    ]
    return {"top": top, "matched": torch.stack(matched)}


def _beside(stored: Mapping[str, Tensor], plan: Plan, id: str) -> dict[str, Tensor]:
    """The latents of words of the first language: `beside` [concept 1+word k], the concept's own and
    those of the words nearest in frequency, all in the frames that they share; `words` [word k], each
    of these words once, in all frames."""
    language, concepts = plan.languages[0], said_first(plan)
    none = torch.empty(0, plan.top, dtype=torch.long)
    if f"{language}/log_frequency" not in stored:
        return {"beside": torch.full((len(concepts), 1, plan.top), -1), "words": none}
    candidates = stored[f"{id}/{language}/latents"].long()
    activations = stored[f"{id}/{language}/activations"]
    null = null_words(stored[f"{language}/log_frequency"], len(concepts))
    groups = []
    for place, words in enumerate(null):
        rows = torch.cat([torch.tensor([place]), words])
        mean = activations[rows][:, stored[f"{language}/frames/{place}"].long()].double().mean(1)
        value, order = mean.sort(dim=1, descending=True, stable=True)
        top = candidates[rows].gather(1, order).where(value > 0, -1)
        groups.append(top[:, : plan.top])
    return {
        "beside": torch.stack(groups),
        "words": candidates[torch.cat(null).unique(), : plan.top],
    }


def in_order(plan: Plan) -> tuple[ConceptLabel, ...]:
    """The concepts as the tensors hold them, those of the first language first."""
    first = said_first(plan)
    return (*first, *(one for one in plan.concepts if one not in first))


def _distinct(*groups: Tensor) -> Int[Tensor, " n"]:
    """Every latent of some groups once, in rising order."""
    every: Tensor = torch.cat([group.flatten() for group in groups]).unique()
    return every[every >= 0]


def _cosines(
    session: Session, family: Family, among: Mapping[str, Tensor]
) -> dict[tuple[str, str], Tensor]:
    from tl_ext.dictionaries.reading import residual_directions

    rows = {
        id: residual_directions(session.model, session.dictionaries[id], among[id]).cpu()
        for id in family.ids
    }
    return {
        (a, b): cosine(rows[a], rows[b])
        for place, a in enumerate(family.ids)
        for b in family.ids[place + 1 :]
    }


def _likeness(
    family: Family,
    matrices: Mapping[tuple[str, str], Float[Tensor, "a b"]],
    among: Mapping[str, Int[Tensor, " n"]],
    groups: Mapping[str, Int[Tensor, "*group k"]],
) -> Float[Tensor, "*group layer layer"]:
    """The mean similarity of a group's latents of one layer to its latents of another.

    Returns:
        For each group a symmetric matrix over the family's layers; NaN on the diagonal and where no
        similarity is defined.
    """
    size = len(family.ids)
    leading = next(iter(groups.values())).shape[:-1]
    found = torch.full((*leading, size, size), float("nan"), dtype=torch.float64)
    for (a, b), matrix in matrices.items():
        at_a, at_b = (torch.searchsorted(among[id], groups[id].clamp(min=0)) for id in (a, b))
        if not matrix.numel():
            continue
        at_a, at_b = at_a.clamp(max=len(matrix) - 1), at_b.clamp(max=matrix.shape[1] - 1)
        cells = matrix[at_a[..., :, None], at_b[..., None, :]]
        there = (groups[a] >= 0)[..., :, None] & (groups[b] >= 0)[..., None, :]
        mean: Tensor = cells.where(there, float("nan")).flatten(-2).nanmean(-1)
        i, j = family.ids.index(a), family.ids.index(b)
        found[..., i, j] = found[..., j, i] = mean
    return found


def values_of(
    tensors: Mapping[str, Tensor], id: str, measure: str, latents: Int[Tensor, "*group"]
) -> Float[np.ndarray, "*group other"]:
    """The similarity of latents to their counterparts in each dictionary of the family."""
    known = tensors[f"{id}/latents"]
    values = tensors[f"{id}/{measure}/similarity"]
    return _rows_at(values, known, latents).numpy()


def _rows_at(values: Float[Tensor, "..."], known: Tensor, wanted: Tensor) -> Tensor:
    """The rows of some latents; NaN for -1."""
    if not len(known):
        return torch.full((*wanted.shape, *values.shape[1:]), float("nan"), dtype=values.dtype)
    rows = values[torch.searchsorted(known, wanted.clamp(min=0)).clamp(max=len(known) - 1)]
    absent = (wanted < 0).reshape(*wanted.shape, *[1] * (values.ndim - 1))
    return rows.masked_fill(absent, float("nan"))


def pairs_of(family: Family) -> list[tuple[int, int]]:
    """From which layer to which: every ordered pair of places."""
    return [(a, b) for a in range(len(family.ids)) for b in family.others(family.ids[a])]


def concept_tests(
    tensors: Mapping[str, Tensor], family: Family, measure: str, place: int
) -> pd.DataFrame:
    """The tests of one concept, see [`counterpart_tests`][tl_ext.analysis.counterparts.counterpart_tests].

    Args:
        tensors: What `collect` gave.
        family: Which dictionaries.
        measure: "cosine" or "correlation".
        place: Of the concept among those of the first language.
    """
    parts: dict[str, list[np.ndarray]] = {}
    for id in family.ids:
        others = family.others(id)
        top = tensors[f"{id}/top"][place]
        chance = _rows_at(
            tensors[f"{id}/{measure}/chance"].transpose(0, 1), tensors[f"{id}/tested"], top[0]
        )
        by_name = {
            "resampled": values_of(tensors, id, measure, top)[..., others],
            "matched": values_of(tensors, id, measure, tensors[f"{id}/matched"][place])[
                ..., others
            ],
            # The concept itself in the words' frames, then the words.
            "words": values_of(tensors, id, measure, tensors[f"{id}/beside"][place])[..., others],
            "chance": chance.numpy().swapaxes(0, 1)[..., others],
        }
        for name, values in by_name.items():
            # Pairs of layers come before the latents: [group pair k] or, matched, [pair k match].
            axes = (2, 0, 1) if name == "matched" else (0, 2, 1)
            parts.setdefault(name, []).append(values.transpose(axes))
    along = {name: 0 if name == "matched" else 1 for name in parts}
    whole = {name: np.concatenate(each, axis=along[name]) for name, each in parts.items()}
    return counterpart_tests(
        whole["resampled"][0],
        chance=whole["chance"],
        matched=whole["matched"],
        words=whole["words"],
        resampled=whole["resampled"][1:],
    )


def likeness_of(
    tensors: Mapping[str, Tensor], plan: Plan, family: Family, measure: str
) -> dict[str, Float[np.ndarray, "draw layer layer"]]:
    """For each concept how alike its latents of two layers are, the mean over its languages.

    The first draw is of all texts, the others of texts drawn again with the latents selected anew.
    """
    every = tensors[f"{family.name}/{measure}/top"].numpy()
    said = [one.name for one in in_order(plan)]
    return {
        name: mean_defined(every[[place for place, one in enumerate(said) if one == name]], axis=0)
        for name in plan.names
    }


def tests_table(tensors: Mapping[str, Tensor], plan: Plan) -> pd.DataFrame:
    """Every concept's tests, with the layers they are about."""
    tables = []
    for family in compared(plan):
        pairs = pairs_of(family)
        for measure in MEASURES:
            for place, concept in enumerate(said_first(plan)):
                table = concept_tests(tensors, family, measure, place)
                ends = [pairs[pair] if pair >= 0 else None for pair in table.pop("pair")]
                labels: dict[str, str | list[int | str]] = {
                    "family": family.name,
                    "measure": measure,
                    "concept": concept.name,
                    "from_layer": [family.layers[one[0]] if one else "all" for one in ends],
                    "to_layer": [family.layers[one[1]] if one else "all" for one in ends],
                }
                for column, (name, value) in enumerate(labels.items()):
                    table.insert(column, name, value)
                tables.append(table)
    columns = ["family", "measure", "concept", "from_layer", "to_layer", "null", "share", "p"]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)


def tabulate(tensors: Mapping[str, Mapping[str, Tensor]], plan: Plan) -> dict[str, pd.DataFrame]:
    """`counterparts`, a row per latent, other layer and measure; `counterpart_tests`, a row per
    concept, pair of layers and null."""
    mine = tensors[NAME]
    rows: list[dict[str, object]] = []
    for family in compared(plan):
        for id in family.ids:
            for measure in MEASURES:
                rows += _rows(mine, plan, family, id, measure)
    columns = ["dictionary", "latent", "measure", "other"]
    return {
        NAME: pd.DataFrame(rows, columns=list(rows[0]) if rows else columns),
        "counterpart_tests": tests_table(mine, plan),
    }


def _rows(
    tensors: Mapping[str, Tensor], plan: Plan, family: Family, id: str, measure: str
) -> Iterator[dict[str, object]]:
    known, partner = tensors[f"{id}/latents"], tensors[f"{id}/{measure}/latent"]
    own = plan.by_id[id]
    for place, concept in enumerate(said_first(plan)):
        top = tensors[f"{id}/top"][place, 0]
        values = values_of(tensors, id, measure, top)
        nulls = {
            "null_99_firing_rate": values_of(tensors, id, measure, tensors[f"{id}/matched"][place]),
            "null_99_words": values_of(tensors, id, measure, tensors[f"{id}/beside"][place, 1:]),
            "null_99_chance": _rows_at(
                tensors[f"{id}/{measure}/chance"].transpose(0, 1), tensors[f"{id}/tested"], top
            ).numpy(),
        }
        for other in family.others(id):
            bounds = {name: percentile(each[..., other]) for name, each in nulls.items()}
            for at, latent in enumerate(top.tolist()):
                if latent < 0:
                    continue
                yield {
                    "dictionary": id,
                    "hook_point": own.hook_point,
                    "layer": own.layer,
                    "latent": latent,
                    "concept": concept.name,
                    "measure": measure,
                    "other": family.ids[other],
                    "other_layer": family.layers[other],
                    "counterpart": int(partner[torch.searchsorted(known, latent), other]),
                    "similarity": float(values[at, other]),
                    **bounds,
                }


def draw(tables: Mapping[str, pd.DataFrame], plan: Plan) -> dict[str, Figure]:
    """For each kind of hook point, counterparts of each concept's latents at the middle layer."""
    table = tables[NAME]
    figures = {}
    for family in compared(plan):
        mine = table[table["dictionary"] == _middle(family, plan)]
        panels = [
            counterpart_lines(part, title=f"{concept}, {measure}")
            for (measure, concept), part in mine.groupby(["measure", "concept"], sort=False)
        ]
        if panels:
            figures[f"counterparts-{family.name}"] = _figure(panels, family, plan)
    return figures


def _middle(family: Family, plan: Plan) -> str:
    """The dictionary nearest the focus layer."""
    focus = plan.by_id[plan.focus].layer
    near = min(range(len(family.ids)), key=lambda place: abs(family.layers[place] - focus))
    return family.ids[near]


def _figure(panels: Sequence[Lines], family: Family, plan: Plan) -> Figure:
    at = plan.by_id[_middle(family, plan)].hook_point
    return Figure(
        Panels(
            title=f"Counterparts of the top latents at {at} in every other layer",
            panels=panels,
            columns=3,
            share_y="all",
        ),
        caption=(
            f"The {plan.top} strongest latents at each concept, and how similar the most similar of all "
            "latents of each other layer is. Directions are compared in the residual stream, those at "
            "hook_z through W_O; a correlation's counterpart is chosen on every other background text "
            "and measured on the rest. Lines without points of their own are the 99th percentiles of "
            "the same similarity for other latents that fire as often, for the top latents at other "
            "words, and for chance: directions reflected, activations moved along the text."
        ),
        may=(
            "Which latents have a counterpart nearer than 99 in 100 come by chance. Whether there are more "
            "such than one in a hundred is tested over a concept's latents and all layers, not here."
        ),
        may_not=(
            "That a latent below the first two lines has no counterpart: other latents have counterparts "
            "too. Only chance says what having none looks like.",
            "That latents which fire alike mean alike: by chance the one knows nothing of the other's text, "
            "so that firing in the same language or at the same places is enough to exceed it.",
        ),
    )
