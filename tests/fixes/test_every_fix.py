"""What holds of every fix at run time: its states, the order of taking back, and whom it leaves alone."""

from __future__ import annotations

import importlib
import warnings
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.tiny import tiny_hf_model, tiny_tokenizer

from tl_ext import fixes
from tl_ext.errors import PluginError
from tl_ext.fixes import State
from tl_ext.plugins import resolve
from tl_ext.plugins.builtin import ADAPTERS, FIXES
from tl_ext.upstream import saelens_usable

RUNTIME = {spec.slug: spec for spec in FIXES if spec.kind == "runtime"}
HERE = [
    slug
    for slug, spec in RUNTIME.items()
    if fixes.expected(spec) is State.PRESENT and (spec.upstream != "sae_lens" or saelens_usable())
]
OF_ACTIVATE = {"registered-adapters-ignored-by-boot", *(s for one in ADAPTERS for s in one.fixes)}


def held(slug: str) -> dict[str, Any]:
    """What the names that a fix wraps hold, where this release has them."""
    found = {}
    for target in (one.name for one in RUNTIME[slug].targets):
        with suppress(PluginError) if target.endswith("?") else nullcontext():
            found[target] = resolve(target.removesuffix("?"))
    return found


@pytest.mark.parametrize(
    "slug",
    [
        pytest.param(slug, marks=[pytest.mark.saelens] * (RUNTIME[slug].upstream == "sae_lens"))
        for slug in RUNTIME
    ],
)
def test_the_states_follow_each_other(slug: str) -> None:
    with suppress(ImportError), warnings.catch_warnings(action="ignore"):
        # Deprecated, and bound to all that upstream's utilities hold.
        importlib.import_module("transformer_lens.utils")
    if fixes.expected(RUNTIME[slug]) is State.ABSENT:
        assert fixes.probe(slug).state is State.ABSENT
        pytest.skip("this release does not have the bug")
    assert fixes.probe(slug).state is State.PRESENT
    with fixes.applied(slug) as (status,):
        optional = {one.name for one in RUNTIME[slug].targets if one.name.endswith("?")}
        assert {f"{target}?" for target in status.absent} <= optional
        assert len(status.targets) + len(status.absent) == len(RUNTIME[slug].targets)
        assert status.targets and status.stray == ()
        assert fixes.probe(slug).state is State.ABSENT
    assert fixes.probe(slug).state is State.PRESENT


@given(st.permutations(HERE), st.permutations(HERE))
@settings(max_examples=settings.default.max_examples // 8)
def test_taken_back_in_any_order_they_leave_nothing(there: list[str], back: list[str]) -> None:
    before = {slug: held(slug) for slug in HERE}
    for slug in there:
        fixes.apply(slug)
    for n, slug in enumerate(back):
        fixes.revert(slug)
        for still in back[n + 1 :]:
            assert all(value is not before[still][name] for name, value in held(still).items())
    assert not any(map(fixes.in_effect, HERE))
    assert {slug: held(slug) for slug in HERE} == before


def test_what_activate_applies_leaves_gpt2_as_it_was(tmp_path: Path) -> None:
    tiny_hf_model("gpt2").save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    before = said(tmp_path)
    with fixes.applied(*OF_ACTIVATE):
        after = said(tmp_path)
    assert len(before) > 20 and after.keys() == before.keys()
    for what, value in before.items():
        same = torch.equal(value, after[what]) if torch.is_tensor(value) else value == after[what]
        assert same, what


def said(folder: Path) -> dict[str, Any]:
    """What a bridge booted from a folder makes of texts, and what its configuration says."""
    from datasets import Dataset
    from transformer_lens import utilities
    from transformer_lens.model_bridge import TransformerBridge

    bridge = TransformerBridge.boot_transformers(str(folder), device="cpu").eval()
    texts = ["w5 w6 w7", "w9"]
    found: dict[str, Any] = {f"cfg.{name}": value for name, value in vars(bridge.cfg).items()}
    found["class"] = type(bridge.original_model).__name__
    for bos in (None, True, False):
        for side in ("left", "right"):
            options: dict[str, Any] = {"prepend_bos": bos, "padding_side": side}
            tokens = bridge.to_tokens(texts, **options)
            found[f"tokens {options}"] = tokens
            found[f"logits {options}"] = bridge(texts, **options).detach()
            found[f"mask {options}"] = utilities.get_attention_mask(
                bridge.tokenizer, tokens, bool(bos)
            )
        found[f"pieces {bos}"] = bridge.to_str_tokens(texts[0], prepend_bos=bos)
        found[f"place {bos}"] = bridge.get_token_position("w6", texts[0], prepend_bos=bos)
        rows = utilities.tokenize_and_concatenate(
            Dataset.from_dict({"text": texts * 20}),
            bridge.tokenizer,
            max_length=8,
            add_bos_token=bool(bos),
        )
        found[f"rows {bos}"] = rows["tokens"][:]
    found["single"] = bridge.to_single_token("w5")
    found["new"] = bridge.generate(
        texts[0], max_new_tokens=3, do_sample=False, verbose=False, return_type="tokens"
    )
    return found
