"""Where each concept's strongest latents are highest on background text, a dashboard each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from tl_ext.analysis.features import activation_table
from tl_ext.dictionaries.example_records import LatentExamples
from tl_ext.report.dashboard import Dashboards, digits
from tl_ext.report.page import Figure
from tl_ext.study.analyses.background import CONTEXTS
from tl_ext.study.analyses.background import NAME as BACKGROUND
from tl_ext.study.analyses.readings import NAME as READINGS
from tl_ext.study.analyses.readings import Readings
from tl_ext.study.calls.dashboards import context_records, drawn, statistics_record
from tl_ext.study.plan import Plan

if TYPE_CHECKING:
    from torch import Tensor

    from tl_ext.study.session import Session

NAME = "latent_examples"
MOST = 30
"""Dashboards on the page, so that many concepts do not make it endless."""
LISTS = ("histogram", "raised", "lowered", "tokens", "activations")
OF = ["concept", "language", "latent"]


def collect(session: Session, needs: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Nothing beyond the readings and the background."""
    return {}


def tabulate(tensors: Mapping[str, Mapping[str, Tensor]], plan: Plan) -> dict[str, pd.DataFrame]:
    """`latent_statistics`, a row per concept and latent; `latent_examples`, a row per context of each.

    Lists are JSON: tokens with their spaces, activations (null where not read), counts by bin.
    """
    readings = Readings(tensors[READINGS], plan)
    mine = LatentExamples(tensors[BACKGROUND])[plan.focus]
    statistics: list[dict[str, Any]] = []
    contexts: list[dict[str, Any]] = []
    for concept in plan.concepts:
        strongest = activation_table(readings.latents(plan.focus, concept)).head(plan.top)
        for latent, activation in zip(strongest["latent"], strongest["activation"], strict=True):
            of = {"concept": concept.name, "language": concept.language, "latent": int(latent)}
            record = statistics_record(mine, int(latent))
            statistics.append(of | {"at_its_words": float(activation)} | record)
            contexts += [of | one for one in context_records(mine, int(latent), CONTEXTS)]
    return {
        "latent_statistics": _table(statistics[:MOST], "at_its_words"),
        NAME: _table(contexts, "rank"),
    }


def _table(records: list[dict[str, Any]], more: str) -> pd.DataFrame:
    """Records as a table, lists as JSON; with its first columns where there are no records."""
    written = [
        {
            name: json.dumps(value, ensure_ascii=False) if name in LISTS else value
            for name, value in record.items()
        }
        for record in records
    ]
    return pd.DataFrame(written, columns=list(written[0]) if written else [*OF, more])


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {str(name): json.loads(one) if name in LISTS else one for name, one in record.items()}
        for record in table.to_dict("records")
    ]


def draw(tables: Mapping[str, pd.DataFrame], plan: Plan) -> dict[str, Figure]:
    """A dashboard per latent, those of one concept together."""
    statistics, contexts = _records(tables["latent_statistics"]), _records(tables[NAME])
    if not statistics:
        return {}
    latents = [
        drawn(
            one,
            [context for context in contexts if all(context[key] == one[key] for key in OF)],
            [
                (
                    f"mean at the words of {one['concept']} ({one['language']})",
                    digits(one["at_its_words"]),
                )
            ],
        )
        for one in statistics
    ]
    return {
        NAME: Figure(
            Dashboards(
                title=f"Latents of each concept on background text, {plan.by_id[plan.focus].hook_point}",
                latents=latents,
                groups=[f"{one['concept']} ({one['language']})" for one in statistics],
            ),
            caption=(
                f"The {plan.top} latents that are highest at each concept's words, and what they do "
                f"on {plan.background}. Each text is shown around the token (underlined) at which the "
                "latent is highest there; darker is higher, numbers appear on pointing at a token. "
                "Raised and lowered: the tokens at the ends of the logit lens, the decoder direction "
                "alone through the final norm and the unembedding. Quantiles are less than 4.5 % off. "
                "The folder `examples/` beside this page holds every latent of every dictionary: "
                "`tl-ext examples DICTIONARY:LATENT --out examples` shows one."
            ),
            may=(
                "Whether a latent that is high at a concept's words is high elsewhere too, and on what."
            ),
            may_not=[
                "What a latent means: the highest texts are its extreme, and most of the time it fires "
                "near its median.",
                "That a latent makes the model say the tokens it raises: later layers intervene. That "
                "is tested by steering.",
            ],
        )
    }
