"""Original weights, through `from_pretrained` and back through `save_pretrained`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.models.chatglm.checkpoints import write_checkpoint
from transformers import AutoModel, AutoModelForCausalLM

INV_FREQ = "transformer.rotary_pos_emb.inv_freq"


@pytest.mark.parametrize("shared_heads", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_a_saved_model_has_the_original_names_and_bytes(tmp_path, shared_heads, bias):
    options = {"multi_query_attention": shared_heads, "add_qkv_bias": bias}
    folder = write_checkpoint(tmp_path / "original", **options)
    model = AutoModelForCausalLM.from_pretrained(folder)

    model.save_pretrained(tmp_path / "saved")

    assert_same_weights(tmp_path / "saved", folder, left_out={INV_FREQ})


def test_the_decoder_alone_loads_and_saves_under_the_original_names(tmp_path):
    folder = write_checkpoint(tmp_path / "original")
    whole = AutoModelForCausalLM.from_pretrained(folder)
    decoder = AutoModel.from_pretrained(folder)
    ids = torch.tensor([[5, 7, 11]])
    with torch.no_grad():
        expected = whole.model(ids).last_hidden_state
        assert torch.equal(decoder(ids).last_hidden_state, expected)

    decoder.save_pretrained(tmp_path / "saved")

    left_out = {INV_FREQ, "transformer.output_layer.weight"}
    assert_same_weights(tmp_path / "saved", folder, left_out=left_out)


def assert_same_weights(saved: Path, original: Path, *, left_out: set[str]) -> None:
    expected = load_file(original / "model.safetensors")
    found = load_file(saved / "model.safetensors")
    assert set(found) == set(expected) - left_out
    assert all(torch.equal(found[name], expected[name]) for name in found)
