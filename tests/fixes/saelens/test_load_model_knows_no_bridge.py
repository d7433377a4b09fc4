"""SAELens' `load_model` boots a bridge by its class name, in every module that binds it."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.tiny import tiny_hf_model, tiny_tokenizer

from tl_ext import fixes
from tl_ext.fixes.saelens.load_model_knows_no_bridge import BOUND_IN, SLUG

pytestmark = pytest.mark.saelens


def load(*arguments: Any, module: str = BOUND_IN[0], **options: Any) -> Any:
    return importlib.import_module(module).load_model(*arguments, **options)


def test_a_folder_boots_raw_with_the_given_options(tmp_path: Path) -> None:
    from transformer_lens.model_bridge import TransformerBridge

    hf = tiny_hf_model("gpt2")
    hf.save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    with fixes.applied(SLUG):
        for module in BOUND_IN:
            model = load("TransformerBridge", str(tmp_path), module=module, device="cpu")
            assert isinstance(model, TransformerBridge)
        narrow = load(
            "TransformerBridge", str(tmp_path), "cpu", {"dtype": torch.bfloat16}, ["unused"]
        )
    assert narrow.cfg.dtype is torch.bfloat16
    ids = torch.tensor([[5, 9, 20, 7]])
    # As it is: what the bridge computes is what Hugging Face's model does, layer by layer.
    states = hf(ids, output_hidden_states=True).hidden_states
    _, cache = model.run_with_cache(ids)
    for layer in range(3):
        torch.testing.assert_close(
            cache[f"blocks.{layer}.hook_resid_pre"], states[layer], atol=1e-5, rtol=1e-5
        )


def test_a_device_is_left_out_beside_a_device_map(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from transformer_lens.model_bridge import TransformerBridge

    seen: list[dict[str, Any]] = []
    monkeypatch.setattr(
        TransformerBridge, "boot_transformers", lambda name, **options: seen.append(options)
    )
    with fixes.applied(SLUG):
        load("TransformerBridge", "some/name", "cpu", {"device_map": "auto"})
        load("TransformerBridge", "some/name", "cpu", {"device_map": None, "revision": "main"})
    assert seen == [
        {"device_map": "auto"},
        {"device_map": None, "revision": "main", "device": "cpu"},
    ]


def test_every_other_class_goes_to_upstream(monkeypatch: pytest.MonkeyPatch) -> None:
    upstream_module = importlib.import_module("sae_lens.load_model")
    seen: list[tuple[Any, ...]] = []

    class Recorder:
        @staticmethod
        def from_pretrained_no_processing(**options: Any) -> str:
            seen.append(tuple(sorted(options.items())))
            return "hooked"

    monkeypatch.setattr(upstream_module, "HookedTransformer", Recorder)
    with fixes.applied(SLUG):
        hooked = load("HookedTransformer", "n", device="cpu", model_from_pretrained_kwargs={"a": 1})
        assert hooked == "hooked"
        with pytest.raises(ValueError, match="Unknown model class: Nobody"):
            load("Nobody", "n")
    assert seen == [(("a", 1), ("device", "cpu"), ("model_name", "n"))]
