"""The numbers the exploration published, beside those of this run.

They hold for GPT-2 small with `gpt2-small-res-jb`. In a study of anything else, and where the hub
could not be reached, the column of this run says "not run".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from tl_ext.analysis.features import activation_table
from tl_ext.study.analyses import feature_similarity
from tl_ext.study.analyses.readings import Readings
from tl_ext.study.plan import Plan

MODEL_NAMES = ("gpt2", "gpt2-small", "openai-community/gpt2")
RELEASE = "res-jb"
NOT_RUN = "not run"


@dataclass(frozen=True)
class TopLatents:
    """The strongest latents of a concept at one hook point, in order.

    Attributes:
        concept: Its name; it is said in English.
        hook_point: Where.
        latents: Their indices, the strongest first.
        sentences: How many of the concept's first texts this run is compared on; None: all. The
            exploration gives its five sentences for happy, and they come first in the built-in concept.
    """

    concept: str
    hook_point: str
    latents: tuple[int, ...]
    sentences: int | None = None


@dataclass(frozen=True)
class Cosine:
    """The similarity of two latents, each given by layer and index."""

    first: tuple[int, int]
    second: tuple[int, int]
    value: float


TOP_LATENTS = (
    TopLatents("happy", "blocks.7.hook_resid_pre", (2392, 9840, 21753), sentences=5),
    TopLatents("sad", "blocks.7.hook_resid_pre", (2045, 23774, 10866)),
    TopLatents("excited", "blocks.7.hook_resid_pre", (8935, 9840, 3247)),
)
COSINES = (Cosine((1, 7683), (2, 13928), 0.939), Cosine((1, 7683), (7, 2392), 0.825))


def comparison(tables: Mapping[str, pd.DataFrame], readings: Readings, plan: Plan) -> pd.DataFrame:
    """Published numbers and this run's.

    Args:
        tables: `feature_similarity` of this run.
        readings: Latents at the words of this run's texts.
        plan: What this run is about.

    Returns:
        A row per published number: `what`, `published`, `this_run` ("not run" where this run is not
        about GPT-2 small with that release, or did not look at those latents).
    """
    comparable = plan.model in MODEL_NAMES and any(
        RELEASE in one.neuronpedia for one in plan.dictionaries
    )
    rows = []
    for top in TOP_LATENTS:
        here = _top(readings, plan, top) if comparable else None
        rows.append(
            {
                "what": f"strongest latents for {top.concept} at {top.hook_point}, "
                + (f"first {top.sentences} sentences" if top.sentences else "all sentences"),
                "published": ", ".join(map(str, top.latents)),
                "this_run": ", ".join(map(str, here)) if here else NOT_RUN,
            }
        )
    for cosine in COSINES:
        found = _cosine(tables[feature_similarity.NAME], cosine) if comparable else None
        (layer_a, a), (layer_b, b) = cosine.first, cosine.second
        rows.append(
            {
                "what": f"cosine of latent {a} of layer {layer_a} and {b} of layer {layer_b}",
                "published": f"{cosine.value:.3f}",
                "this_run": NOT_RUN if found is None else f"{found:.3f}",
            }
        )
    return pd.DataFrame(rows)


def _top(readings: Readings, plan: Plan, top: TopLatents) -> list[int]:
    """This run's strongest latents; none where it has no such concept or hook point."""
    ids = [one.id for one in plan.dictionaries if one.hook_point == top.hook_point]
    said = [one for one in plan.concepts if (one.name, one.language) == (top.concept, "en")]
    if not ids or not said:
        return []
    table = activation_table(readings.latents(ids[0], said[0])[: top.sentences])
    return [int(latent) for latent in table["latent"].head(len(top.latents))]


def _cosine(table: pd.DataFrame, cosine: Cosine) -> float | None:
    """The cosine in this run; None where it did not compare these two."""
    names = {
        f"blocks.{layer}.hook_resid_pre": latent for layer, latent in (cosine.first, cosine.second)
    }
    columns = ["hook_point_a", "latent_a", "hook_point_b", "latent_b", "cosine"]
    for point_a, a, point_b, b, value in table[columns].to_numpy():
        if {point_a: a, point_b: b} == names:
            return float(value)
    return None
