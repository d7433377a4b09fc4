"""What a batch's text reads is what it reads alone, whatever `prepend_bos` was asked for."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.tiny import make_tiny_model, tiny_hf_model

from tl_ext import fixes
from tl_ext.fixes.transformerlens.prepend_bos_ignored_in_padding_mask import SLUG

TEXTS = ["w5 w6 w7 w8 w9", "w12 w13", "w20 w21 w22"]
BOS = 2
FAMILIES = ("gpt2", "llama")
NEW: dict[str, Any] = {
    "max_new_tokens": 4,
    "do_sample": False,
    "stop_at_eos": False,
    "return_type": "tokens",
    "verbose": False,
}


@pytest.fixture(scope="module", params=FAMILIES)
def pair(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    """A bridge whose padding, BOS and EOS are one token, and the same model of transformers."""
    return make_tiny_model(request.param), tiny_hf_model(request.param)


@pytest.fixture(scope="module")
def gpt2() -> Any:
    return make_tiny_model("gpt2")


def ids(text: str, prepends: bool) -> list[int]:
    return [BOS] * prepends + [int(word[1:]) for word in text.split()]


def truth(model: Any, text: str, prepends: bool) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.tensor([ids(text, prepends)])).logits[0]


def continued(model: Any, text: str, prepends: bool) -> list[int]:
    """Greedily, by hand and without a cache."""
    row = ids(text, prepends)
    for _ in range(NEW["max_new_tokens"]):
        with torch.no_grad():
            row.append(int(model(torch.tensor([row])).logits[0, -1].argmax()))
    return row


@pytest.mark.usefixtures("fixed")
@pytest.mark.parametrize("default", [True, False])
@pytest.mark.parametrize("asked", [True, False])
class TestTogetherAsAlone:
    def test_logits_and_activations(
        self, pair: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch, default: bool, asked: bool
    ) -> None:
        bridge, model = pair
        monkeypatch.setattr(bridge.cfg, "default_prepend_bos", default)
        options: dict[str, Any] = {"prepend_bos": asked, "padding_side": "left"}
        logits, cache = bridge.run_with_cache(TEXTS, **options)
        torch.testing.assert_close(logits, bridge(TEXTS, **options))
        losses = bridge(TEXTS, return_type="loss", loss_per_token=True, **options)
        stopped = bridge(TEXTS, stop_at_layer=2, **options)
        name = "blocks.1.hook_resid_post"
        for row, text in enumerate(TEXTS):
            want = truth(model, text, asked)
            torch.testing.assert_close(logits[row, -len(want) :], want, rtol=1e-4, atol=1e-4)
            _, alone_cache = bridge.run_with_cache(text, prepend_bos=asked)
            torch.testing.assert_close(
                cache[name][row, -len(want) :], alone_cache[name][0], rtol=1e-4, atol=1e-4
            )
            torch.testing.assert_close(stopped[row, -len(want) :], cache[name][row, -len(want) :])
            loss = torch.nn.functional.cross_entropy(
                want[:-1], torch.tensor(ids(text, asked)[1:]), reduction="none"
            )
            torch.testing.assert_close(losses[row, 1 - len(want) :], loss, rtol=1e-4, atol=1e-4)

    @pytest.mark.parametrize("cached", [True, False])
    def test_continuations(
        self,
        pair: tuple[Any, Any],
        monkeypatch: pytest.MonkeyPatch,
        default: bool,
        asked: bool,
        cached: bool,
    ) -> None:
        bridge, model = pair
        monkeypatch.setattr(bridge.cfg, "default_prepend_bos", default)
        want = [continued(model, text, asked) for text in TEXTS]
        new = bridge.generate(TEXTS, prepend_bos=asked, use_past_kv_cache=cached, **NEW)
        assert [row[-len(one) :] for row, one in zip(new.tolist(), want, strict=True)] == want
        pieces = bridge.generate_stream(
            TEXTS, prepend_bos=asked, use_past_kv_cache=cached, max_tokens_per_yield=2, **NEW
        )
        assert torch.equal(torch.cat(list(pieces), dim=1), new)


@pytest.mark.usefixtures("fixed")
@pytest.mark.parametrize("name", ["attention_mask", "one_zero_attention_mask"])
def test_no_mask_is_none_given(gpt2: Any, name: str) -> None:
    options: dict[str, Any] = {"prepend_bos": False, "padding_side": "left"}
    assert torch.equal(gpt2(TEXTS, **{name: None}, **options), gpt2(TEXTS, **options))


def test_upstream_as_it_is_attends_to_the_last_padding(gpt2: Any) -> None:
    together = gpt2(TEXTS, prepend_bos=False, padding_side="left")[1, -2:]
    assert (together - gpt2(TEXTS[1], prepend_bos=False)[0]).abs().max() > 0.1


@pytest.mark.usefixtures("fixed")
class TestCorners:
    def test_gradients_are_those_of_the_text_alone(self, gpt2: Any) -> None:
        def gradient(texts: list[str]) -> torch.Tensor:
            logits = gpt2(texts, prepend_bos=False, padding_side="left")[-1, -1]
            weights = gpt2.original_model.get_input_embeddings().weight
            return torch.autograd.grad(logits.square().sum(), weights)[0]

        together, alone = gradient([TEXTS[0], TEXTS[1]]), gradient([TEXTS[1]])
        torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-3)

    def test_the_side_is_the_tokenizers_where_none_is_given(
        self, gpt2: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(gpt2.tokenizer, "padding_side", "left")
        want = gpt2(TEXTS, prepend_bos=False, padding_side="left")
        assert torch.equal(gpt2(TEXTS, prepend_bos=False), want)
        assert torch.equal(gpt2(TEXTS, "logits", False, False), want)

    def test_what_runs_inside_a_call_is_asked_nothing(self, gpt2: Any) -> None:
        seen = []

        def hook(value: Any, hook: Any) -> None:
            seen.append(gpt2.cfg.default_prepend_bos)
            seen.append(gpt2.to_tokens("w5").tolist() == [[BOS, 5]])

        with gpt2.hooks([("blocks.0.hook_resid_pre", hook)]):
            gpt2(TEXTS, prepend_bos=False, padding_side="left")
            gpt2.generate(TEXTS, prepend_bos=False, **NEW)
        assert len(seen) > 4 and all(seen)

    def test_a_generation_is_not_told_what_another_was_asked(self, gpt2: Any) -> None:
        want = gpt2.generate(TEXTS, **NEW)

        def fail(value: Any, hook: Any) -> None:
            raise RuntimeError("stop")

        with gpt2.hooks([("blocks.0.hook_resid_pre", fail)]), pytest.raises(RuntimeError):
            gpt2.generate(TEXTS, prepend_bos=False, **NEW)
        assert torch.equal(gpt2.generate(TEXTS, **NEW), want)
        stream = gpt2.generate_stream(TEXTS, prepend_bos=False, max_tokens_per_yield=1, **NEW)
        next(stream)
        assert torch.equal(gpt2.generate(TEXTS, **NEW), want)

    def test_a_mask_that_is_given_is_used(self, gpt2: Any) -> None:
        tokens = gpt2.to_tokens(TEXTS, prepend_bos=False, padding_side="left")
        mask = torch.ones_like(tokens)
        options: dict[str, Any] = {"prepend_bos": False, "padding_side": "left"}
        for name in ("attention_mask", "one_zero_attention_mask"):
            got = gpt2(TEXTS, **options, **{name: mask})
            torch.testing.assert_close(got, gpt2(tokens))
        new = gpt2.generate(TEXTS, prepend_bos=False, attention_mask=mask, **NEW)
        assert torch.equal(new, gpt2.generate(tokens, **NEW))


@pytest.mark.parametrize("slugs", [(SLUG, "multi-token-prefix"), ("multi-token-prefix", SLUG)])
@pytest.mark.parametrize("default", [True, False])
def test_no_padding_is_bos_where_a_prefix_stands_before_texts(
    monkeypatch: pytest.MonkeyPatch, slugs: tuple[str, str], default: bool
) -> None:
    """Padding is EOS and so is what booting makes BOS, as for GLM-4; both fixes in either order."""
    from tokenizers import processors

    bridge = make_tiny_model("llama")
    words = bridge.tokenizer.backend_tokenizer
    words.post_processor = processors.TemplateProcessing(
        single="w40 w41 $A", special_tokens=[("w40", 40), ("w41", 41)]
    )
    bridge.cfg.tokenizer_prepends_bos = False
    monkeypatch.setattr(bridge.cfg, "default_prepend_bos", default)
    with ExitStack() as stack:
        for slug in slugs:
            stack.enter_context(fixes.applied(slug))
        for asked in (None, True, False):
            options: dict[str, Any] = {"prepend_bos": asked}
            together = bridge(TEXTS, padding_side="left", **options)
            new = bridge.generate(TEXTS, **options, **NEW)
            for row, text in enumerate(TEXTS):
                alone = bridge(text, **options)[0]
                assert len(alone) == len(text.split()) + 2 * (asked is not False)
                torch.testing.assert_close(
                    together[row, -len(alone) :], alone, rtol=1e-4, atol=1e-4
                )
                assert (
                    new[row, -4:].tolist()
                    == bridge.generate(text, **options, **NEW)[0, -4:].tolist()
                )


@pytest.fixture(scope="module")
def two_tokens() -> Any:
    """No BOS, and padding and EOS are two tokens: there is nothing to mistake for padding."""
    return make_tiny_model("qwen2")


@given(
    texts=st.lists(st.sampled_from([*TEXTS, "w5"]), min_size=1, max_size=3),
    asked=st.sampled_from([None, True, False]),
    side=st.sampled_from([None, "left", "right"]),
    kind=st.sampled_from(["list", "text", "tokens"]),
    same=st.booleans(),
)
@settings(max_examples=settings.default.max_examples // 4)
def test_elsewhere_nothing_changes(
    gpt2: Any, two_tokens: Any, texts: list[str], asked: Any, side: Any, kind: str, same: bool
) -> None:
    bridge = gpt2 if same else two_tokens
    if same and kind == "list":
        # Here the fix has no say: the default was asked for, or padding is on the right.
        asked = asked if side == "right" else True
    given: Any = {"list": texts, "text": texts[0], "tokens": bridge.to_tokens(texts)}[kind]
    options: dict[str, Any] = {"prepend_bos": asked, "padding_side": side}

    def said() -> list[torch.Tensor]:
        new = bridge.generate(given, **options, **NEW) if asked is None or not same else None
        read = [bridge(given, **options), bridge(given, return_type="loss", **options)]
        return read if new is None else [*read, new]

    before = said()
    with fixes.applied(SLUG):
        after = said()
    assert all(torch.equal(*both) for both in zip(before, after, strict=True))
