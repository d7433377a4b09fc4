"""Figures that the study and the calls share: names, series, empty cells."""

from __future__ import annotations

import pandas as pd

from tl_ext.analysis.features import activation_table
from tl_ext.study.drawing.latents import latent_stems, similarity_heatmap
from tl_ext.study.plan import latent_name


def table(*concepts: str) -> pd.DataFrame:
    import torch

    latents = torch.tensor([[0.0, 2.0, 1.0], [0.0, 4.0, 0.0]])
    return pd.concat([activation_table(latents, concept=name, language="en") for name in concepts])


def test_a_single_series_leaves_its_name_to_the_title() -> None:
    alone = latent_stems(table("happy"), length=3, title="layer 1", top=1)
    assert alone.series_names == ("mean activation",)
    assert alone.labelled(alone.series[0]) == ((1, 3.0),)
    both = latent_stems(table("happy", "sad"), length=3, title="", top=1)
    assert both.series_names == ("happy (en)", "sad (en)")


def test_nothing_fired_is_drawn_as_nothing() -> None:
    assert latent_stems(table("happy").head(0), length=3, title="", top=1).series[0].x == ()


def test_latents_are_named_by_layer_and_what_they_read() -> None:
    assert latent_name("blocks.7.hook_resid_pre", 2392) == "L7 #2392"
    assert latent_name("blocks.7.attn.hook_z", 14) == "L7 z #14"
    assert latent_name("hook_embed", 3) == "hook_embed #3"


def test_an_undefined_similarity_is_an_empty_cell() -> None:
    latents = pd.DataFrame({"hook_point": ["blocks.0.hook_resid_pre"] * 2, "latent": [1, 2]})
    nan = float("nan")
    drawn = similarity_heatmap(
        [[1.0, nan], [nan, nan]], latents, "cosine", title="", groups=["a", "b"]
    )
    assert drawn.rows == ("L0 #1", "L0 #2")
    assert drawn.undefined == 3
