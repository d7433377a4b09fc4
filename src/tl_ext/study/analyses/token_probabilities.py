"""How probable the exploration's sentence is to the model, token by token: Fig 7."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pandas as pd
import torch
from torch import Tensor

from tl_ext.activations.store import tensor_text, text_tensor
from tl_ext.analysis.tokens import probability_table
from tl_ext.report.marks import TokenText
from tl_ext.report.page import Figure
from tl_ext.study.plan import Plan

if TYPE_CHECKING:
    from tl_ext.study.session import Session

NAME = "token_probabilities"
TEXTS = (
    "J'ai obtenu la promotion que je voulais et je suis heureux.",
    "I got the promotion I wanted and I am happy.",
)


def settings() -> dict[str, object]:
    """What results depend on besides the session."""
    return {"texts": TEXTS}


def collect(session: Session, needs: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Logits and ids of each text; tokens as the bytes of their text."""
    from tl_ext.models.tokens import batch, token_strings

    tensors: dict[str, Tensor] = {}
    for number, text in enumerate(TEXTS):
        tokens = batch(session.model, [text])
        with torch.no_grad():
            logits = session.model(tokens.ids, **tokens.forward_arguments())[0].float().cpu()
        strings = token_strings(session.model.tokenizer, tokens.ids[0].tolist())
        tensors |= {
            f"{number}/logits": logits,
            f"{number}/ids": tokens.ids[0].cpu(),
            f"{number}/offset": tokens.offset[0].cpu(),
            f"{number}/strings": text_tensor("\0".join(strings)),
        }
    return tensors


def tabulate(tensors: Mapping[str, Mapping[str, Tensor]], plan: Plan) -> dict[str, pd.DataFrame]:
    """`token_probabilities`: a row per token of each text."""
    mine, parts = tensors[NAME], []
    for number, text in enumerate(TEXTS):
        strings = tensor_text(mine[f"{number}/strings"]).split("\0")
        table = probability_table(
            mine[f"{number}/logits"],
            mine[f"{number}/ids"],
            strings,
            skip=int(mine[f"{number}/offset"]),
        )
        table.insert(0, "text", text)
        parts.append(table)
    return {NAME: pd.concat(parts, ignore_index=True)}


def draw(tables: Mapping[str, pd.DataFrame], plan: Plan) -> dict[str, Figure]:
    """Each text, coloured by probability."""
    figures = {}
    for number, (text, table) in enumerate(tables[NAME].groupby("text", sort=False)):
        figures[f"tokens-{number + 1}"] = Figure(
            TokenText(title=str(text), tokens=table["string"], values=table["probability"]),
            caption="The probability of each token given those before it.",
            may="Which tokens the model expects and which surprise it.",
            may_not=(
                "That the model knows the word: a word of several tokens is as probable as the product "
                "of all of them, and its first token may belong to another word."
            ),
        )
    return figures
