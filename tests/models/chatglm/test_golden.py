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


@pytest.fixture(scope="module")
def golden(folder):
    return load_file(folder / "golden.safetensors")


@pytest.fixture(scope="module", params=["sdpa", "eager"])
def model(request, folder):
    return AutoModelForCausalLM.from_pretrained(folder, attn_implementation=request.param)


def close(found, expected):
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_logits_and_hidden_states(model, golden):
    with torch.no_grad():
        output = model(golden["main.input_ids"], output_hidden_states=True)

    close(output.logits, golden["main.logits"])
    for layer, found in enumerate(output.hidden_states[:-1]):
        close(found, golden[f"main.hidden_states.{layer}"])
    close(output.hidden_states[-1], golden["main.final_layernorm_out"])


@pytest.mark.parametrize("use_cache", [True, False])
def test_positions_with_gaps(model, golden, use_cache):
    ids, positions = golden["gapped.input_ids"], golden["gapped.position_ids"]
    with torch.no_grad():
        found = model(ids, position_ids=positions, use_cache=use_cache).logits

    close(found, golden["gapped.logits"])


def test_a_left_padded_batch(model, golden):
    ids, mask, positions = (
        golden[f"padded.{name}"] for name in ("input_ids", "attention_mask", "position_ids")
    )
    with torch.no_grad():
        found = model(ids, attention_mask=mask, position_ids=positions).logits

    close(found[mask == 1], golden["padded.logits"][mask == 1])


@pytest.mark.parametrize("part", ["greedy", "padded_greedy"])
def test_greedy_continuations_with_the_cache(model, golden, part):
    prompt, new = golden[f"{part}.prompt_ids"], golden[f"{part}.new_ids"]
    mask = golden.get(f"{part}.attention_mask", torch.ones_like(prompt))

    done = model.generate(
        prompt,
        attention_mask=mask,
        max_new_tokens=new.shape[1],
        do_sample=False,
        eos_token_id=-1,  # the golden continuations do not stop
        output_logits=True,
        return_dict_in_generate=True,
    )

    assert torch.equal(done.sequences[:, prompt.shape[1] :], new)
    close(torch.stack(done.logits, dim=1), golden[f"{part}.step_logits"])
