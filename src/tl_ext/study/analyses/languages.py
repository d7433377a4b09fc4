"""One concept in two languages, in the residual stream and in attention: Figs 8, 9 and 10."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from tl_ext.report.marks import Bars, Panels, Series
from tl_ext.report.page import Figure
from tl_ext.study.analyses.concept_activations import NAME as ACTIVATIONS
from tl_ext.study.analyses.concept_activations import concept_stems
from tl_ext.study.analyses.shared_features import NAME as SHARED
from tl_ext.study.plan import DictionaryLabel, Plan

if TYPE_CHECKING:
    from torch import Tensor

    from tl_ext.study.session import Session

NAME = "languages"
MAY = "Which latents fire on both words, on one, and how strongly."
MAY_NOT = (
    "That a latent which fires on both is bilingual: control words in the same frames are not taken "
    "out here (the bars below do), and a weak activation may have no effect on what the model says."
)


def collect(session: Session, needs: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Nothing beyond the readings."""
    return {}


def tabulate(tensors: Mapping[str, Mapping[str, Tensor]], plan: Plan) -> dict[str, pd.DataFrame]:
    """No table of its own: it draws those of the concepts' activations and of what they share."""
    return {}


def draw(tables: Mapping[str, pd.DataFrame], plan: Plan) -> dict[str, Figure]:
    """The first concept in the first two languages: at the focus, and in every layer."""
    if len(plan.languages) < 2:
        return {}
    first, (one, other) = plan.names[0], plan.languages[:2]
    said = [(first, one), (first, other)]
    table, focus = tables[ACTIVATIONS], plan.by_id[plan.focus]
    title = f"{first!r} in {one} and {other}"
    figures = {
        "languages": Figure(
            concept_stems(table, focus, said, title=f"{title}, {focus.hook_point}", top=plan.top),
            caption=f"The tokens of a word are joined by {plan.over_tokens}.",
            may=MAY,
            may_not=MAY_NOT,
        )
    }
    for name, part, where in (
        ("attention", plan.attention, "attention"),
        ("residual", plan.residual, "the residual stream"),
    ):
        if part:
            figures[f"languages-{name}"] = Figure(
                Panels(
                    title=f"{title}, layer by layer in {where}",
                    panels=[
                        concept_stems(table, each, said, title=f"layer {each.layer}", top=plan.top)
                        for each in part
                    ],
                ),
                caption=f"The tokens of a word are joined by {plan.over_tokens}.",
                may=MAY,
                may_not=MAY_NOT,
            )
    counts = _counts(tables[SHARED], plan, said)
    if counts is not None:
        figures["languages-shared"] = counts
    return figures


def _counts(shared: pd.DataFrame, plan: Plan, said: Sequence[tuple[str, str]]) -> Figure | None:
    """How many latents belong to both words beyond their controls, by layer and hook point."""
    a, b = (f"{name} ({language})" for name, language in said)
    mine = shared[(shared["a"] == a) & (shared["b"] == b)]
    if mine.empty:
        return None
    parts: dict[str, Sequence[DictionaryLabel]] = {
        "residual stream": plan.residual,
        "attention": plan.attention,
        "MLP": plan.of_kind("mlp_out"),
    }
    layers = sorted({one.layer for one in plan.dictionaries})
    series = []
    for name, part in parts.items():
        if part:
            found = [
                int(((mine["dictionary"] == each.id) & (mine["kind"] == "shared")).sum())
                for each in part
            ]
            series.append(Series(name, [layers.index(each.layer) for each in part], found))
    if not series:
        return None
    return Figure(
        Bars(
            title=f"Latents that belong to both {a} and {b}",
            labels=[f"layer {layer}" for layer in layers],
            series=series,
            y="latents",
        ),
        caption=(
            "Fires on at least half of the texts of both and beyond the control words in both, each by "
            "its own 95 % interval. No bar: no such latent, or no dictionary there."
        ),
        may="Where dictionaries have latents that answer to the word in both languages.",
        may_not=(
            "That attention or the residual stream is where languages meet: the dictionaries differ in "
            "how well they reconstruct, and counts are not corrected for the number of latents."
        ),
    )
