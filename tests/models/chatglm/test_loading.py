"""Files, formats, dtypes and devices a checkpoint can come in, and what is told when one is wrong."""

from __future__ import annotations

import json
import logging

import pytest
import torch
from safetensors.torch import load_file
from tests.models.chatglm.checkpoints import original_config, original_weights, write_checkpoint
from transformers import AutoModel, AutoModelForCausalLM

from tl_ext.errors import UnsupportedModelError
from tl_ext.models.chatglm.modeling import ChatGLMForConditionalGeneration
from tl_ext.models.chatglm.reading import stored_tensors

INV_FREQ = "transformer.rotary_pos_emb.inv_freq"
DTYPES = [torch.float16, torch.bfloat16, torch.float32]


def weights_of(model):
    return {name: weight.clone() for name, weight in model.state_dict().items()}


@pytest.mark.parametrize("stored", DTYPES)
@pytest.mark.parametrize("asked", [*DTYPES, None])
@pytest.mark.parametrize(("suffix", "shards"), [("safetensors", 3), ("bin", 3), ("bin", 1)])
def test_any_dtype_from_any_file(tmp_path, stored, asked, suffix, shards):
    folder = write_checkpoint(tmp_path, dtype=stored, suffix=suffix, shards=shards)

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=asked or "auto")

    dtype = asked or stored
    original = original_weights(original_config())
    q_proj = original["transformer.encoder.layers.1.self_attention.query_key_value.weight"][:32]
    assert model.dtype == dtype
    assert {p.dtype for p in model.parameters()} == {dtype}
    assert torch.equal(model.model.layers[1].self_attn.q_proj.weight, q_proj.to(stored).to(dtype))
    head = original["transformer.output_layer.weight"]
    assert torch.equal(model.lm_head.weight, head.to(stored).to(dtype))
    assert model.model.rotary_emb.inv_freq.dtype == torch.float32


@pytest.mark.parametrize("shared_heads", [True, False])
def test_reading_in_pieces_gives_the_same_weights(tmp_path, shared_heads, monkeypatch):
    monkeypatch.setattr("tl_ext.models.chatglm.reading._SMALLEST", 64)  # several pieces a tensor
    folder = write_checkpoint(tmp_path, multi_query_attention=shared_heads, shards=2)
    whole = AutoModelForCausalLM.from_pretrained(folder)

    cast = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)

    expected = {name: weight.to(torch.bfloat16) for name, weight in weights_of(whole).items()}
    found = weights_of(cast)
    assert all(torch.equal(found[name], expected[name]) for name in expected | found)


def test_bin_files_of_the_old_kind_are_read_whole(tmp_path):
    folder = write_checkpoint(tmp_path / "zip", suffix="bin")
    file = folder / "pytorch_model.bin"
    torch.save(torch.load(file), file, _use_new_zipfile_serialization=False)

    assert stored_tensors([str(file)], torch.float16) is None
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float16)
    assert model.dtype == torch.float16


def test_a_bin_file_with_code_in_it_is_not_run(tmp_path):
    folder = write_checkpoint(tmp_path, suffix="bin")
    (tmp_path / "ran").unlink(missing_ok=True)
    weights = torch.load(folder / "pytorch_model.bin")
    torch.save({**weights, "payload": Payload(tmp_path / "ran")}, folder / "pytorch_model.bin")

    for dtype in (torch.float32, torch.float16):
        with pytest.raises(Exception, match=r"[Ww]eights.only"):
            AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    assert not (tmp_path / "ran").exists()


class Payload:
    """What a malicious checkpoint would carry: unpickling it writes a file."""

    def __init__(self, file):
        self.file = str(file)

    def __reduce__(self):
        return open, (self.file, "w")


@pytest.mark.parametrize("shared_heads", [True, False])
@pytest.mark.parametrize("head_on", ["cpu", "disk"])
def test_a_device_map_is_followed(tmp_path, shared_heads, head_on):
    folder = write_checkpoint(tmp_path / "original", multi_query_attention=shared_heads)
    whole = AutoModelForCausalLM.from_pretrained(folder)
    devices = {"model.embed_tokens": "cpu", "model.norm": "cpu", "model.rotary_emb": "cpu"}
    devices |= {"model.layers.0": "cpu", "model.layers.1": head_on, "lm_head": head_on}

    model = AutoModelForCausalLM.from_pretrained(
        folder, device_map=devices, offload_folder=tmp_path / "offloaded"
    )

    on_disk = {name for name, weight in model.named_parameters() if weight.device.type == "meta"}
    expected = {"lm_head", "model.layers.1"} if head_on == "disk" else set()
    assert {name for name in devices if any(w.startswith(name) for w in on_disk)} == expected
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        assert torch.equal(model(ids).logits, whole(ids).logits)


@pytest.mark.parametrize("shared_heads", [True, False])
def test_a_sharded_save_loads_again_with_the_original_names(tmp_path, shared_heads):
    folder = write_checkpoint(tmp_path / "original", multi_query_attention=shared_heads, shards=3)
    model = AutoModelForCausalLM.from_pretrained(folder)

    model.save_pretrained(tmp_path / "saved", max_shard_size="20KB")

    index = json.loads((tmp_path / "saved" / "model.safetensors.index.json").read_text())
    files = sorted((tmp_path / "saved").glob("*.safetensors"))
    saved = {name: weight for file in files for name, weight in load_file(file).items()}
    expected = original_weights(original_config(multi_query_attention=shared_heads))
    del expected[INV_FREQ]
    assert len(files) > 1
    assert set(index["weight_map"]) == set(saved) == set(expected)
    assert all(torch.equal(saved[name], expected[name]) for name in expected)
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    assert type(again) is ChatGLMForConditionalGeneration
    before, after = weights_of(model), weights_of(again)
    assert all(torch.equal(before[name], after[name]) for name in before | after)


@pytest.mark.parametrize("trust", [None, False, True])
def test_remote_code_is_never_run(tmp_path, trust):
    """The classes registered here go before the code that auto_map names, also where it is trusted."""
    folder = write_checkpoint(tmp_path)
    for module in ("configuration_chatglm", "modeling_chatglm"):
        (folder / f"{module}.py").write_text("raise RuntimeError('remote code ran')\n")
    options = {} if trust is None else {"trust_remote_code": trust}

    model = AutoModelForCausalLM.from_pretrained(folder, **options)

    assert type(model) is ChatGLMForConditionalGeneration


@pytest.mark.parametrize(
    ("gone", "named"),
    [
        (
            "encoder.layers.1.self_attention.query_key_value.weight",
            "layers.1.self_attn.k_proj.weight",
        ),
        ("encoder.layers.0.self_attention.query_key_value.bias", "layers.0.self_attn.q_proj.bias"),
        ("encoder.final_layernorm.weight", "norm.weight"),
        ("output_layer.weight", "lm_head.weight"),
    ],
)
@pytest.mark.parametrize("shards", [1, 3])
def test_missing_weights_are_refused_by_name(tmp_path, gone, named, shards):
    """TransformerLens silences the report in which transformers says that it drew random ones."""
    weights = original_weights(original_config())
    del weights[f"transformer.{gone}"]
    folder = write_checkpoint(tmp_path, weights=weights, shards=shards)

    with pytest.raises(UnsupportedModelError, match=f"in none of its files.*{named}"):
        AutoModelForCausalLM.from_pretrained(folder)
    if gone == "output_layer.weight":  # which the decoder alone has no use for
        assert type(AutoModel.from_pretrained(folder)).__name__ == "ChatGLMModel"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"padded_vocab_size": 96}, "model.embed_tokens.weight is "),
        ({"ffn_hidden_size": 31}, "model.layers.0.mlp.down_proj.weight is "),
    ],
)
def test_weights_of_another_size_are_refused_by_name(tmp_path, changes, named):
    """TransformerLens silences the table in which transformers says which they are."""
    folder = write_checkpoint(tmp_path)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | changes), encoding="utf-8")

    with pytest.raises(UnsupportedModelError, match=f"not of the size that config.json.*{named}"):
        AutoModelForCausalLM.from_pretrained(folder)
    AutoModelForCausalLM.from_pretrained(folder, ignore_mismatched_sizes=True)


def test_surplus_weights_are_told(tmp_path):
    weights = original_weights(original_config())
    weights["transformer.encoder.layers.0.self_attention.extra.weight"] = torch.ones(3)
    folder = write_checkpoint(tmp_path, weights=weights)

    _, told = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)

    assert not told["missing_keys"]
    assert len(told["unexpected_keys"]) == 1
    assert "extra.weight" in next(iter(told["unexpected_keys"]))


def test_a_rotary_table_in_the_file_is_no_surplus(tmp_path):
    _, told = AutoModelForCausalLM.from_pretrained(
        write_checkpoint(tmp_path), output_loading_info=True
    )

    assert not any(told[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))


def test_weights_of_another_width_are_told(tmp_path):
    folder = write_checkpoint(tmp_path, weights=original_weights(original_config(kv_channels=16)))

    with pytest.raises(UnsupportedModelError, match=r"q_proj.*do not come apart into queries"):
        AutoModelForCausalLM.from_pretrained(folder)


def test_ids_beyond_the_vocabulary_may_stand_for_padding(tmp_path, caplog):
    folder = write_checkpoint(tmp_path, pad_token_id=151329, eos_token_id=[151329, 151336])

    with caplog.at_level(logging.ERROR):
        model = AutoModelForCausalLM.from_pretrained(folder)

    assert model.config.pad_token_id == 151329
    assert model(torch.tensor([[1, 2]])).logits.shape == (1, 2, 128)


def test_positions_with_gaps_are_one_text(tmp_path):
    """Without a mask transformers takes gaps for the borders of packed texts."""
    model = AutoModelForCausalLM.from_pretrained(write_checkpoint(tmp_path))
    ids, positions = torch.tensor([[5, 6, 7, 8]]), torch.tensor([[0, 1, 5, 9]])
    mask = torch.ones_like(ids)

    with torch.no_grad():
        expected = model(ids, mask, positions, use_cache=False).logits
        assert torch.equal(model(ids, position_ids=positions, use_cache=False).logits, expected)
        packed = model(ids, torch.tensor([[0, 1, 1, 1]]), positions, use_cache=False).logits
    assert not torch.allclose(packed[:, -1], expected[:, -1], atol=1e-3)


def test_the_caller_can_still_see_the_signature_of_forward():
    from inspect import signature

    names = set(signature(ChatGLMForConditionalGeneration.forward).parameters)
    assert {"input_ids", "labels", "logits_to_keep", "past_key_values"} <= names
