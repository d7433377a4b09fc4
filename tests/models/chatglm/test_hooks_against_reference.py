"""Drawn ChatGLM checkpoints, hooked: what each hook point holds and what an edit there does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.models.chatglm.drawn import Drawn, drawn
from tests.models.chatglm.golden import (
    FOLDED,
    LAYER_HOOKS,
    assert_close,
    assert_log_probabilities,
    assert_processed,
    assert_raw,
)
from tests.models.chatglm.reference import Reference
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

import tl_ext
from tl_ext import Processing, load_model, upstream

# Each example hooks a model once or twice, which takes half a second.
EXAMPLES = settings.default.max_examples // 6
# Upstream's hook_resid_mid is a copy: what is written there reaches nothing.
EDITED = sorted(set(LAYER_HOOKS) - {"hook_resid_mid"})


@contextmanager
def opened(example: Drawn) -> Iterator[tuple[Path, Reference]]:
    with TemporaryDirectory() as folder:
        where = example.write(Path(folder) / "model")
        yield where, example.reference(where)


def booted(folder: Path) -> TransformerBridge:
    """As TransformerLens opens a folder, once the package is activated."""
    tl_ext.activate()
    return TransformerBridge.boot_transformers(
        str(folder), tokenizer=upstream.stand_in_tokenizer(), device="cpu", dtype=torch.float32
    ).eval()


def loaded(folder: Path, processing: Processing, dtype: torch.dtype) -> TransformerBridge:
    tokenizer = upstream.stand_in_tokenizer()
    return load_model(folder, tokenizer=tokenizer, device="cpu", dtype=dtype, processing=processing)


def forward(reference: Reference, example: Drawn) -> dict[str, Tensor]:
    """Where no positions are given, upstream counts tokens that are no padding."""
    return reference.forward(example.input_ids, example.attention_mask, example.counted)


@given(drawn(), st.booleans(), st.sampled_from([torch.float32, torch.float64]))
@settings(max_examples=EXAMPLES)
@torch.no_grad()
def test_every_hook_point(example: Drawn, boot: bool, dtype: torch.dtype) -> None:
    # Upstream masks with the lowest double and takes the softmax of floats: all -inf there.
    assume(dtype == torch.float32 or not example.starts_with_padding)
    rows = example.attention_mask.bool()
    layers = example.config["num_layers"]
    with opened(example) as (folder, reference):
        want = forward(reference, example)
        raw = booted(folder) if boot else loaded(folder, Processing.RAW, dtype)
        processed = loaded(folder, Processing.COMPATIBILITY, torch.float32)
    assert_numbers(raw.cfg, reference)
    logits, cache = raw.run_with_cache(example.input_ids, **example.inputs)
    assert_close(logits, want["logits"], "logits", rows)
    assert assert_raw(cache, want, layers=layers, rows=rows) == 5 + len(LAYER_HOOKS) * layers

    biases = [reference.value_bias(layer) for layer in range(layers)]
    logits, cache = processed.run_with_cache(example.input_ids, **example.inputs)
    assert_log_probabilities(logits, want["logits"], rows=rows)
    assert_processed(cache, want, layers=layers, value_biases=biases, rows=rows)


@given(
    drawn(),
    st.lists(st.tuples(st.sampled_from(EDITED), st.integers(0, 2)), min_size=1, max_size=4),
    st.sampled_from([Processing.RAW, Processing.COMPATIBILITY]),
)
@settings(max_examples=EXAMPLES)
@torch.no_grad()
def test_an_edit_does_what_it_would_have_done_there(
    example: Drawn, places: list[tuple[str, int]], processing: Processing
) -> None:
    rows = example.attention_mask.bool()
    layers = example.config["num_layers"]
    generator = torch.Generator().manual_seed(example.seed)
    if processing != Processing.RAW:  # what a folded norm gives is in another unit
        places = [(hook, layer) for hook, layer in places if hook not in FOLDED]
    with opened(example) as (folder, reference):
        seen = forward(reference, example)
        model = loaded(folder, processing, torch.float32)
    edits: dict[str, Tensor] = {}
    added: dict[str, Tensor] = {}
    for hook, layer in sorted({(hook, place % layers) for hook, place in places}):
        name = LAYER_HOOKS[hook].format(layer=layer, next=layer + 1)
        if name.endswith((".gate", ".up")):  # halves of one tensor there
            whole = f"layers.{layer}.dense_h_to_4h_out"
            change = torch.zeros_like(seen[whole])
            half = change.chunk(2, dim=-1)[name.endswith(".up")]
            half += torch.randn(half.shape, generator=generator)
            edits[f"blocks.{layer}.{hook}"] = half
            added[whole] = added.get(whole, 0) + change
            continue
        if name in added:
            continue  # one tensor, two names
        added[name] = torch.randn(seen[name].shape, generator=generator) / 2
        if hook == "attn.hook_pattern":
            added[name] = moved_attention(seen[name], added[name])
        edits[f"blocks.{layer}.{hook}"] = added[name]

    reference.added = added
    want = forward(reference, example)["logits"]
    hooks = [
        (name, lambda value, hook, change=change: value + change.reshape(value.shape).to(value))
        for name, change in edits.items()
    ]
    got = model.run_with_hooks(example.input_ids, fwd_hooks=hooks, **example.inputs)
    assert_log_probabilities(got, want, rows=rows)


def assert_numbers(cfg: Any, reference: Reference) -> None:
    """What TransformerLens' configuration says is what is computed with."""
    assert cfg.n_layers == reference.option("num_layers")
    assert cfg.n_heads == reference.option("num_attention_heads")
    assert (cfg.n_key_value_heads or cfg.n_heads) == reference.groups
    assert cfg.d_head == reference.option("kv_channels")
    assert cfg.d_model == reference.option("hidden_size")
    assert cfg.d_mlp == reference.option("ffn_hidden_size")
    assert cfg.d_vocab == reference.option("padded_vocab_size")
    assert cfg.n_ctx == reference.option("seq_length")
    assert cfg.eps == reference.option("layernorm_epsilon")
    scaled = reference.option("rope_ratio") if reference.rope_ratio_scales == "base" else 1
    assert cfg.rotary_base == 10000 * scaled


def moved_attention(pattern: Tensor, change: Tensor) -> Tensor:
    """`change` among the keys that are seen, giving what it takes: a folded bias counts on sums of 1."""
    seen = (pattern > 0).to(change)
    change = change * seen
    return change - seen * change.sum(-1, keepdim=True) / seen.sum(-1, keepdim=True)


@given(drawn(), st.booleans(), st.sampled_from([Processing.RAW, Processing.COMPATIBILITY]))
@settings(max_examples=EXAMPLES)
def test_greedy_continuations(example: Drawn, cached: bool, processing: Processing) -> None:
    mask = example.attention_mask.sort(-1).values  # padding on the left
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    with opened(example) as (folder, reference):
        ids, logits = reference.greedy(example.input_ids, 5, mask, positions)
        best = logits.topk(2).values
        assume(bool(((best[..., 0] - best[..., 1]) > 1e-3).all()))
        model = loaded(folder, processing, torch.float32)
    found = model.generate(
        example.input_ids,
        max_new_tokens=5,
        do_sample=False,
        stop_at_eos=False,
        use_past_kv_cache=cached,
        output_logits=True,
        verbose=False,
        return_type="tokens",
        attention_mask=mask,
    )
    assert found.sequences[:, example.input_ids.shape[1] :].equal(ids)
    assert_log_probabilities(torch.stack(list(found.logits), dim=1), logits)
