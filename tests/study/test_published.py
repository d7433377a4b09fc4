"""The published numbers fill in for GPT-2 small, and say "not run" elsewhere."""

from __future__ import annotations

from dataclasses import replace

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
        DictionaryLabel(
            "one", "blocks.1.hook_resid_pre", 1, "resid_pre", 24576, "gpt2-small/1-res-jb"
        ),
        DictionaryLabel(
            "two", "blocks.2.hook_resid_pre", 2, "resid_pre", 24576, "gpt2-small/2-res-jb"
        ),
    ),
    concepts=(ConceptLabel("happy", "en", 7, 0),),
    focus="a",
)


class Directions:
    """A dictionary of which a few directions are known."""

    def __init__(self, known: dict[int, list[float]]) -> None:
        self.directions = torch.zeros(24576, 2)
        for latent, row in known.items():
            self.directions[latent] = torch.tensor(row)


DICTIONARIES = {
    "a": Directions({2392: [0.0, 1.0]}),
    "one": Directions({7683: [1.0, 0.0]}),
    "two": Directions({13928: [0.6, 0.8]}),
}


def readings(latents: dict[int, list[float]], texts: int = 7) -> Readings:
    """Latents by index, one value a text; `texts` examples and no controls."""
    dense = torch.zeros(texts, 24576)
    for latent, values in latents.items():
        dense[:, latent] = torch.tensor(values)
    row, latent = dense.nonzero(as_tuple=True)
    return Readings(
        {"a/sum/row": row, "a/sum/latent": latent, "a/sum/value": dense[row, latent]}, PLAN
    )


# On the first five sentences as published; on all seven latent 5 is the strongest.
SEEN = readings(
    {2392: [9.0] * 5 + [0, 0], 9840: [7.0] * 5 + [0, 0], 5: [1.0] * 5 + [90, 90], 6: [0.5] * 7}
)


def test_what_was_run_stands_beside_what_was_published() -> None:
    rows = comparison(SEEN, PLAN, DICTIONARIES).set_index("published")["this_run"]
    assert rows["2392, 9840, 21753"] == "2392, 9840, 5"
    assert rows["2045, 23774, 10866"] == "not run"
    assert rows["0.939"] == "0.600"
    assert rows["0.825"] == "0.000"


def test_another_model_or_release_is_not_compared() -> None:
    other = replace(PLAN, model="testbed")
    assert set(comparison(SEEN, other, DICTIONARIES)["this_run"]) == {"not run"}
    nameless = replace(
        PLAN, dictionaries=tuple(replace(one, neuronpedia="") for one in PLAN.dictionaries)
    )
    assert set(comparison(SEEN, nameless, DICTIONARIES)["this_run"]) == {"not run"}
