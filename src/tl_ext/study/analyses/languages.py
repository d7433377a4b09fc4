"""One concept in two languages, in the residual stream and in attention: Figs 8, 9 and 10."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pandas as pd

from tl_ext.report.marks import Panels
from tl_ext.report.page import Figure
from tl_ext.study.analyses.concept_activations import NAME as ACTIVATIONS
from tl_ext.study.analyses.concept_activations import concept_stems
from tl_ext.study.plan import Plan

if TYPE_CHECKING:
    from torch import Tensor

    from tl_ext.study.session import Session

NAME = "languages"
MAY = "Which latents fire on both words, on one, and how strongly."
MAY_NOT = (
    "That a latent which fires on both is bilingual: control words in the same frames are not taken "
    "out here (the next section does), and a weak activation may have no effect on what the model says."
)


def collect(session: Session, needs: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Nothing beyond the readings."""
    return {}


def tabulate(tensors: Mapping[str, Mapping[str, Tensor]], plan: Plan) -> dict[str, pd.DataFrame]:
    """No table of its own: it draws that of the concepts' activations."""
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
    return figures
