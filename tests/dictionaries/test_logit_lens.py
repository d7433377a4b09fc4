"""The logit lens: through the model's own norm, by hand."""

from __future__ import annotations

import pytest
import torch
from tests.dictionaries.planted import Planted
from tests.dictionaries.test_reading import dictionary
from tests.tiny import FAMILIES, WIDTH, tiny_model

from tl_ext.dictionaries.logit_lens import lens, lens_tokens
from tl_ext.models.hook_points import to_residual


@pytest.mark.parametrize("family", FAMILIES)
def test_it_is_the_norm_of_the_direction_alone_without_biases(family: str) -> None:
    model = tiny_model(family)
    rows = torch.randn(3, WIDTH, generator=torch.Generator().manual_seed(0))
    norm = model.ln_final.original_component
    centred = rows - rows.mean(-1, keepdim=True) if family in ("gpt2", "gpt_neox", "phi") else rows
    scaled = centred / centred.square().mean(-1, keepdim=True).sqrt() * norm.weight.detach()
    found = lens(model, rows)
    torch.testing.assert_close(found, scaled @ model.W_U.detach(), atol=1e-3, rtol=1e-3)
    # Only the direction counts, not its length.
    torch.testing.assert_close(lens(model, 1e-4 * rows), found, atol=1e-3, rtol=1e-3)


def test_attention_is_read_through_the_output_matrix() -> None:
    model, one = tiny_model("gpt2"), dictionary("z", "blocks.0.attn.hook_z")
    found = lens_tokens(model, one, torch.tensor([4, 9]), k=5)
    values = lens(model, to_residual(model, one.hook_out, one.directions[[4, 9]]))
    assert found.top.tolist() == values.topk(5).indices.tolist()
    assert found.bottom[:, 0].tolist() == values.argmin(-1).tolist()
    torch.testing.assert_close(found.top_values, values.topk(5).values)


def test_a_token_planted_in_a_direction_is_on_top() -> None:
    model = tiny_model("llama")
    weight = model.ln_final.original_component.weight.detach()
    wanted = model.W_U.detach()[:, 17] / weight
    one = Planted(directions=torch.stack([wanted, -wanted]))
    values = lens(model, one.directions)
    assert torch.equal(values[0].argsort(), values[1].argsort(descending=True))
    assert int(lens_tokens(model, one, torch.tensor([0, 1]), k=1).top[0, 0]) == int(
        (wanted / wanted.norm() * weight @ model.W_U.detach()).argmax()
    )


def test_without_a_space_to_share_there_is_none() -> None:
    one = Planted(hook_out="blocks.0.mlp.hook_pre", directions=torch.ones(7, WIDTH))
    found = lens_tokens(tiny_model("gpt2"), one, torch.arange(7), k=3)
    assert (found.top == -1).all() and found.top_values.isnan().all()
    zero = lens_tokens(
        tiny_model("gpt2"), Planted(directions=torch.zeros(7, WIDTH)), torch.arange(7)
    )
    assert (zero.bottom == -1).all()
