"""Output scores: planted directions that can and cannot move the output."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from tests.interventions.test_edits import Contextual
from tests.interventions.toy import LATENTS, toy_dictionary
from tests.tiny import FAMILIES, VOCABULARY, WIDTH, tiny_model

from tl_ext.errors import HookPointError, InputError
from tl_ext.interventions.applied import applied
from tl_ext.interventions.edits import Add
from tl_ext.models.tokens import batch
from tl_ext.steering.output_scores import output_scores

LAST = "blocks.2.hook_resid_pre"
PROMPTS = ("w5 w6 w7", "w8 w9")


def planted(*directions: torch.Tensor, point: str = LAST) -> Any:
    """A toy dictionary whose first latents point where they are told to."""
    one = toy_dictionary(hook_in=point, hook_out=point)
    W_dec = one.W_dec.clone()
    W_dec[: len(directions)] = torch.stack(directions)
    return toy_dictionary(hook_in=point, hook_out=point, W_dec=W_dec)


def towards(family: str, token: int) -> torch.Tensor:
    """The direction whose logit lens is highest at a token."""
    model = tiny_model(family)
    weight = model.ln_final.original_component.weight.detach()
    wanted = model.W_U.detach()[:, token] - model.W_U.detach().mean(-1)
    return wanted / weight


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_direction_towards_a_token_scores_as_high_as_the_model_can_say_it(family: str) -> None:
    model, end = tiny_model(family), "blocks.2.hook_resid_post"
    direction = towards(family, 17)
    one = planted(direction, point=end)
    table = output_scores(model, one, range(LATENTS), prompts=PROMPTS, amplification=1e4, top=1)
    with torch.no_grad():
        probs = model.unembed(model.ln_final(1e5 * direction[None, None])).softmax(-1)[0, 0]
    assert int(probs.argmax()) == 17
    first = table.iloc[0]
    assert first["top_tokens"] == [" w17"]
    assert first["output_score"] == pytest.approx(float(probs[17]), rel=0.02)
    assert first["output_score"] > 3 * first["unsteered_score"]
    assert first["kl"] > 1


def test_a_direction_that_the_norms_take_out_moves_nothing() -> None:
    # LayerNorm takes a constant out, wherever the residual stream is read.
    one = planted(torch.ones(WIDTH), towards("gpt2", 17))
    table = output_scores(tiny_model("gpt2"), one, [0, 1], prompts=PROMPTS)
    nothing, something = table.to_dict("records")
    assert nothing["kl"] == pytest.approx(0, abs=1e-5)
    assert nothing["output_score"] == pytest.approx(nothing["unsteered_score"], abs=1e-4)
    assert something["kl"] > 100 * nothing["kl"] + 0.1


@pytest.mark.parametrize("family", FAMILIES)
def test_it_is_the_published_score_prompt_by_prompt(family: str) -> None:
    model, latent = tiny_model(family), 3
    one = toy_dictionary(hook_in=LAST, hook_out=LAST)
    table = output_scores(model, one, [latent], prompts=PROMPTS, amplification=4.0, top=6)
    from tl_ext.activations.capture import run
    from tl_ext.dictionaries.logit_lens import lens_tokens

    top = lens_tokens(model, one, torch.tensor([latent]), k=6).top[0].long()
    scores, moved = [], []
    for prompt in PROMPTS:
        tokens = batch(model, [prompt])
        read = run(model, tokens, LAST)[LAST]
        length = 4.0 * float(one.encode(read)[0, -1].max())
        last = torch.zeros_like(tokens.mask)
        last[0, -1] = True
        with torch.no_grad():
            plain = model(tokens.ids)[0, -1].log_softmax(-1)
            with applied(model, Add(LAST, length * one.W_dec[latent]), last):
                probs = model(tokens.ids)[0, -1].softmax(-1)
        ranks = [int((probs > probs[token]).sum()) for token in top]
        scores.append((1 - min(ranks) / VOCABULARY) * float(probs[top].max()))
        moved.append(float((plain.exp() * (plain - probs.log())).sum()))
    assert table["output_score"][0] == pytest.approx(sum(scores) / 2, rel=1e-3)
    assert table["kl"][0] == pytest.approx(sum(moved) / 2, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("batch_size", [1, 3, 7, 200])
def test_the_batch_size_does_not_matter(batch_size: int) -> None:
    model, one = tiny_model("gpt2"), toy_dictionary(hook_in=LAST, hook_out=LAST)
    chosen = [5, 1, 30, 8, 2]
    some = output_scores(model, one, chosen, prompts=PROMPTS, batch_size=batch_size)
    every = output_scores(model, one, range(LATENTS), prompts=PROMPTS)
    assert some["latent"].tolist() == chosen
    for column in ("output_score", "unsteered_score", "kl", "length"):
        expected = every[column].to_numpy()[chosen]
        assert some[column].to_numpy() == pytest.approx(expected, rel=1e-3, abs=1e-6)


def test_attention_and_dictionaries_that_normalise_are_scored_in_the_activations_units() -> None:
    model = tiny_model("gpt2")
    z = toy_dictionary(hook_in="blocks.2.attn.hook_z", hook_out="blocks.2.attn.hook_z")
    assert output_scores(model, z, [1, 2], prompts=PROMPTS)["kl"].gt(0).all()
    plain = toy_dictionary(hook_in=LAST, hook_out=LAST)
    normed = toy_dictionary(hook_in=LAST, hook_out=LAST, normalisation="layer_norm")
    lengths = [
        output_scores(model, one, [1], prompts=PROMPTS)["length"][0] for one in (plain, normed)
    ]
    assert all(length > 0 for length in lengths)
    contextual = output_scores(model, Contextual(plain), [1], prompts=PROMPTS)
    assert math.isfinite(contextual["kl"][0])


def test_where_there_is_no_logit_lens_only_the_divergence_is_known() -> None:
    one = toy_dictionary(hook_in=LAST, hook_out=LAST)
    zero = planted(torch.zeros(WIDTH))
    table = output_scores(tiny_model("gpt2"), zero, [0], prompts=PROMPTS)
    assert math.isnan(table["output_score"][0])
    assert table["kl"][0] == pytest.approx(0, abs=1e-6)
    assert table["top_tokens"][0] == []
    assert not output_scores(tiny_model("gpt2"), one, [0], prompts=PROMPTS).isna().any().any()


def test_bad_input_says_what_to_do() -> None:
    model, one = tiny_model("gpt2"), toy_dictionary(hook_in=LAST, hook_out=LAST)
    with pytest.raises(InputError, match="0 to 39"):
        output_scores(model, one, [40])
    with pytest.raises(InputError, match="empty list"):
        output_scores(model, one, [])
    with pytest.raises(InputError, match="no texts"):
        output_scores(model, one, [1], prompts=[])
    with pytest.raises(InputError, match="positive"):
        output_scores(model, one, [1], amplification=0)
    with pytest.raises(InputError, match="longer"):
        output_scores(tiny_model("qwen2"), one, [1], prompts=["w5"])
    middle = toy_dictionary(hook_in="blocks.1.hook_resid_mid", hook_out="blocks.1.hook_resid_mid")
    with pytest.raises(HookPointError, match="cannot be edited"):
        output_scores(model, middle, [1], prompts=PROMPTS)
