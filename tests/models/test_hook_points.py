"""Hook points: names, functions on them, and the space they share."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.tiny import FAMILIES, WIDTH, make_tiny_model, tiny_model

from tl_ext.activations.capture import run
from tl_ext.errors import HookPointError
from tl_ext.models.hook_points import (
    hooked,
    kind_of,
    layer_of,
    names,
    resolve,
    row_norms,
    to_residual,
    usual_norm,
)
from tl_ext.models.tokens import batch

POINTS = (
    "blocks.0.hook_resid_pre",
    "blocks.1.hook_resid_post",
    "blocks.1.hook_attn_out",
    "blocks.2.hook_mlp_out",
    "blocks.1.attn.hook_z",
    "blocks.0.attn.hook_q",
)


@pytest.mark.parametrize(
    ("name", "layer", "kind"),
    [
        ("blocks.4.hook_resid_pre", 4, "resid_pre"),
        ("blocks.12.hook_in", 12, "resid_pre"),
        ("blocks.0.hook_out", 0, "resid_post"),
        ("blocks.0.attn.hook_z", 0, "z"),
        ("blocks.0.attn.o.hook_in", 0, "z"),
        ("blocks.3.mlp.hook_out", 3, "mlp_out"),
        ("ln_final.hook_normalized", None, "normalized"),
        ("hook_embed", None, "embed"),
    ],
)
def test_a_name_tells_its_layer_and_kind(name: str, layer: int | None, kind: str) -> None:
    assert (layer_of(name), kind_of(name)) == (layer, kind)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", POINTS)
def test_identity_edit_is_bit_equal_and_fires_once(family: str, name: str) -> None:
    model = tiny_model(family)
    tokens = batch(model, ["w5 w6 w7", "w8"])
    shapes = []
    with torch.no_grad():
        before = model(tokens.ids, **tokens.forward_arguments())
        with hooked(model, {name: lambda x: (shapes.append(x.shape), x)[1]}) as fired:
            after = model(tokens.ids, **tokens.forward_arguments())
    assert torch.equal(before, after)
    assert fired == {name: 1}
    assert [tuple(shape[:2]) for shape in shapes] == [tuple(tokens.ids.shape)]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", [name for name in POINTS if "hook_q" not in name])
def test_an_edit_changes_the_logits_and_then_is_gone(family: str, name: str) -> None:
    model = tiny_model(family)
    tokens = batch(model, ["w5 w6 w7"])
    with torch.no_grad():
        before = model(tokens.ids, **tokens.forward_arguments())
        noise = torch.randn(WIDTH, generator=torch.Generator().manual_seed(0))
        with hooked(model, {name: lambda x: x + noise}):
            during = model(tokens.ids, **tokens.forward_arguments())
        after = model(tokens.ids, **tokens.forward_arguments())
    assert not torch.allclose(before, during, atol=1e-3)
    assert torch.equal(before, after)


def test_hooks_of_others_stay_and_ours_go_even_after_an_error() -> None:
    model = make_tiny_model("gpt2")
    name, seen = "blocks.1.hook_resid_pre", []
    model.add_hook(name, lambda tensor, hook: seen.append(1))
    tokens = batch(model, ["w5 w6"])

    def fail(activation: torch.Tensor) -> None:
        raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"), hooked(model, {name: fail}):
        model(tokens.ids, **tokens.forward_arguments())
    seen.clear()
    model(tokens.ids, **tokens.forward_arguments())
    assert seen == [1]
    assert len(resolve(model, name).fwd_hooks) == 1


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(HookPointError, match=r"Nearest: blocks\.1\.hook_resid_pre"):
        resolve(tiny_model("gpt2"), "blocks.1.hook_residpre")


def test_a_hook_point_that_is_switched_off_is_an_error() -> None:
    with pytest.raises(HookPointError, match="set_use_attn_result"):
        resolve(tiny_model("gpt2"), "blocks.0.attn.hook_result")


def test_what_is_no_activation_is_refused() -> None:
    model = tiny_model("gpt2")
    tokens = batch(model, ["w5 w6"])
    with (
        pytest.raises(HookPointError, match=r"\[batch token d_in\] is expected"),
        hooked(model, {"blocks.0.attn.hook_pattern": lambda x: None}),
    ):
        model(tokens.ids, **tokens.forward_arguments())


@pytest.mark.parametrize("family", ["gpt2", "llama", "qwen2"])
def test_hook_z_mapped_to_the_residual_stream_is_the_attentions_output(family: str) -> None:
    model = tiny_model(family)
    tokens = batch(model, ["w5 w6 w7"])
    found = run(model, tokens, ["blocks.1.attn.hook_z", "blocks.1.hook_attn_out"])
    mapped = to_residual(model, "blocks.1.attn.hook_z", found["blocks.1.attn.hook_z"][0])
    bias = found["blocks.1.hook_attn_out"][0] - mapped
    # What is left is the output bias, the same at every token.
    torch.testing.assert_close(bias, bias[:1].expand_as(bias), atol=1e-5, rtol=1e-4)


@given(st.sampled_from(["resid_pre", "resid_post", "attn_out", "mlp_out"]))
def test_the_residual_stream_is_its_own_space(kind: str) -> None:
    rows = torch.randn(2, WIDTH)
    assert to_residual(tiny_model("gpt2"), f"blocks.0.hook_{kind}", rows) is rows


def test_hook_points_without_a_shared_space_are_an_error() -> None:
    with pytest.raises(HookPointError, match="share no space"):
        to_residual(tiny_model("gpt2"), "blocks.0.mlp.hook_post", torch.zeros(1, 28))


def test_a_bare_string_is_one_name() -> None:
    assert names("blocks.0.hook_in") == ("blocks.0.hook_in",)
    assert names(iter(["a", "b"])) == ("a", "b")


def test_the_usual_norm_is_the_median_over_all_batches() -> None:
    rows = torch.arange(1.0, 6)[:, None] * torch.tensor([3.0, 4.0])
    parts = [row_norms(rows[:1].half()), row_norms(rows[1:1]), row_norms(rows[1:])]
    assert usual_norm(parts) == pytest.approx(15)
