"""The family that docs/adapters.md shows loads, computes what it should and is saved as it was."""

from __future__ import annotations

import json
import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tl_ext import fixes
from tl_ext.fixes.transformerlens.registered_adapters_ignored_by_boot import SLUG
from tl_ext.models.activation import activate
from tl_ext.plugins import AdapterSpec, build_manager, hookimpl
from tl_ext.upstream import stand_in_tokenizer

PAGE = Path(__file__).resolve().parents[2] / "docs" / "adapters.md"
MODULE = "shown_in_docs_adapters"

pytestmark = pytest.mark.skipif(not PAGE.is_file(), reason="no docs beside an installed package")


@pytest.fixture(scope="module")
def mine() -> Iterator[Any]:
    """The page's module, activated as a plugin."""
    from transformer_lens.factories.architecture_adapter_factory import ArchitectureAdapterFactory

    (source,) = [
        block
        for block in re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.S | re.M)
        if "class MineConfig" in block
    ]
    module = types.ModuleType(MODULE)
    exec(compile(source, MODULE, "exec"), module.__dict__)

    class Plugin:
        @hookimpl
        def tl_ext_adapters(self) -> list[AdapterSpec]:
            spec = AdapterSpec(
                "MineForCausalLM", f"{MODULE}:MineAdapter", register=f"{MODULE}:register"
            )
            return [spec]

    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(sys.modules, MODULE, module)
        patched.setattr(
            ArchitectureAdapterFactory, "_adapters", dict(ArchitectureAdapterFactory._adapters)
        )
        before = fixes.status(SLUG)[0].applied
        done = activate(manager=build_manager(plugins={"mine": Plugin()}, only=()), quiet=True)
        assert ("MineForCausalLM", "mine (no distribution)") in done.registered
        yield module
        while fixes.status(SLUG)[0].applied > before:
            fixes.revert(SLUG)


@pytest.fixture(scope="module")
def llama() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=20,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=32,
    )
    return LlamaForCausalLM(config).eval()


def on_disk(llama: Any) -> dict[str, Tensor]:
    """The Llama's weights as a checkpoint of the family has them."""
    own = llama.state_dict()
    weights = {}
    for name, value in own.items():
        renamed = name.replace("model.layers.", "transformer.layers.")
        start, found, kind = name.partition("self_attn.")
        if found and not kind.startswith("o_proj"):
            parts = [own[f"{start}self_attn.{one}_proj.weight"] for one in "qkv"]
            renamed = f"{renamed.partition('self_attn.')[0]}attention.query_key_value.weight"
            value = torch.cat(parts)
        weights[renamed] = value.clone()
    return weights


@pytest.fixture
def folder(mine: Any, llama: Any, tmp_path: Path) -> Path:
    config = llama.config.to_dict() | {"model_type": "mine", "architectures": ["MineForCausalLM"]}
    config["num_layers"] = config.pop("num_hidden_layers")
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file(on_disk(llama), tmp_path / "model.safetensors", metadata={"format": "pt"})
    return tmp_path


def test_it_boots_and_computes_what_llama_does(folder: Path, llama: Any) -> None:
    from transformer_lens.model_bridge import TransformerBridge

    bridge = TransformerBridge.boot_transformers(str(folder), tokenizer=stand_in_tokenizer())
    ids = torch.arange(8)[None]
    torch.testing.assert_close(bridge(ids), llama(ids).logits, atol=1e-6, rtol=0)


def test_it_is_saved_in_its_own_layout(folder: Path, llama: Any, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    AutoModelForCausalLM.from_pretrained(folder).save_pretrained(tmp_path / "again")
    saved, expected = load_file(tmp_path / "again" / "model.safetensors"), on_disk(llama)
    assert set(saved) == set(expected)
    assert all(torch.equal(saved[name], value) for name, value in expected.items())


def test_what_it_cannot_represent_is_refused(mine: Any) -> None:
    with pytest.raises(ValueError, match="parallel_residual=True cannot be represented"):
        mine.MineConfig(parallel_residual=True)
