"""The numbers the exploration published, beside those of this run.

They hold for GPT-2 small with `gpt2-small-res-jb`. In a study of anything else, and where the hub
could not be reached, the column of this run says "not run".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from tl_ext.analysis.features import activation_table
from tl_ext.analysis.similarity import cosine
from tl_ext.dictionaries.dictionary import Dictionary
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


def comparison(
    readings: Readings, plan: Plan, dictionaries: Mapping[str, Dictionary]
) -> pd.DataFrame:
    """Published numbers and this run's.

    Args:
        readings: Latents at the words of this run's texts.
        plan: What this run is about.
        dictionaries: This run's, by id.

    Returns:
        A row per published number: `what`, `published`, `this_run` ("not run" where this run is not
        about GPT-2 small with that release).
    """
    comparable = plan.model in MODEL_NAMES
    at = {
        one.hook_point: one.id
        for one in plan.dictionaries
        if comparable and RELEASE in one.neuronpedia
    }
    rows = []
    for top in TOP_LATENTS:
        here = _top(readings, plan, at.get(top.hook_point), top)
        rows.append(
            {
                "what": f"strongest latents for {top.concept} at {top.hook_point}, "
                + (f"first {top.sentences} sentences" if top.sentences else "all sentences"),
                "published": ", ".join(map(str, top.latents)),
                "this_run": ", ".join(map(str, here)) or NOT_RUN,
            }
        )
    for one in COSINES:
        (layer_a, a), (layer_b, b) = one.first, one.second
        ids = [at.get(f"blocks.{layer}.hook_resid_pre") for layer in (layer_a, layer_b)]
        known = [
            dictionaries[id].directions[[index]]
            for id, index in zip(ids, (a, b), strict=True)
            if id
        ]
        rows.append(
            {
                "what": f"cosine of latent {a} of layer {layer_a} and {b} of layer {layer_b}",
                "published": f"{one.value:.3f}",
                "this_run": f"{float(cosine(*known)):.3f}" if len(known) == 2 else NOT_RUN,
            }
        )
    return pd.DataFrame(rows)


def _top(readings: Readings, plan: Plan, id: str | None, top: TopLatents) -> list[int]:
    """This run's strongest latents; none where it has no such concept or dictionary."""
    said = [one for one in plan.concepts if (one.name, one.language) == (top.concept, "en")]
    if id is None or not said:
        return []
    table = activation_table(readings.latents(id, said[0])[: top.sentences])
    return [int(latent) for latent in table["latent"].head(len(top.latents))]
