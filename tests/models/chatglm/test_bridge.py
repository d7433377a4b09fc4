"""What a hooked ChatGLM holds, against what the original code wrote."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.models.chatglm.checkpoints import write_checkpoint
from tests.models.chatglm.golden import (
    ATOL,
    assert_close,
    assert_processed,
    assert_raw,
    read_golden,
)
from torch import Tensor
from transformers import AutoModel, AutoModelForCausalLM

import tl_ext
from tl_ext.errors import UnsupportedModelError
from tl_ext.models.chatglm.adapter import ChatGLMArchitectureAdapter
from tl_ext.models.loading import Processing
from tl_ext.plugins import build_manager
from tl_ext.upstream import stand_in_tokenizer

FOLDERS = ["A_chatglm3", "B_kv_channels_mqa1"]


@pytest.fixture(scope="module", params=FOLDERS)
def folder(request: pytest.FixtureRequest, shared: Path) -> Path:
    folder = shared / "fixtures" / "chatglm" / request.param
    if not folder.is_dir():
        pytest.skip(f"needs the golden model at {folder}")
    return folder


@pytest.fixture(scope="module")
def layers(folder: Path) -> int:
    return int(json.loads((folder / "config.json").read_text(encoding="utf-8"))["num_layers"])


def boot(folder: Path) -> Any:
    """Plain TransformerLens, after `activate`; the golden folders hold no tokenizer."""
    from transformer_lens.model_bridge import TransformerBridge

    tl_ext.activate(quiet=True)
    bridge = TransformerBridge.boot_transformers(
        str(folder), tokenizer=stand_in_tokenizer(), device="cpu"
    )
    assert type(bridge.adapter) is ChatGLMArchitectureAdapter
    return bridge.eval()


@pytest.fixture(scope="module")
def bridge(folder: Path) -> Any:
    return boot(folder)


@pytest.fixture(scope="module", params=["enable_compatibility_mode", "load_model"])
def processed(request: pytest.FixtureRequest, folder: Path) -> Any:
    if request.param == "load_model":
        return tl_ext.load_model(
            folder,
            tokenizer=stand_in_tokenizer(),
            device="cpu",
            processing=Processing.COMPATIBILITY,
        )
    bridge = boot(folder)
    bridge.enable_compatibility_mode(disable_warnings=True)
    return bridge


@pytest.fixture(autouse=True)
def _no_gradients() -> Any:
    with torch.no_grad():
        yield


def value_biases(folder: Path, layers: int) -> list[Tensor]:
    """From the checkpoint itself: the last rows of the fused projection's bias."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    groups, kv = config["multi_query_group_num"], config["kv_channels"]
    weights = load_file(folder / "model.safetensors")
    key = "transformer.encoder.layers.{}.self_attention.query_key_value.bias"
    return [weights[key.format(n)][-groups * kv :].reshape(groups, kv) for n in range(layers)]


def test_every_hook_point_holds_what_the_original_computes(
    bridge: Any, folder: Path, layers: int
) -> None:
    golden = read_golden(folder, "main")
    _, cache = bridge.run_with_cache(golden["input_ids"])
    assert assert_raw(cache, golden, layers=layers) == 5 + 18 * layers
    for name in ("blocks.0.ln1", "blocks.1.ln2", "ln_final"):
        norm = bridge
        for part in name.split("."):
            norm = norm[int(part)] if part.isdigit() else getattr(norm, part)
        product = cache[f"{name}.hook_normalized"] * norm.weight
        assert_close(product, cache[f"{name}.hook_out"], f"{name}: normalized times its gain")
        length = (cache[f"{name}.hook_in"].pow(2).mean(-1, keepdim=True) + bridge.cfg.eps).sqrt()
        assert_close(cache[f"{name}.hook_scale"], length, f"{name}.hook_scale")


def test_positions_with_gaps(bridge: Any, folder: Path, layers: int) -> None:
    golden = read_golden(folder, "gapped")
    _, cache = bridge.run_with_cache(golden["input_ids"], position_ids=golden["position_ids"])
    assert assert_raw(cache, golden, layers=layers) == 3 + 2 * layers
    plain = bridge(golden["input_ids"])
    assert float((plain - golden["logits"]).abs().max()) > 0.5, "positions were looked at"


@pytest.mark.parametrize("given", ["position_ids", "the mask alone"])
def test_padding_on_the_left(bridge: Any, folder: Path, layers: int, given: str) -> None:
    golden = read_golden(folder, "padded")
    options = {"attention_mask": golden["attention_mask"]}
    if given == "position_ids":
        options["position_ids"] = golden["position_ids"]
    _, cache = bridge.run_with_cache(golden["input_ids"], **options)
    rows = golden["attention_mask"].bool()
    assert assert_raw(cache, golden, layers=layers, rows=rows) == 3 + 3 * layers


@pytest.mark.parametrize("cached", [True, False], ids=["with cache", "without"])
@pytest.mark.parametrize("run", ["greedy", "padded_greedy"])
def test_greedy_continuations(bridge: Any, folder: Path, run: str, cached: bool) -> None:
    golden = read_golden(folder, run)
    options = {"attention_mask": golden["attention_mask"]} if run == "padded_greedy" else {}
    found = bridge.generate(
        golden["prompt_ids"],
        max_new_tokens=golden["new_ids"].shape[1],
        do_sample=False,
        stop_at_eos=False,
        use_past_kv_cache=cached,
        output_logits=True,
        verbose=False,
        return_type="tokens",
        **options,
    )
    new = found.sequences[:, golden["prompt_ids"].shape[1] :]
    assert new.tolist() == golden["new_ids"].tolist()
    torch.testing.assert_close(
        torch.stack(list(found.logits), dim=1), golden["step_logits"], atol=ATOL, rtol=0
    )


def test_compatibility_mode_changes_what_it_says(processed: Any, folder: Path, layers: int) -> None:
    biases = value_biases(folder, layers)
    golden = read_golden(folder, "main")
    _, cache = processed.run_with_cache(golden["input_ids"])
    assert_processed(cache, golden, layers=layers, value_biases=biases)
    golden = read_golden(folder, "padded")
    rows = golden["attention_mask"].bool()
    _, cache = processed.run_with_cache(
        golden["input_ids"], attention_mask=golden["attention_mask"]
    )
    assert_processed(cache, golden, layers=layers, value_biases=biases, rows=rows)
    golden = read_golden(folder, "greedy")
    new = processed.generate(
        golden["prompt_ids"], max_new_tokens=12, do_sample=False, stop_at_eos=False, verbose=False
    )
    assert new[:, golden["prompt_ids"].shape[1] :].tolist() == golden["new_ids"].tolist()


@pytest.mark.parametrize("load", [boot, tl_ext.load_model], ids=["boot_transformers", "load_model"])
@pytest.mark.parametrize("name", ["ChatGLMModel", "ChatGLMForConditionalGeneration"])
def test_either_published_name_boots(tmp_path: Path, name: str, load: Callable[..., Any]) -> None:
    folder = write_checkpoint(tmp_path / "model", architectures=[name])
    options = {} if load is boot else {"tokenizer": stand_in_tokenizer(), "device": "cpu"}
    bridge = load(folder, **options)
    assert bridge.cfg.architecture == name
    assert type(bridge.adapter) is ChatGLMArchitectureAdapter
    assert bridge(torch.tensor([[5, 6, 7]])).shape == (1, 3, 128)


def test_upstream_s_own_discovery_finds_the_adapter_and_activate_makes_it_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Discovery knows adapters alone: without `activate`, transformers refuses the config first."""
    from importlib.metadata import EntryPoint

    from transformer_lens.factories import architecture_adapter_factory as module

    factory, group = module.ArchitectureAdapterFactory, "transformer_lens.architectures"
    specs = build_manager(only=()).adapters()
    points = [EntryPoint(name, spec.adapter, group) for name, spec in specs.items()]
    monkeypatch.setattr(module, "entry_points", lambda group: points)
    own = {name: adapter for name, adapter in factory._adapters.items() if name not in specs}
    monkeypatch.setattr(factory, "_adapters", own)
    monkeypatch.setattr(factory, "_entry_points_discovered", False)
    done = tl_ext.activate(quiet=True)
    assert {"ChatGLMModel", "ChatGLMForConditionalGeneration"} <= set(done.discovered)
    assert not done.registered and not done.problems
    assert boot(write_checkpoint(tmp_path / "model"))(torch.tensor([[5, 6]])).shape == (1, 2, 128)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_model_in_memory_is_read_the_same(folder: Path, layers: int, attention: str) -> None:
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation=attention)
    hooked = tl_ext.load_model(model, tokenizer=stand_in_tokenizer())
    for run in ("main", "padded"):
        golden = read_golden(folder, run)
        given = {key: golden[key] for key in ("attention_mask", "position_ids") if key in golden}
        _, cache = hooked.run_with_cache(golden["input_ids"], **given)
        rows = given["attention_mask"].bool() if given else None
        assert_raw(cache, golden, layers=layers, rows=rows)


def test_the_decoder_without_its_head_is_refused(tmp_path: Path) -> None:
    model = AutoModel.from_pretrained(write_checkpoint(tmp_path / "model"))
    with pytest.raises(UnsupportedModelError, match="Load it through AutoModelForCausalLM"):
        tl_ext.load_model(model, tokenizer=stand_in_tokenizer())


def test_switched_on_hook_points_hold_each_head_s_part(bridge: Any, folder: Path) -> None:
    golden = read_golden(folder, "main")
    for switch in ("attn_result", "split_qkv_input", "attn_in", "hook_mlp_in"):
        turn = getattr(bridge, f"set_use_{switch}")
        turn(True)
        try:
            logits, cache = bridge.run_with_cache(golden["input_ids"])
        finally:
            turn(False)
        assert_close(logits, golden["logits"], "hook_unembed")
        if switch == "attn_result":
            summed = cache["blocks.1.attn.hook_result"].sum(2)
            assert_close(summed, golden["layers.1.attn_out"], "attn.hook_result, summed")
        if switch == "split_qkv_input":
            resid = golden["hidden_states.1"]
            for name, heads in (("q", bridge.cfg.n_heads), ("k", bridge.cfg.n_key_value_heads)):
                held = cache[f"blocks.1.hook_{name}_input"]
                assert held.shape == (*resid.shape[:2], heads, resid.shape[2])
