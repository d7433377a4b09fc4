"""With every recommended fix in effect at once, a model with dictionaries is GPT-2 written by hand."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from tests.fixes.saelens.attached import IDS, bridge, sae, transcoder
from tests.fixes.test_every_fix import HERE, RUNTIME
from tests.tiny import tiny_hf_model, tiny_tokenizer
from torch import Tensor

from tl_ext import fixes

pytestmark = pytest.mark.saelens

RECOMMENDED = [slug for slug in HERE if RUNTIME[slug].recommended]
PRE, MID = "blocks.1.hook_resid_pre", "blocks.1.hook_resid_mid"
READS, WRITES = "blocks.1.ln2.hook_out", "blocks.1.hook_mlp_out"

Edits = Mapping[str, Callable[[Tensor], Any]]


def booted(**options: Any) -> Any:
    """A bridge with a tokenizer made in memory, which booting refuses without its fix."""
    return bridge(tokenizer=tiny_tokenizer(), **options)


def by_hand(ids: Tensor, edits: Edits) -> Tensor:
    """Logits of the tiny GPT-2, with activations replaced by what edits make of them."""
    model: Any = tiny_hf_model("gpt2")
    heads, (batch, length) = model.config.n_head, ids.shape
    later = torch.ones(length, length, dtype=torch.bool).triu(1)
    x = model.transformer.wte(ids) + model.transformer.wpe(torch.arange(length))
    for number, block in enumerate(model.transformer.h):

        def edited(name: str, value: Tensor, at: str = f"blocks.{number}.") -> Any:
            return edits.get(at + name, lambda same: same)(value)

        x = edited("hook_resid_pre", x)
        q, k, v = (
            part.reshape(batch, length, heads, -1).transpose(1, 2)
            for part in block.attn.c_attn(block.ln_1(x)).chunk(3, -1)
        )
        scores = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).masked_fill(later, float("-inf"))
        z = (scores.softmax(-1) @ v).transpose(1, 2).reshape(x.shape)
        x = edited("hook_resid_mid", x + block.attn.c_proj(z))
        read = edited("ln2.hook_out", block.ln_2(x))
        written = block.mlp.c_proj(block.mlp.act(block.mlp.c_fc(read)))
        x = edited("hook_resid_post", x + edited("hook_mlp_out", written))
    logits: Tensor = model.lm_head(model.transformer.ln_f(x))
    return logits


def continued(ids: Tensor, edits: Edits, steps: int) -> Tensor:
    for _ in range(steps):
        ids = torch.cat([ids, by_hand(ids, edits)[:, -1:].argmax(-1)], 1)
    return ids


def in_place(x: Tensor, hook: Any) -> None:
    x.mul_(1.5)


def close(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("compatible", [False, True])
@torch.no_grad()
def test_hooks_and_dictionaries_at_one_hook_point(compatible: bool) -> None:
    with fixes.applied(*RECOMMENDED):
        model, dictionary = booted(compatible=compatible), sae(MID)
        model.add_hook(MID, in_place)
        close(model(IDS), by_hand(IDS, {MID: lambda x: 1.5 * x}))
        spliced = by_hand(IDS, {MID: lambda x: dictionary(1.5 * x)})
        close(model.run_with_saes(IDS, saes=[dictionary]), spliced)
        whole = model.run_with_saes(IDS, saes=[dictionary], use_error_term=True)
        close(whole, by_hand(IDS, {MID: lambda x: 1.5 * x}))
        raising = [(f"{MID}.hook_sae_acts_post", lambda x, hook: 1 / 0)]
        with pytest.raises(ZeroDivisionError), model.saes([dictionary]):
            model.run_with_hooks(IDS, fwd_hooks=raising)
        model.reset_hooks()
        close(model(IDS), by_hand(IDS, {}))
        assert not any(point.fwd_hooks for point in model.hook_dict.values())


@torch.no_grad()
def test_a_dictionary_with_a_transcoder_that_reads_after_it() -> None:
    with fixes.applied(*RECOMMENDED):
        model, read = booted(), {}
        at_mid, over, inner = sae(MID), transcoder(READS, WRITES), sae(MID, seed=5)

        def note(x: Tensor) -> Tensor:
            read["x"] = x
            return x

        def with_mid(dictionary: Any) -> Edits:
            return {MID: dictionary, READS: note, WRITES: lambda x: over(read["x"])}

        with model.saes([over, at_mid]):
            for _ in range(2):
                close(model(IDS), by_hand(IDS, with_mid(at_mid)))
                with model.saes([inner]):
                    close(model(IDS), by_hand(IDS, with_mid(inner)))
        close(model(IDS), by_hand(IDS, {}))


@torch.no_grad()
def test_generation_with_a_cache_steered_beside_a_dictionary() -> None:
    with fixes.applied(*RECOMMENDED):
        model, dictionary = booted(), sae(MID)
        edits: Edits = {PRE: lambda x: x + 1.0, MID: dictionary}
        texts = {"w5 w6 w9 w30": [5, 6, 9, 30], "w7 w8": [7, 8]}
        options = {"max_new_tokens": 4, "do_sample": False, "verbose": False, "stop_at_eos": False}
        with (
            model.saes([dictionary]),
            model.hooks(fwd_hooks=[(PRE, lambda x, hook: x + 1.0)]),
        ):
            for begin in (False, True):
                logits = model(list(texts), prepend_bos=begin, padding_side="left")
                made = model.generate(
                    list(texts), prepend_bos=begin, return_type="tokens", **options
                )
                for row, ids in enumerate(texts.values()):
                    alone = torch.tensor([[2] * begin + ids])
                    close(logits[row, -1], by_hand(alone, edits)[0, -1])
                    assert made[row, -4:].tolist() == continued(alone, edits, 4)[0, -4:].tolist()


def test_gradients_of_a_dictionary_and_of_the_embedding_beneath_it() -> None:
    with fixes.applied(*RECOMMENDED):
        model, here, there, seen = booted(), sae(MID), sae(MID), []
        with model.saes([here]):
            model.add_hook(
                model.get_sae_hook_name(here, "hook_sae_output"),
                lambda gradient, hook: seen.append(gradient),
                "bwd",
            )
            model(IDS).logsumexp(-1).sum().backward()
    kept: list[Tensor] = []

    def splice(x: Tensor) -> Tensor:
        kept.append(there(x))
        kept[0].retain_grad()
        return kept[0]

    by_hand(IDS, {MID: splice}).logsumexp(-1).sum().backward()
    assert len(seen) == 1 and kept[0].grad is not None
    found = seen[0][0] if isinstance(seen[0], tuple) else seen[0]
    torch.testing.assert_close(found, kept[0].grad, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(here.W_enc.grad, there.W_enc.grad, atol=1e-3, rtol=1e-3)


def test_in_whatever_order_they_come_and_go() -> None:
    shuffled, order = random.Random(0), list(RECOMMENDED)
    old, dictionary = bridge(), sae(MID)
    for _ in range(2):
        shuffled.shuffle(order)
        fixes.apply(*order, quiet=True)
        try:
            for model in (old, booted()):
                with torch.no_grad():
                    spliced = model.run_with_saes(IDS, saes=[dictionary])
                    close(spliced, by_hand(IDS, {MID: dictionary}))
                    close(model(IDS), by_hand(IDS, {}))
        finally:
            shuffled.shuffle(order)
            fixes.revert(*order)
