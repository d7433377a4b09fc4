"""Dictionaries in SAELens' folder format on a hooked ChatGLM and a hooked Qwen2, without SAELens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.both_families import (
    FAMILIES,
    HOOK_POINTS,
    assert_steers,
    documents,
    width_at,
    write_folder,
)
from tests.dictionaries.saved import config_of, save

import tl_ext
from tl_ext.models.loading import Processing


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = write_folder(tmp_path_factory.mktemp("model"), request.param)
    return tl_ext.load_model(folder, device="cpu")


def folder_of(folder: Path, point: str, W_enc: torch.Tensor, W_dec: torch.Tensor) -> Path:
    """A dictionary as SAELens saves it after training on a bridge."""
    d_in, d_sae = W_enc.shape
    metadata = {
        "model_name": "tiny",
        "model_class_name": "TransformerBridge",
        "model_from_pretrained_kwargs": {},
        "hook_name": point,
        "hook_head_index": None,
        "context_size": 32,
        "prepend_bos": True,
        "exclude_special_tokens": True,
        "sequence_separator_token": "bos",
        "disable_concat_sequences": False,
    }
    weights = {"W_enc": W_enc, "W_dec": W_dec, "b_enc": torch.zeros(d_sae)}
    weights["b_dec"] = torch.zeros(d_in)
    return save(folder, config_of(d_in=d_in, d_sae=d_sae, metadata=metadata), weights)


@pytest.mark.parametrize("point", HOOK_POINTS)
def test_the_identity_recovers_all_zeros_nothing_and_directions_steer(
    model: Any, point: str, tmp_path: Path
) -> None:
    width = width_at(model, point)
    eye = torch.eye(width)
    signs = torch.cat([eye, -eye])
    folder_of(tmp_path / "identity", point, signs.T, signs)
    folder_of(tmp_path / "zero", point, torch.zeros(width, 2), torch.zeros(2, width))
    texts = documents(12)
    same, zero = (
        tl_ext.load_dictionaries(tmp_path / name).at(point) for name in ("identity", "zero")
    )
    assert (same.hook_in, same.d_in, same.processing) == (point, width, Processing.RAW)
    quality = tl_ext.evaluate_dictionary(model, same, texts)
    assert quality.fvu == pytest.approx(0, abs=1e-6)
    for measures in (quality.content, quality.all_tokens):
        assert measures.ce_splice == pytest.approx(measures.ce_clean, abs=1e-5)
    none = tl_ext.evaluate_dictionary(model, zero, texts)
    assert none.content.ce_splice == pytest.approx(none.content.ce_zero, abs=1e-5)
    assert none.content.ce_zero != pytest.approx(none.content.ce_clean, abs=1e-5)
    assert_steers(model, same)
