"""How far the dictionaries can be trusted on this model, before anything is read off them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

import pandas as pd
from tqdm.auto import tqdm

from tl_ext.activations.store import tensor_text, text_tensor
from tl_ext.report.marks import TableMark
from tl_ext.report.page import Figure
from tl_ext.study.plan import Plan

if TYPE_CHECKING:
    from torch import Tensor

    from tl_ext.study.session import Session

NAME = "dictionary_quality"
REMARKS = 2  # on the page
COLUMNS = [
    *("dictionary", "fvu", "l0", "dead_share", "ce_recovered"),
    *("ce_clean", "ce_splice", "ce_zero", "n_tokens"),
]
TEXTS = 48  # about a thousand tokens, five forward passes for each dictionary


def settings() -> dict[str, int]:
    """What results depend on besides the session."""
    return {"texts": TEXTS}


def collect(session: Session, needs: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Evaluate every dictionary on background text."""
    from tl_ext.dictionaries.quality import evaluate_dictionary

    texts = list(session.background[:TEXTS])
    stored = {}
    for id, dictionary in tqdm(
        session.dictionaries.items(),
        desc="quality",
        unit="dictionary",
        disable=not session.progress,
    ):
        quality = evaluate_dictionary(
            session.model,
            dictionary,
            texts,
            batch_size=session.batch_size,
            max_tokens=session.plan.max_tokens,
        )
        rows = quality.to_frame().to_dict("records")
        told = {"rows": rows, "warnings": quality.warnings, "advice": quality.advice}
        stored[id] = text_tensor(json.dumps(told))
    return stored


def tabulate(tensors: Mapping[str, Mapping[str, Tensor]], plan: Plan) -> dict[str, pd.DataFrame]:
    """`dictionary_quality`: two rows per dictionary, with and without the first position."""
    rows = []
    for one in plan.dictionaries:
        told = json.loads(tensor_text(tensors[NAME][one.id]))
        remarks = " ".join([*told["warnings"], *told["advice"]])
        rows += [row | {"remarks": remarks} for row in told["rows"]]
    return {NAME: pd.DataFrame(rows)}


def draw(tables: Mapping[str, pd.DataFrame], plan: Plan) -> dict[str, Figure]:
    """One table, without the first position."""
    table = tables[NAME]
    content = table[table["tokens"] == "content"]
    remarks = [
        f"{id}: {told}" for id, told in content[["dictionary", "remarks"]].to_numpy() if told
    ]
    if len(remarks) > REMARKS:
        left = len(remarks) - REMARKS
        remarks = [
            *remarks[:REMARKS],
            f"So for {left} more dictionaries; the CSV file has all remarks.",
        ]
    shown = content[COLUMNS]
    return {
        "quality": Figure(
            TableMark(
                title="How well each dictionary reconstructs",
                data=shown,
                first=max(20, len(shown)),
                formats={
                    "fvu": ".3f",
                    "l0": ".1f",
                    "dead_share": ".1%",
                    "ce_clean": ".3f",
                    "ce_splice": ".3f",
                    "ce_zero": ".3f",
                    "ce_recovered": ".3f",
                },
            ),
            caption=(
                "FVU: fraction of variance unexplained. L0: latents active per token. Dead: never fired "
                "on these tokens. CE recovered: 1 where the reconstruction serves the model as well as "
                "the activation, 0 where no better than zeros. BOS, prefix and the first position are "
                "left out here; the CSV file has both. Measured on background text."
            ),
            may="How much of the activation the latents speak for.",
            may_not=(
                "That latents mean something: a good reconstruction can be made of meaningless "
                "directions. On text sampled from the model, quality can look better than on other "
                "text.",
                *remarks,
            ),
        )
    }
