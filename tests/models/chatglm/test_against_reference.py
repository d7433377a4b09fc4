"""Drawn checkpoints in the original layout, through transformers and TransformerLens, against the oracle."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.models.chatglm.checkpoints import write_checkpoint
from tests.models.chatglm.drawn import Drawn, drawn
from tests.models.chatglm.golden import assert_close
from tests.models.chatglm.reference import Reference, read_weights
from torch import Tensor
from transformers import AutoModelForCausalLM

# Each example writes a checkpoint and loads it.
EXAMPLES = settings.default.max_examples // 2


@contextmanager
def written(example: Drawn) -> Iterator[Path]:
    with TemporaryDirectory() as folder:
        yield example.write(Path(folder) / "model")


def load(folder: Path, dtype: torch.dtype, attention: str) -> torch.nn.Module:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation=attention)
    return model.eval()


@given(drawn(), st.sampled_from(["sdpa", "eager"]), st.sampled_from([torch.float32, torch.float64]))
@settings(max_examples=EXAMPLES)
def test_every_output_of_transformers(example: Drawn, attention: str, dtype: torch.dtype) -> None:
    # Eager attention masks with the lowest double and takes the softmax of floats: all -inf there.
    assume(attention == "sdpa" or dtype == torch.float32 or not example.starts_with_padding)
    with written(example) as folder:
        want = example.reference(folder).forward(example.input_ids, **example.inputs)
        model = load(folder, dtype, attention)
        with torch.no_grad():
            got = model(
                example.input_ids,
                **example.inputs,
                output_hidden_states=True,
                output_attentions=attention == "eager",
            )
    rows = example.attention_mask.bool()
    # GLM takes norms in single precision whatever the weights are.
    atol = 1e-4 if dtype == torch.float32 else 2e-5
    layers = example.config["num_layers"]
    assert got.logits.dtype == dtype
    assert_close(got.logits, want["logits"], "logits", rows, atol)
    for layer in range(layers):
        name = f"hidden_states.{layer}"
        assert_close(got.hidden_states[layer], want[name], name, rows, atol)
    last = got.hidden_states[layers]
    assert_close(last, want["final_layernorm_out"], "final_layernorm_out", rows, atol)
    for layer, pattern in enumerate(got.attentions or ()):
        name = f"layers.{layer}.attn_probs"
        assert_close(pattern.transpose(1, 2), want[name].transpose(1, 2), name, rows, atol)


@given(drawn(), st.integers(1, 6))
@settings(max_examples=EXAMPLES)
def test_greedy_continuations_with_the_cache(example: Drawn, steps: int) -> None:
    mask = example.attention_mask.sort(-1).values  # padding on the left
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    with written(example) as folder:
        ids, logits = example.reference(folder).greedy(example.input_ids, steps, mask, positions)
        best = logits.topk(2).values
        assume(bool(((best[..., 0] - best[..., 1]) > 1e-3).all()))
        found = load(folder, torch.float32, "sdpa").generate(
            example.input_ids,
            attention_mask=mask,
            max_new_tokens=steps,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
            return_dict_in_generate=True,
            output_logits=True,
        )
    assert found.sequences[:, example.input_ids.shape[1] :].equal(ids)
    assert_close(torch.stack(found.logits, dim=1), logits, "step_logits")


@given(drawn())
@settings(max_examples=EXAMPLES)
def test_saving_gives_the_original_file_back(example: Drawn) -> None:
    with written(example) as folder:
        load(folder, torch.float32, "sdpa").save_pretrained(folder / "again")
        before, after = read_weights(folder), read_weights(folder / "again")
    before.pop("transformer.rotary_pos_emb.inv_freq")  # computed from the configuration
    assert set(after) == set(before)
    for name, tensor in before.items():
        assert tensor.equal(after[name]), name


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_loaded_as_stored_and_computed_close_to_exactly(
    dtype: torch.dtype, tmp_path: Path
) -> None:
    folder = write_checkpoint(tmp_path / "model", dtype=dtype)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto").eval()
    assert {tensor.dtype for tensor in model.parameters()} == {dtype}
    ids = torch.arange(24).view(2, 12)
    want: Tensor = Reference.read(folder).forward(ids)["logits"]
    with torch.no_grad():
        got = model(ids).logits
    assert_close(got, want, "logits", atol=60 * torch.finfo(dtype).eps)
