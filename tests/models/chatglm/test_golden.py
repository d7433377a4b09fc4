"""The values that the original code gives, at Hugging Face's level."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM


@pytest.fixture(scope="module", params=["A_chatglm3", "B_kv_channels_mqa1"])
def folder(request, shared):
    folder = shared / "fixtures" / "chatglm" / request.param
    if not folder.is_dir():
        pytest.skip(f"needs the golden model at {folder}")
    return folder


@pytest.fixture(scope="module", params=["sdpa", "eager"])
def model(request, folder):
    return AutoModelForCausalLM.from_pretrained(folder, attn_implementation=request.param)


def test_logits_and_hidden_states(model, folder):
    golden = load_file(folder / "golden.safetensors")
    with torch.no_grad():
        output = model(golden["main.input_ids"], output_hidden_states=True)

    torch.testing.assert_close(output.logits, golden["main.logits"], atol=1e-4, rtol=0)
    for layer, found in enumerate(output.hidden_states[:-1]):
        torch.testing.assert_close(found, golden[f"main.hidden_states.{layer}"], atol=1e-4, rtol=0)
    last = golden["main.final_layernorm_out"]
    torch.testing.assert_close(output.hidden_states[-1], last, atol=1e-4, rtol=0)
