"""Left-padded tokens are read as each text is alone; generation keeps the rule it documents."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fixes.taken_back import as_installed
from tests.tiny import make_tiny_model, tiny_hf_model

from tl_ext import fixes
from tl_ext.fixes.transformerlens.left_padded_tokens_attended_to import SLUG

TEXTS = ["w5 w6 w7 w8 w9", "w12 w13", "w20 <eos> w22"]
FAMILIES = ("gpt2", "llama", "qwen2")
NEW: dict[str, Any] = {"max_new_tokens": 3, "do_sample": False, "stop_at_eos": False} | {
    "return_type": "tokens",
    "verbose": False,
}


def left(family: str) -> Any:
    """GPT-2's and Llama's padding, BOS and EOS are one token here; Qwen2 has padding and no BOS."""
    bridge = make_tiny_model(family)
    bridge.tokenizer.padding_side = "left"
    return bridge


@pytest.fixture(scope="module", params=FAMILIES)
def pair(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    return left(request.param), tiny_hf_model(request.param)


@pytest.fixture(scope="module")
def gpt2() -> Any:
    return left("gpt2")


@pytest.fixture(scope="module")
def qwen2() -> Any:
    return left("qwen2")


def alone(bridge: Any, text: str, asked: bool | None = None) -> torch.Tensor:
    return bridge.to_tokens(text, prepend_bos=asked)


def test_upstream_as_it_is_attends_to_padding(gpt2: Any) -> None:
    tokens = gpt2.to_tokens(TEXTS)
    assert (gpt2(tokens)[1, -3:] - gpt2(alone(gpt2, TEXTS[1]))[0]).abs().max() > 0.1


@pytest.mark.usefixtures("fixed")
class TestFixed:
    @pytest.mark.parametrize("asked", [None, False])
    def test_each_text_is_read_as_by_itself(
        self, pair: tuple[Any, Any], asked: bool | None
    ) -> None:
        bridge, model = pair
        tokens = bridge.to_tokens(TEXTS, prepend_bos=asked)
        options: dict[str, Any] = {} if asked is None else {"prepend_bos": asked}
        logits, cache = bridge.run_with_cache(tokens, **options)
        stopped = bridge(tokens, stop_at_layer=2, **options)
        losses = bridge(tokens, return_type="loss", loss_per_token=True, **options)
        for row, text in enumerate(TEXTS):
            own = alone(bridge, text, asked)
            with torch.no_grad():
                want = model(own).logits[0]
            columns = slice(tokens.shape[1] - own.shape[1], None)
            torch.testing.assert_close(logits[row, columns], want, rtol=1e-4, atol=1e-4)
            held = cache["blocks.1.hook_resid_post"][row, columns]
            torch.testing.assert_close(stopped[row, columns], held)
            pattern = cache["blocks.0.attn.hook_pattern"][row, :, columns, : columns.start]
            assert not pattern.numel() or pattern.abs().max() == 0
            loss = torch.nn.functional.cross_entropy(want[:-1], own[0, 1:], reduction="none")
            torch.testing.assert_close(
                losses[row, losses.shape[1] - len(loss) :], loss, rtol=1e-4, atol=1e-4
            )

    def test_tokens_and_strings_are_one(self, pair: tuple[Any, Any]) -> None:
        bridge, _ = pair
        for texts in (TEXTS, TEXTS[:1], [TEXTS[1]] * 2):
            read, strings = bridge(bridge.to_tokens(texts)), bridge(texts)
            for row, text in enumerate(texts):
                length = alone(bridge, text).shape[1]
                torch.testing.assert_close(read[row, -length:], strings[row, -length:])
        row = alone(bridge, TEXTS[1])[0]
        assert torch.equal(bridge(row), bridge(row[None]))

    def test_the_side_a_call_names_comes_first(self, gpt2: Any) -> None:
        tokens = gpt2.to_tokens(TEXTS)
        with as_installed(SLUG):
            unmasked = gpt2(tokens)
        assert torch.equal(gpt2(tokens, padding_side="right"), unmasked)
        gpt2.tokenizer.padding_side = "right"
        try:
            assert torch.equal(gpt2(tokens), unmasked)
            masked = gpt2(tokens, padding_side="left")
        finally:
            gpt2.tokenizer.padding_side = "left"
        assert torch.equal(gpt2(tokens), masked)

    @pytest.mark.parametrize("name", ["use_cache", "use_past_kv_cache"])
    def test_a_cache_that_is_refused_settles_nothing(self, gpt2: Any, name: str) -> None:
        tokens = gpt2.to_tokens(TEXTS)
        assert torch.equal(gpt2(tokens, **{name: False}), gpt2(tokens))

    @pytest.mark.parametrize("name", ["attention_mask", "one_zero_attention_mask"])
    def test_no_mask_is_none_given(self, gpt2: Any, name: str) -> None:
        tokens = gpt2.to_tokens(TEXTS)
        assert torch.equal(gpt2(tokens, **{name: None}), gpt2(tokens))

    def test_gradients_are_those_of_the_text_alone(self, gpt2: Any) -> None:
        def gradient(tokens: torch.Tensor) -> torch.Tensor:
            weights = gpt2.original_model.get_input_embeddings().weight
            return torch.autograd.grad(gpt2(tokens)[-1, -1].square().sum(), weights)[0]

        together = gradient(gpt2.to_tokens(TEXTS[:2]))
        torch.testing.assert_close(together, gradient(alone(gpt2, TEXTS[1])), rtol=1e-3, atol=1e-3)

    def test_hooks_inside_generation_read_tokens_with_a_mask(self, gpt2: Any) -> None:
        tokens = gpt2.to_tokens(TEXTS)
        want, seen = gpt2(tokens), []

        def hook(value: Any, hook: Any) -> None:
            if not seen:
                seen.append(None)
                seen.append(gpt2(tokens))

        with gpt2.hooks([("blocks.0.hook_resid_pre", hook)]):
            gpt2.generate(TEXTS[1], **NEW)
        assert torch.equal(seen[1], want)


@given(
    texts=st.lists(st.sampled_from([*TEXTS, "w5"]), min_size=1, max_size=3),
    kind=st.sampled_from(
        ["list", "text", "alone", "right", "masked", "masked0", "embedded", "cached", "cached too"]
    ),
    same=st.booleans(),
)
@settings(max_examples=settings.default.max_examples // 4)
def test_elsewhere_nothing_changes(
    gpt2: Any, qwen2: Any, texts: list[str], kind: str, same: bool
) -> None:
    bridge = gpt2 if same else qwen2
    tokens = bridge.to_tokens(texts)
    embed = bridge.original_model.get_input_embeddings()
    calls: dict[str, tuple[Any, dict[str, Any]]] = {
        "list": (texts, {}),
        "text": (texts[0], {}),
        "alone": (alone(bridge, texts[0]), {}),
        "right": (bridge.to_tokens(texts, padding_side="right"), {"padding_side": "right"}),
        "masked": (tokens, {"attention_mask": torch.ones_like(tokens)}),
        "masked0": (tokens, {"one_zero_attention_mask": torch.ones_like(tokens)}),
        "embedded": (embed(tokens).detach(), {}),
        "cached": (tokens, {"use_cache": True}),
        "cached too": (tokens, {"use_past_kv_cache": True}),
    }
    what, options = calls[kind]

    def said() -> list[torch.Tensor]:
        return [bridge(what, **options), bridge.run_with_cache(what, **options)[0]]

    before = said()
    with fixes.applied(SLUG):
        after = said()
    assert all(torch.equal(*both) for both in zip(before, after, strict=True))


def test_a_cache_that_is_carried_on_is_as_it_was(gpt2: Any) -> None:
    """The step after has no mask of the padding, so the first one must not have one either."""
    tokens, new = gpt2.to_tokens(TEXTS), torch.tensor([[5], [6], [7]])

    def said() -> list[torch.Tensor]:
        logits, cache = gpt2(tokens, return_type="logits_and_cache")
        return [logits, gpt2(new, past_key_values=cache)]

    before = said()
    with fixes.applied(SLUG):
        after = said()
    assert all(torch.equal(*both) for both in zip(before, after, strict=True))


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("family", ["gpt2", "qwen2"])
def test_generation_is_as_it_was(request: pytest.FixtureRequest, family: str, cached: bool) -> None:
    bridge = request.getfixturevalue(family)
    tokens = bridge.to_tokens(TEXTS)
    prompts = (TEXTS, TEXTS[1], tokens, alone(bridge, TEXTS[1]))

    def said() -> list[torch.Tensor]:
        options = NEW | {"use_past_kv_cache": cached}
        made = [bridge.generate(prompt, **options) for prompt in prompts]
        made.append(bridge.generate(tokens, padding_side="left", **options))
        pieces = bridge.generate_stream(tokens, max_tokens_per_yield=1, **options)
        return [*made, torch.cat(list(pieces), dim=1)]

    before = said()
    with fixes.applied(SLUG):
        after = said()
    assert all(torch.equal(*both) for both in zip(before, after, strict=True))
    # What upstream documents for left-padded tokens is what each text gives by itself.
    for row, text in enumerate(TEXTS):
        own = bridge.generate(alone(bridge, text), **NEW)[0]
        assert after[4][row, -3:].tolist() == own[-3:].tolist()
