"""What the others read: every latent at every concept's words, and on background text.

One pass over all texts of all concepts for each way of joining a word's tokens and one over the
background, for all dictionaries at once.
Latents are sparse, so they are stored as row, latent and value of what is not zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from tl_ext.dictionaries.example_records import LatentExamples
from tl_ext.study.analyses import background
from tl_ext.study.analyses.background import NAME as BACKGROUND
from tl_ext.study.plan import ConceptLabel, Plan

if TYPE_CHECKING:
    from tl_ext.report.page import Figure
    from tl_ext.study.session import Session

NAME = "readings"


@dataclass(frozen=True, eq=False)
class Readings:
    """Stored readings, by name instead of by key.

    Attributes:
        tensors: As `collect` made them.
        plan: What they are about.
    """

    tensors: Mapping[str, Tensor]
    plan: Plan

    @cached_property
    def _rows(self) -> dict[tuple[str, str, str], tuple[int, int]]:
        """Where each concept's examples and controls stand among all texts."""
        ranges, start = {}, 0
        for concept in self.plan.concepts:
            for part, count in (("examples", concept.examples), ("controls", concept.controls)):
                ranges[concept.name, concept.language, part] = (start, start + count)
                start += count
        return ranges

    def latents(
        self,
        id: str,
        concept: ConceptLabel,
        part: str = "examples",
        *,
        over_tokens: str | None = None,
    ) -> Float[Tensor, "text d_latent"]:
        """A dictionary's latents at a concept's words, or at its control words.

        Args:
            id: The dictionary.
            concept: The concept in one language.
            part: "examples" or "controls".
            over_tokens: How the tokens of a word are joined: None as the plan says, or "mean", the one
                to compare words with: a sum is larger for a word of more tokens.
        """
        joined = over_tokens or self.plan.over_tokens
        start, end = self._rows[concept.name, concept.language, part]
        row, latent, value = (
            self.tensors[f"{id}/{joined}/{name}"] for name in ("row", "latent", "value")
        )
        mine = (row >= start) & (row < end)
        dense = torch.zeros(end - start, self.plan.by_id[id].d_latent)
        dense[row[mine].long() - start, latent[mine].long()] = value[mine]
        return dense

    def firing_rate(self, id: str) -> Float[Tensor, " d_latent"]:
        """Share of background tokens on which each latent is above 0."""
        return self.tensors[f"{id}/firing_rate"]

    def largest(self, id: str) -> Float[Tensor, " d_latent"]:
        """Each latent's largest activation on background text."""
        return self.tensors[f"{id}/largest"]

    def usual_norm(self, id: str) -> float:
        """Median length of the activations the dictionary reads."""
        return float(self.tensors[f"{id}/usual_norm"])

    @property
    def tokens(self) -> int:
        """How many background tokens were read."""
        return int(self.tensors["tokens"])


def collect(session: Session, needs: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Read every concept's texts; the background has been read before, or is now."""
    from tl_ext.dictionaries.reading import word_latents

    examples = [
        example
        for concept in session.concepts
        for part in (concept.examples, concept.controls)
        for example in part
    ]
    tensors: dict[str, Tensor] = {}
    for joined in dict.fromkeys((session.plan.over_tokens, "mean")):
        latents = word_latents(
            session.model,
            session.dictionaries,
            examples,
            over_tokens=joined,  # type: ignore[arg-type]
            batch_size=session.batch_size,
            progress=session.bar(f"concepts, {joined}"),
        )
        for id, rows in latents.items():
            row, latent = rows.nonzero(as_tuple=True)
            tensors |= {
                f"{id}/{joined}/row": row.int(),
                f"{id}/{joined}/latent": latent.int(),
                f"{id}/{joined}/value": rows[row, latent],
            }
    found = LatentExamples(needs.get(BACKGROUND) or background.collect(session, {}))
    tensors["tokens"] = torch.tensor(found.tokens)
    for id, one in found.items():
        tensors |= {
            f"{id}/firing_rate": one.firing_rate,
            f"{id}/largest": one.largest,
            f"{id}/usual_norm": torch.tensor(one.usual_norm),
        }
    return tensors


def tabulate(tensors: Mapping[str, Mapping[str, Tensor]], plan: Plan) -> dict[str, pd.DataFrame]:
    """A row per dictionary: how much of it is alive on background text."""
    readings = Readings(tensors[NAME], plan)
    rows = []
    for one in plan.dictionaries:
        rate = readings.firing_rate(one.id)
        rows.append(
            {
                "dictionary": one.id,
                "hook_point": one.hook_point,
                "layer": one.layer,
                "latents": one.d_latent,
                "live_share": float((rate > 0).float().mean()),
                "latents_per_token": float(rate.sum()),
                "usual_norm": readings.usual_norm(one.id),
                "background_tokens": readings.tokens,
            }
        )
    return {"dictionaries": pd.DataFrame(rows)}


def draw(tables: Mapping[str, pd.DataFrame], plan: Plan) -> dict[str, Figure]:
    """Nothing is drawn; the readings appear in the figures that need them."""
    return {}
