"""The published numbers fill in for GPT-2 small, and say "not run" elsewhere."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import torch

from tl_ext.study.analyses.readings import Readings
from tl_ext.study.plan import ConceptLabel, DictionaryLabel, Plan
from tl_ext.study.published import comparison

PLAN = Plan(
    model="gpt2",
    dictionaries=(
        DictionaryLabel(
            "a", "blocks.7.hook_resid_pre", 7, "resid_pre", 24576, "gpt2-small/7-res-jb"
        ),
    ),
    concepts=(ConceptLabel("happy", "en", 7, 0),),
    focus="a",
)
TABLES = {
    "feature_similarity": pd.DataFrame(
        {
            "hook_point_a": ["blocks.2.hook_resid_pre", "blocks.1.hook_resid_pre"],
            "latent_a": [13928, 7683],
            "hook_point_b": ["blocks.1.hook_resid_pre", "blocks.1.hook_resid_pre"],
            "latent_b": [7683, 1],
            "cosine": [0.9391, 0.5],
        }
    ),
}


def readings(latents: dict[int, list[float]], texts: int = 7) -> Readings:
    """Latents by index, one value a text; `texts` examples and no controls."""
    dense = torch.zeros(texts, 24576)
    for latent, values in latents.items():
        dense[:, latent] = torch.tensor(values)
    row, latent = dense.nonzero(as_tuple=True)
    return Readings({"a/row": row, "a/latent": latent, "a/value": dense[row, latent]}, PLAN)


# On the first five sentences as published; on all seven latent 5 is the strongest.
SEEN = readings(
    {2392: [9.0] * 5 + [0, 0], 9840: [7.0] * 5 + [0, 0], 5: [1.0] * 5 + [90, 90], 6: [0.5] * 7}
)


def test_what_was_run_stands_beside_what_was_published() -> None:
    rows = comparison(TABLES, SEEN, PLAN).set_index("published")["this_run"]
    assert rows["2392, 9840, 21753"] == "2392, 9840, 5"
    assert rows["2045, 23774, 10866"] == "not run"
    assert rows["0.939"] == "0.939"
    assert rows["0.825"] == "not run"


def test_another_model_or_release_is_not_compared() -> None:
    other = replace(PLAN, model="testbed")
    assert set(comparison(TABLES, SEEN, other)["this_run"]) == {"not run"}
    nameless = replace(PLAN, dictionaries=(replace(PLAN.dictionaries[0], neuronpedia=""),))
    assert set(comparison(TABLES, SEEN, nameless)["this_run"]) == {"not run"}
