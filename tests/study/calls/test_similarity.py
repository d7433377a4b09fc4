"""How alike latents are, as a notebook call: across hook points, with and without texts, errors."""

from __future__ import annotations

import pandas as pd
import pytest
import torch
from tests.dictionaries.test_reading import dictionary
from tests.tiny import tiny_model

from tl_ext.activations.capture import capture
from tl_ext.dictionaries.dictionary import Dictionaries
from tl_ext.errors import DictionaryError, InputError
from tl_ext.models.hook_points import to_residual
from tl_ext.study.calls.similarity import feature_similarity

TEXTS = ["w5 w6 w7 w20", "w8 w6", "w30 w31 w32"]


@pytest.fixture(scope="module")
def dictionaries() -> Dictionaries:
    return Dictionaries(
        [dictionary("pre", "blocks.1.hook_resid_pre"), dictionary("z", "blocks.0.attn.hook_z")]
    )


def test_similarity_compares_across_hook_points_in_the_residual_stream(
    dictionaries: Dictionaries,
) -> None:
    model = tiny_model("gpt2")
    found = feature_similarity(model, dictionaries, {"pre": [3, 4], "z": [7]}, TEXTS)
    mapped = to_residual(model, "blocks.0.attn.hook_z", dictionaries["z"].directions[[7]])[0]
    expected = torch.nn.functional.cosine_similarity(
        dictionaries["pre"].directions[3], mapped, dim=0
    )
    assert float(found.matrices["cosine"][0, 2]) == pytest.approx(float(expected), abs=1e-5)
    rows = capture(model, TEXTS, dictionaries.hook_points).activations
    columns = torch.cat(
        [
            dictionaries["pre"].encode(rows["blocks.1.hook_resid_pre"])[:, [3, 4]],
            dictionaries["z"].encode(rows["blocks.0.attn.hook_z"])[:, [7]],
        ],
        dim=1,
    )
    correlation = pd.DataFrame(columns.numpy()).corr().to_numpy()
    assert found.matrices["correlation"].numpy() == pytest.approx(
        correlation, abs=1e-4, nan_ok=True
    )
    assert len(found.table) == 3
    assert found.figure("contributions").rows == ("L1 #3", "L1 #4", "L0 z #7")


def test_similarity_without_texts_is_of_directions_alone(dictionaries: Dictionaries) -> None:
    found = feature_similarity(tiny_model("gpt2"), dictionaries, {"pre": [3, 4]})
    assert list(found.matrices) == ["cosine"]
    with pytest.raises(InputError, match="where texts are given"):
        found.figure("correlation")


def test_bad_input_says_what_to_do(dictionaries: Dictionaries) -> None:
    model = tiny_model("gpt2")
    with pytest.raises(InputError, match="no latents"):
        feature_similarity(model, dictionaries, {"pre": []})
    with pytest.raises(InputError, match=r"40 latents, 0 to 39; \[40\]"):
        feature_similarity(model, dictionaries, {"pre": [40]})
    with pytest.raises(DictionaryError, match="pre"):
        feature_similarity(model, dictionaries, {"pree": [1]})
