"""Capturing: the same numbers as one text at a time, and nothing past the last hook point."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.tiny import FAMILIES, make_tiny_model, tiny_model

from tl_ext.activations.capture import capture, iterate, run
from tl_ext.errors import HookPointError, InputError
from tl_ext.models.hook_points import hooked, resolve
from tl_ext.models.tokens import batch

POINTS = ["blocks.0.hook_resid_pre", "blocks.1.attn.hook_z", "blocks.1.hook_mlp_out"]
TEXTS = st.lists(
    st.lists(st.integers(4, 60).map("w{}".format), min_size=1, max_size=6).map(" ".join),
    min_size=1,
    max_size=6,
)


@pytest.mark.parametrize("family", FAMILIES)
def test_captured_is_what_upstreams_cache_holds(family: str) -> None:
    model = tiny_model(family)
    tokens = batch(model, ["w5 w6 w7 w8", "w9"])
    found = run(model, tokens, POINTS)
    _, cache = model.run_with_cache(tokens.ids, attention_mask=tokens.mask.long())
    for name in POINTS:
        assert torch.equal(found[name], cache[name].flatten(2))


@given(texts=TEXTS, batch_size=st.integers(1, 4))
def test_rows_come_in_the_order_of_the_texts_for_any_batch_size(
    texts: list[str], batch_size: int
) -> None:
    model = tiny_model("gpt2")
    together = capture(model, texts, POINTS, batch_size=batch_size)
    alone = [capture(model, [text], POINTS) for text in texts]
    lengths = [len(part.token) for part in alone]
    assert together.text.tolist() == [i for i, n in enumerate(lengths) for _ in range(n)]
    assert together.token.tolist() == [t for n in lengths for t in range(n)]
    for name in POINTS:
        torch.testing.assert_close(
            together.activations[name],
            torch.cat([part.activations[name] for part in alone]),
            atol=1e-5,
            rtol=1e-4,
        )


def test_nothing_is_computed_past_the_last_hook_point() -> None:
    model, reached = make_tiny_model("gpt2"), []
    for layer in range(3):
        name = f"blocks.{layer}.hook_resid_pre"
        model.add_hook(name, lambda tensor, hook, layer=layer: reached.append(layer))
    run(model, batch(model, ["w5"]), ["blocks.0.attn.hook_z"])
    assert reached == [0]


def test_capturing_leaves_nothing_behind() -> None:
    model = make_tiny_model("gpt2")
    tokens = batch(model, ["w5 w6"])
    with torch.no_grad():
        before = model(tokens.ids, **tokens.forward_arguments())
        capture(model, ["w5 w6"], POINTS)
        after = model(tokens.ids, **tokens.forward_arguments())
    assert torch.equal(before, after)
    assert not any(resolve(model, name).fwd_hooks for name in POINTS)


def test_captured_is_after_other_hooks_and_is_ours_to_keep() -> None:
    """A later in-place change of the activation does not reach what was captured."""
    model = make_tiny_model("gpt2")
    tokens, name = batch(model, ["w5 w6"]), "blocks.1.hook_resid_pre"
    plain = run(model, tokens, [name])[name]
    with hooked(model, {name: lambda x: x + 1}):
        edited = run(model, tokens, [name, "blocks.2.hook_resid_pre"])[name]
    torch.testing.assert_close(edited, plain + 1)


def test_a_hook_point_that_never_fires_is_an_error() -> None:
    model = make_tiny_model("gpt2")
    point = resolve(model, "blocks.0.hook_resid_pre")
    model._hook_registry["blocks.0.hook_never"] = type(point)()
    with pytest.raises(HookPointError, match="never fired"):
        run(model, batch(model, ["w5"]), ["blocks.0.hook_never"])


def test_bad_input_says_what_is_missing() -> None:
    model = tiny_model("gpt2")
    with pytest.raises(InputError, match="no texts"):
        list(iterate(model, [], POINTS))
    with pytest.raises(InputError, match="no hook points"):
        list(iterate(model, ["w5"], []))
    with pytest.raises(InputError, match="list of texts"):
        list(iterate(model, "w5", POINTS))
    with pytest.raises(InputError, match="batch_size is 0"):
        list(iterate(model, ["w5"], POINTS, batch_size=0))
    with pytest.raises(InputError, match="no token to read"):
        capture(tiny_model("qwen2"), ["w5"], POINTS)


def test_a_bare_string_is_one_hook_point() -> None:
    model, name = tiny_model("gpt2"), POINTS[0]
    one, several = capture(model, ["w5 w6"], name), capture(model, ["w5 w6"], [name])
    assert list(one.activations) == [name]
    assert torch.equal(one.activations[name], several.activations[name])
    assert list(run(model, batch(model, ["w5"]), name)) == [name]


def test_what_is_not_finite_is_an_error_at_tokens_and_none_at_padding() -> None:
    model, name = make_tiny_model("gpt2"), "blocks.1.hook_resid_pre"
    tokens = batch(model, ["w5 w6 w7", "w8"])

    def broken(where: torch.Tensor):  # type: ignore[no-untyped-def]
        return {name: lambda x: x.masked_fill(where[..., None], float("nan"))}

    with hooked(model, broken(~tokens.mask)):
        assert run(model, tokens, name)[name][tokens.mask].isfinite().all()
    with (
        hooked(model, broken(tokens.content)),
        pytest.raises(InputError, match=f"{name} .* 4 of 6"),
    ):
        run(model, tokens, name)
    model.original_model.transformer.h[0].mlp.c_fc.weight.data[0, 0] = float("nan")
    with pytest.raises(InputError, match=f"{name} is NaN or infinite"):
        capture(model, ["w5 w6"], name)


def test_what_is_captured_is_shown_in_two_lines() -> None:
    model = tiny_model("gpt2")
    captured = capture(model, ["w5 w6", "w7"], POINTS[:1])
    assert repr(captured) == f"<Captured: 3 tokens of 2 texts\n  {POINTS[0]} [3, 24]>"
    (part,) = iterate(model, ["w5 w6", "w7"], POINTS[:1])
    assert repr(part) == (f"<CapturedBatch: 2 texts, 3 content tokens\n  {POINTS[0]} [2, 3, 24]>")
