"""The tutorial's hook leaves generated tokens alone; with the patch it steers each of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.fixes.source_trees import committed, own_tests_pass, patched
from tests.tiny import tiny_hf_model, tiny_tokenizer

from tl_ext import fixes
from tl_ext.fixes import State
from tl_ext.fixes.extracts import cells, defined

SLUG = "tutorial-hook-steers-only-the-prompt"
FILE = "tutorials/using_an_sae_as_a_steering_vector.ipynb"

# The cell with the hook as upstream has it, and one before it that must not be run.
HOOK = """\
def steering_hook(resid_pre, hook):
    if resid_pre.shape[1] == 1:
        return

    position = sae_out.shape[1]
    if steering_on:
        # using our steering vector and applying the coefficient
        resid_pre[:, : position - 1, :] += coeff * steering_vector


def hooked_generate(prompt_batch, fwd_hooks=[], seed=None, **kwargs):
    return prompt_batch
"""


def notebook(*code: str) -> str:
    def cell(text: str) -> dict[str, Any]:
        source = text.splitlines(keepends=True)
        return {"cell_type": "code", "metadata": {}, "outputs": [], "source": source}

    content = {"cells": [cell(text) for text in code], "nbformat": 4, "nbformat_minor": 0}
    return json.dumps(content, indent=1)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    first = "%pip install sae-lens\nraise SystemExit\n"
    return committed(tmp_path / "SAELens", {FILE: notebook(first, HOOK)})


def hook_of(tree: Path, **names: Any) -> Callable[..., Any]:
    names = {"steering_on": True, "coeff": 3.0, "sae_out": torch.zeros(1, 4, 16)} | names
    found = [defined(cell, "steering_hook", names) for cell in cells(tree / FILE)]
    (hook,) = [one for one in found if one is not None]
    return hook


def test_it_is_there_and_with_the_patch_it_is_not(tree: Path) -> None:
    before = fixes.probe(SLUG, tree=tree)
    assert before.state is State.PRESENT
    assert "4 of 6 tokens" in before.evidence and FILE in before.evidence

    patch = patched(tree, "sae_lens", "6.37.2", SLUG)
    json.loads((tree / FILE).read_text(encoding="utf-8"))
    after = fixes.probe(SLUG, tree=tree)
    assert (after.state, after.evidence) == (
        State.ABSENT,
        f"{FILE}: steering_hook steers 6 of 6 tokens and 1 of 1",
    )
    assert own_tests_pass(tree, patch)


def test_a_model_generates_the_same_with_and_without_a_kv_cache(tree: Path, tmp_path: Path) -> None:
    from transformer_lens.model_bridge import TransformerBridge

    torch.manual_seed(0)
    tiny_hf_model("gpt2").save_pretrained(tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    bridge = TransformerBridge.boot_transformers(str(tmp_path / "model"), device="cpu").eval()
    prompt = bridge.to_tokens("w5 w6 w7")
    vector = torch.randn(bridge.cfg.d_model)

    def generated(cache: bool, *hooks: Callable[..., Any]) -> list[int]:
        with torch.no_grad(), bridge.hooks([("blocks.0.hook_resid_post", one) for one in hooks]):
            new: Any = bridge.generate(
                prompt,
                max_new_tokens=12,
                do_sample=False,
                stop_at_eos=False,
                use_past_kv_cache=cache,
                return_type="tokens",
                verbose=False,
            )
        ids: list[int] = new[0].tolist()
        return ids

    def by_hand(resid: torch.Tensor, hook: Any) -> torch.Tensor:
        return resid + 3.0 * vector

    wrong = hook_of(tree, steering_vector=vector)
    assert generated(True, wrong) != generated(True, by_hand)

    patched(tree, "sae_lens", "6.37.2", SLUG)
    right = hook_of(tree, steering_vector=vector)
    expected = generated(False, by_hand)
    assert generated(True, right) == generated(False, right) == expected
    assert expected != generated(True)
    off = hook_of(tree, steering_vector=vector, steering_on=False)
    assert generated(True, off) == generated(True)


@pytest.mark.parametrize(
    "text",
    [
        notebook("print(1)\n"),
        notebook("def steering_hook(:\n"),
        "[]",
        "no notebook",
    ],
    ids=["no hook", "no Python", "no cells", "no JSON"],
)
def test_a_tree_without_the_hook_is_unknown(tmp_path: Path, text: str) -> None:
    (tmp_path / "one.ipynb").write_text(text, encoding="utf-8")
    assert fixes.probe(SLUG, tree=tmp_path).state is State.UNKNOWN
