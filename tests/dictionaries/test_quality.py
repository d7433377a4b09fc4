"""Evaluation: the measures on dictionaries whose truth is known, and the silent mistake said aloud."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from tests.dictionaries.saved import dictionary_of
from tests.tiny import WIDTH, make_tiny_model, tiny_hf_model, tiny_model, tiny_tokenizer
from torch import Tensor

from tl_ext.activations.capture import capture
from tl_ext.dictionaries.dictionary import Dictionaries, Dictionary, Statistics
from tl_ext.dictionaries.quality import evaluate_dictionary
from tl_ext.dictionaries.sparse import ReLU, SparseDictionary
from tl_ext.errors import DictionaryError, HookPointError, InputError
from tl_ext.models.hook_points import hooked
from tl_ext.models.loading import Processing, load_model
from tl_ext.models.tokens import batch

POINT = "blocks.1.hook_resid_pre"
TEXTS = [" ".join(f"w{4 + (7 * i + 3 * j) % 50}" for j in range(3 + i % 9)) for i in range(24)]


def projecting(projection: Tensor, point: str = POINT, **changes: Any) -> SparseDictionary:
    """A dictionary whose reconstruction is `x @ projection`, by latents of both signs."""
    width = len(projection)
    both = torch.cat([torch.eye(width), -torch.eye(width)])
    return replace(
        dictionary_of("standard"),
        id=point,
        hook_in=point,
        hook_out=point,
        W_enc=both.T.contiguous(),
        W_dec=both @ projection,
        b_dec=torch.zeros(width),
        activation=ReLU(torch.zeros(2 * width)),
        **changes,
    )


@dataclass(frozen=True)
class Below:
    """`relu(ceiling - x)`."""

    ceiling: float

    def __call__(self, linear: Tensor) -> Tensor:
        return (self.ceiling - linear).relu()


def capped(point: str, rows: Tensor) -> SparseDictionary:
    """Perfect on rows as large as these, blind to whatever is larger."""
    ceiling, width = 1.01 * float(rows.max()), rows.shape[-1]
    return replace(
        projecting(torch.eye(width), point),
        W_enc=torch.eye(width),
        W_dec=-torch.eye(width),
        b_dec=torch.full((width,), ceiling),
        centres_input=False,
        activation=Below(ceiling),
    )


IDENTITY = torch.eye(WIDTH)
CENTRING = torch.eye(WIDTH) - 1 / WIDTH


def biased(change: Callable[[Any], None]) -> tuple[Any, Any]:
    """A changed model, raw and processed. Made twice: a model in memory is wrapped, not copied."""
    made = []
    for processing in (Processing.RAW, Processing.COMPATIBILITY):
        hf = tiny_hf_model("gpt2")
        with torch.no_grad():
            change(hf.transformer)
        made.append(load_model(hf, tokenizer=tiny_tokenizer(), processing=processing))
    return made[0], made[1]


@pytest.fixture(scope="module")
def off_centre() -> tuple[Any, Any]:
    """A model whose residual stream has a large mean."""

    def change(transformer: Any) -> None:
        transformer.wte.weight += 1.5

    return biased(change)


def test_a_perfect_dictionary_costs_nothing() -> None:
    quality = evaluate_dictionary(tiny_model(), projecting(IDENTITY), TEXTS, batch_size=7)
    for measures in (quality.content, quality.all_tokens):
        assert measures.fvu < 1e-10
        assert measures.ce_splice == pytest.approx(measures.ce_clean, abs=1e-5)
        assert measures.ce_recovered == pytest.approx(1, abs=1e-3)
        assert measures.l0 == pytest.approx(WIDTH)
    assert quality.warnings == () and quality.advice == ()


def test_the_measures_are_their_formulas() -> None:
    """Against a plain computation, one text at a time, without padding or batches."""
    model, dictionary = tiny_model(), projecting(CENTRING * 0.7)
    quality = evaluate_dictionary(model, dictionary, TEXTS, batch_size=5)
    loss = {"clean": 0.0, "splice": 0.0, "zero": 0.0}
    xs, count = [], 0
    for text in TEXTS:
        tokens = batch(model, [text])
        chosen = tokens.content[0]
        seen: list[Tensor] = []

        def edit(kind: str, chosen: Tensor = chosen, seen: list[Tensor] = seen) -> Any:
            def function(activation: Tensor) -> Tensor:
                seen.append(activation[0, chosen])
                put = torch.zeros_like(activation)
                if kind == "splice":
                    put = dictionary.reconstruct(activation)
                return (
                    torch.where(chosen[:, None], put, activation) if kind != "clean" else activation
                )

            return function

        for kind in loss:
            with torch.no_grad(), hooked(model, {POINT: edit(kind)}):
                log = model(tokens.ids, **tokens.forward_arguments())[0].log_softmax(-1)
            for position in range(1, tokens.ids.shape[1] - 1):
                loss[kind] -= float(log[position, tokens.ids[0, position + 1]])
                count += kind == "clean"
        xs.append(seen[0])
    x = torch.cat(xs).double()
    error = (x - dictionary.reconstruct(x)).square().sum()
    got = quality.content
    assert got.n_tokens == len(x) and got.n_predictions == count
    assert got.fvu == pytest.approx(float(error / (x - x.mean(0)).square().sum()), rel=1e-4)
    assert got.ce_clean == pytest.approx(loss["clean"] / count, rel=1e-4)
    assert got.ce_splice == pytest.approx(loss["splice"] / count, rel=1e-4)
    assert got.ce_zero == pytest.approx(loss["zero"] / count, rel=1e-4)
    assert quality.all_tokens.n_tokens == len(x) + len(TEXTS)


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_batches_and_padding_do_not_matter(batch_size: int) -> None:
    dictionary = dictionary_of("jumprelu", d_in=WIDTH)
    dictionary = replace(dictionary, hook_in=POINT, hook_out=POINT)
    one = evaluate_dictionary(tiny_model(), dictionary, TEXTS, batch_size=batch_size).to_frame()
    other = evaluate_dictionary(tiny_model(), dictionary, TEXTS[::-1], batch_size=9).to_frame()
    numbers = one.select_dtypes("number").columns
    for column in numbers:
        assert one[column].tolist() == pytest.approx(other[column].tolist(), rel=1e-4), column


def test_dead_latents_are_counted() -> None:
    dictionary = projecting(IDENTITY)
    bias = torch.zeros(2 * WIDTH)
    bias[:12] = -1e6
    dead = replace(dictionary, activation=ReLU(bias))
    assert evaluate_dictionary(tiny_model(), dead, TEXTS).dead_share == pytest.approx(12 / 48)


@pytest.mark.parametrize("point", ["blocks.1.attn.hook_z", "blocks.2.hook_mlp_out", POINT])
@pytest.mark.parametrize("family", ["gpt2", "qwen2"])
def test_every_kind_of_hook_point(point: str, family: str) -> None:
    model = tiny_model(family)
    width = capture(model, TEXTS[:2], [point]).activations[point].shape[-1]
    quality = evaluate_dictionary(model, projecting(torch.eye(width), point), TEXTS)
    assert quality.fvu < 1e-10
    assert quality.content.ce_splice == pytest.approx(quality.content.ce_clean, abs=1e-4)
    assert quality.content.ce_zero != pytest.approx(quality.content.ce_clean, abs=1e-4)


def test_a_transcoder_is_measured_at_its_output() -> None:
    model = tiny_model()
    dictionary = dictionary_of(
        "skip_transcoder",
        d_in=WIDTH,
        d_out=WIDTH,
        metadata={"hook_name": "blocks.1.hook_resid_pre", "hook_name_out": "blocks.1.hook_mlp_out"},
    )
    quality = evaluate_dictionary(model, dictionary, TEXTS)
    captured = capture(model, TEXTS, [dictionary.hook_in, dictionary.hook_out]).activations
    x, y = captured[dictionary.hook_in], captured[dictionary.hook_out]
    error = (y - dictionary.reconstruct(x)).square().sum() / (y - y.mean(0)).square().sum()
    assert quality.fvu == pytest.approx(float(error), rel=1e-3)


def test_a_stated_processing_that_differs_is_said(off_centre: Any) -> None:
    raw, processed = off_centre
    dictionary = projecting(CENTRING, processing=Processing.COMPATIBILITY)
    wrong = evaluate_dictionary(raw, dictionary, TEXTS)
    assert wrong.fvu > 0.5
    assert any(
        "compatibility" in text and "center_writing_weights" in text for text in wrong.warnings
    )
    assert any("processing=Processing.COMPATIBILITY" in text for text in wrong.advice)
    assert any("centred writing weights: FVU 0.00 instead of" in text for text in wrong.advice)
    right = evaluate_dictionary(processed, dictionary, TEXTS)
    assert right.fvu < 1e-6 and right.warnings == () and right.advice == ()


def test_an_unstated_processing_is_found_by_measuring(off_centre: Any) -> None:
    raw, processed = off_centre
    dictionary = projecting(CENTRING, processing=None)
    wrong = evaluate_dictionary(raw, dictionary, TEXTS)
    assert any("centred writing weights" in text for text in wrong.advice)
    assert any("processing=Processing.COMPATIBILITY" in text for text in wrong.advice)
    assert "advice: It fits activations of a model with centred" in repr(wrong)
    assert evaluate_dictionary(processed, dictionary, TEXTS).warnings == ()


def test_raw_dictionaries_on_a_processed_model_are_said_too(off_centre: Any) -> None:
    _, processed = off_centre
    stated = evaluate_dictionary(processed, projecting(IDENTITY, processing=Processing.RAW), TEXTS)
    assert any("Processing.RAW" in text for text in stated.advice)
    unstated = projecting(CENTRING * -1, processing=None)
    assert any(
        "Processing.RAW" in text for text in evaluate_dictionary(processed, unstated, TEXTS).advice
    )


def test_a_processing_that_makes_no_difference_there_is_not_complained_about() -> None:
    # The MLP's own activations are the same under every processing.
    point = "blocks.1.mlp.hook_post"
    width = capture(tiny_model(), TEXTS[:1], [point]).activations[point].shape[-1]
    dictionary = projecting(torch.eye(width), point, processing=Processing.COMPATIBILITY)
    assert evaluate_dictionary(tiny_model(), dictionary, TEXTS).advice == ()


def test_folded_value_biases_are_found_at_hook_z() -> None:
    def change(transformer: Any) -> None:
        for block in transformer.h:
            block.attn.c_attn.bias[2 * WIDTH :] += 3.0
            block.ln_1.bias += 0.5

    raw, processed = biased(change)
    point = "blocks.1.attn.hook_z"
    before, after = (
        capture(model, TEXTS, [point]).activations[point] for model in (raw, processed)
    )
    folded = (before - after).mean(0)
    torch.testing.assert_close(before - after, folded.expand_as(before), atol=1e-3, rtol=1e-3)
    dictionary = capped(point, after)
    wrong = evaluate_dictionary(raw, dictionary, TEXTS)
    assert wrong.fvu > 0.5
    assert any("folded value biases" in text for text in wrong.advice)
    assert evaluate_dictionary(processed, dictionary, TEXTS).fvu < 1e-6


def test_a_constant_that_was_not_folded_is_found() -> None:
    def change(transformer: Any) -> None:
        transformer.wte.weight *= 60

    model, _ = biased(change)
    point = "blocks.0.hook_resid_pre"
    rows = capture(model, TEXTS, [point]).activations[point]
    factor = WIDTH**0.5 / float(rows.norm(dim=-1).mean())
    quality = evaluate_dictionary(model, capped(point, rows * factor), TEXTS)
    assert quality.fvu > 0.2
    assert any(f'"scaling_factor": {factor:.4g}'[:20] in text for text in quality.advice)


def test_what_fits_well_is_not_told_of_something_slightly_better() -> None:
    # Centring would bring FVU from 0.002 to nothing.
    quality = evaluate_dictionary(
        tiny_model(), projecting(0.9 * IDENTITY + 0.1 * CENTRING, processing=None), TEXTS
    )
    assert 1e-4 < quality.fvu < 0.05 and quality.advice == ()


def test_a_hook_point_where_edits_do_not_work_is_said() -> None:
    quality = evaluate_dictionary(
        tiny_model(), projecting(IDENTITY, "blocks.1.hook_resid_mid"), TEXTS
    )
    assert quality.fvu < 1e-10 and math.isnan(quality.ce_recovered)
    assert any("hook_resid_mid" in text for text in quality.warnings)


class Averaging:
    """Needs context: each row becomes the mean of the rows up to it, by latents of both signs."""

    needs_context = True
    normalisation = "none"
    release = neuronpedia_id = processing = None

    def __init__(self) -> None:
        self.inner = projecting(IDENTITY)
        self.id = self.hook_in = self.hook_out = POINT
        self.d_in, self.d_latent = WIDTH, 2 * WIDTH
        self.directions, self.bias = self.inner.directions, self.inner.bias

    def encode(self, x: Tensor) -> Tensor:
        assert x.ndim == 3
        counts = torch.arange(1, x.shape[1] + 1)[:, None]
        return self.inner.encode(x.cumsum(1) / counts)

    def statistics(self, x: Tensor) -> Statistics | None:
        return None

    def decode(self, latents: Tensor, statistics: Statistics | None = None) -> Tensor:
        return self.inner.decode(latents)

    def reconstruct(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x))


def test_a_dictionary_with_context_is_given_whole_texts() -> None:
    dictionary = Averaging()
    assert isinstance(dictionary, Dictionary)
    alone = evaluate_dictionary(tiny_model(), dictionary, TEXTS, batch_size=1)
    together = evaluate_dictionary(tiny_model(), dictionary, TEXTS, batch_size=50)
    assert alone.fvu > 0
    assert together.fvu == pytest.approx(alone.fvu, rel=1e-4)


def test_what_does_not_fit_is_refused() -> None:
    model = tiny_model()
    with pytest.raises(DictionaryError, match=f"is 8 wide at {POINT}.*{WIDTH} wide"):
        evaluate_dictionary(model, dictionary_of(), TEXTS)
    lost = projecting(IDENTITY, "blocks.1.hook_resid_prev")
    with pytest.raises(HookPointError, match=r"blocks\.1\.hook_resid_pre"):
        evaluate_dictionary(model, lost, TEXTS)
    with pytest.raises(InputError, match="no texts"):
        evaluate_dictionary(model, projecting(IDENTITY), [])
    with pytest.raises(InputError, match="list of texts"):
        evaluate_dictionary(model, projecting(IDENTITY), TEXTS[0])


def test_texts_without_content_are_refused() -> None:
    with pytest.raises(InputError, match="None of the 2 texts"):
        evaluate_dictionary(tiny_model(), projecting(IDENTITY), ["", ""])


def test_nothing_is_left_behind() -> None:
    model = make_tiny_model()
    evaluate_dictionary(model, projecting(IDENTITY), TEXTS[:3])
    assert not any(point.fwd_hooks for point in model.hook_dict.values())


def test_the_frame_and_the_text() -> None:
    quality = evaluate_dictionary(tiny_model(), projecting(IDENTITY), TEXTS[:4])
    frame = quality.to_frame()
    assert frame["tokens"].tolist() == ["content", "all tokens"]
    assert frame["fvu"].tolist() == [quality.content.fvu, quality.all_tokens.fvu]
    assert f"{quality.content.n_tokens} tokens" in repr(quality)


def test_several_dictionaries_are_told_to_choose_one() -> None:
    several = Dictionaries([projecting(torch.eye(WIDTH))])
    with pytest.raises(InputError, match=r"choose one with \.at\("):
        evaluate_dictionary(tiny_model("gpt2"), several, TEXTS)  # type: ignore[arg-type]
