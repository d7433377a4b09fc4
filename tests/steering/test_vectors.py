"""Steering vectors: direction, unit, and where each of them comes from."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.interventions.toy import LATENTS, POINT, WIDTH, toy_dictionary
from tests.tiny import tiny_model

from tl_ext.activations.capture import capture
from tl_ext.concepts.concept import Concept, Example
from tl_ext.dictionaries.reading import BackgroundStatistics
from tl_ext.errors import HookPointError, InputError
from tl_ext.steering.vectors import (
    SteeringVector,
    combine,
    diff_of_means,
    hook_point_norm,
    latent_vector,
    tensor_vector,
)

BACKGROUND = BackgroundStatistics(
    firing_rate=torch.full((LATENTS,), 0.1),
    largest=torch.arange(LATENTS).float(),
    mean=torch.zeros(LATENTS),
    usual_norm=7.0,
    tokens=100,
)


def length(tensor: torch.Tensor) -> float:
    return float(torch.linalg.vector_norm(tensor))


@given(
    st.integers(0, 10**6),
    st.floats(1e-3, 1e3),
    st.floats(-10, 10),
    st.floats(0.1, 10),
)
def test_strength_is_counted_in_units(seed: int, size: float, strength: float, unit: float) -> None:
    drawn = size * torch.randn(WIDTH, generator=torch.Generator().manual_seed(seed))
    vector = tensor_vector(drawn, POINT, unit=unit, name="drawn")
    assert length(vector.direction) == pytest.approx(1)
    pushed = vector.at(strength).vector
    assert length(pushed) == pytest.approx(abs(strength) * unit, rel=1e-4, abs=1e-6)
    torch.testing.assert_close(vector.reversed().at(strength).vector, -pushed)
    torch.testing.assert_close(vector.reversed().reversed().direction, vector.direction)
    torch.testing.assert_close(tensor_vector(drawn, POINT).at(1).vector, drawn, rtol=1e-5, atol=0)


def test_a_random_control_has_the_norm_and_not_the_direction() -> None:
    vector = tensor_vector(torch.ones(WIDTH), POINT, name="ones")
    one, again, other = vector.random_like(1), vector.random_like(1), vector.random_like(2)
    assert torch.equal(one.direction, again.direction)
    assert not torch.equal(one.direction, other.direction)
    assert (one.unit, one.hook_point) == (vector.unit, vector.hook_point)
    assert length(one.at(2.0).vector) == pytest.approx(length(vector.at(2.0).vector))
    assert abs(float(one.direction @ vector.direction)) < 0.7
    assert "random direction 1" in one.name and "ones" in one.name


def test_a_latents_unit_is_its_largest_contribution() -> None:
    toy = toy_dictionary()
    vector = latent_vector(toy, 7, BACKGROUND)
    torch.testing.assert_close(vector.at(1).vector, 7.0 * toy.directions[7])
    torch.testing.assert_close(latent_vector(toy, 7, 2.5).at(1).vector, 2.5 * toy.directions[7])
    usual = latent_vector(toy, 7, BACKGROUND, unit="usual norm")
    assert usual.unit == 7.0 and "usual norm" in usual.unit_name
    torch.testing.assert_close(usual.direction, vector.direction)
    assert vector.name == "latent 7 of toy"
    assert str(vector.at(2)) == (
        f"add latent 7 of toy x 2 (largest activation on background text) at {POINT}"
    )
    assert "strength 1 is" in repr(vector)


def test_a_transcoders_latent_acts_where_it_writes() -> None:
    transcoder = toy_dictionary(
        hook_in="blocks.1.ln2.hook_normalized", hook_out="blocks.1.hook_mlp_out"
    )
    assert latent_vector(transcoder, 1, 2.0).hook_point == "blocks.1.hook_mlp_out"
    with pytest.raises(InputError, match="hook_point_norm"):
        latent_vector(transcoder, 1, BACKGROUND, unit="usual norm")


def test_units_that_cannot_be() -> None:
    with pytest.raises(InputError, match="never fired"):
        latent_vector(toy_dictionary(), 0, BACKGROUND)
    with pytest.raises(InputError, match=r"layer_norm.*usual norm"):
        latent_vector(toy_dictionary(normalisation="layer_norm"), 1, BACKGROUND)
    with pytest.raises(InputError, match="no latent 40"):
        latent_vector(toy_dictionary(), LATENTS, BACKGROUND)
    with pytest.raises(InputError, match='"largest" or "usual norm"'):
        latent_vector(toy_dictionary(), 1, BACKGROUND, unit="biggest")  # type: ignore[arg-type]
    for unit in (0.0, -1.0, float("nan")):
        with pytest.raises(InputError, match="positive length"):
            tensor_vector(torch.ones(3), POINT, unit=unit)
    with pytest.raises(InputError, match="zero vector"):
        tensor_vector(torch.zeros(3), POINT)
    with pytest.raises(InputError, match="NaN"):
        tensor_vector(torch.tensor([1.0, float("nan")]), POINT)
    with pytest.raises(InputError, match=r"\[1, 3\]"):
        SteeringVector(POINT, torch.ones(1, 3), 1.0, "unit", "wide")
    with pytest.raises(InputError, match="strength"):
        tensor_vector(torch.ones(3), POINT).at(float("inf"))


def test_combine_adds_the_vectors_as_they_are() -> None:
    one, two = torch.randn(2, WIDTH, generator=torch.Generator().manual_seed(0))
    vectors = [tensor_vector(one, POINT, name="one"), tensor_vector(two, POINT, name="two")]
    both = combine(vectors, [1.0, -2.0])
    torch.testing.assert_close(both.at(1).vector, one - 2 * two, atol=1e-6, rtol=1e-5)
    assert both.name == "one + -2 x two"
    with pytest.raises(InputError, match="zero vector"):
        combine([vectors[0], vectors[0].reversed()])
    with pytest.raises(InputError, match="different hook points"):
        combine([vectors[0], tensor_vector(two, "blocks.2.hook_resid_pre")])
    with pytest.raises(InputError, match="2 vectors and 1 weights"):
        combine(vectors, [1.0])
    with pytest.raises(InputError, match="no vectors"):
        combine([])


def test_difference_of_means_over_texts_and_over_words() -> None:
    model = tiny_model()
    warm, cold = ["w5 w6 w7", "w8 w9"], ["w20 w21 w22 w23"]

    def mean(texts: list[str], tokens: list[set[int]]) -> torch.Tensor:
        rows = capture(model, texts, [POINT])
        return torch.stack(
            [
                torch.stack(
                    [
                        row
                        for row, t, k in zip(
                            rows.activations[POINT],
                            rows.text.tolist(),
                            rows.token.tolist(),
                            strict=True,
                        )
                        if t == text and k in wanted
                    ]
                ).mean(0)
                for text, wanted in enumerate(tokens)
            ]
        ).mean(0)

    whole = diff_of_means(model, POINT, warm, cold, batch_size=1)
    expected = mean(warm, [{0, 1, 2}, {0, 1}]) - mean(cold, [{0, 1, 2, 3}])
    torch.testing.assert_close(whole.at(1).vector, expected, atol=1e-5, rtol=1e-4)
    assert whole.unit == pytest.approx(length(expected), rel=1e-4)
    assert "2 texts - 1 texts" in whole.name

    happy = Concept("happy", "en", (Example("w5 w6 w7", "w6"), Example("w8 w6 w8", "w8")))
    sad = Concept("sad", "en", (Example("w20 w21 w22 w23", "w22"),))
    words = diff_of_means(model, POINT, happy, sad)
    expected = mean(["w5 w6 w7", "w8 w6 w8"], [{1}, {0, 2}]) - mean(cold, [{2}])
    torch.testing.assert_close(words.at(1).vector, expected, atol=1e-5, rtol=1e-4)
    assert words.name == "difference of means, happy (en) - sad (en)"
    torch.testing.assert_close(
        words.direction, diff_of_means(model, POINT, happy.examples, sad.examples).direction
    )


def test_difference_of_means_refuses_what_has_no_mean() -> None:
    model = tiny_model("qwen2")  # no BOS: the first word stands at the first position
    with pytest.raises(InputError, match="leave no token"):
        diff_of_means(model, POINT, ["w5"], ["w6 w7"])
    with pytest.raises(InputError, match="zero vector"):
        diff_of_means(model, POINT, ["w5 w6"], ["w5 w6"])
    with pytest.raises(InputError, match="not one string"):
        diff_of_means(model, POINT, "w5 w6", ["w6 w7"])
    with pytest.raises(InputError, match="mixed"):
        diff_of_means(model, POINT, ["w5 w6", Example("w5 w6", "w6")], ["w6 w7"])  # type: ignore[list-item]
    with pytest.raises(HookPointError, match="Nearest"):
        diff_of_means(model, "blocks.1.hook_resid_prre", ["w5 w6"], ["w6 w7"])


def test_the_usual_norm_is_the_median_over_content() -> None:
    model, texts = tiny_model(), ["w5 w6 w7", "w8 w9", "w10"]
    rows = capture(model, texts, [POINT]).activations[POINT]
    expected = float(rows.norm(dim=-1).median())
    assert hook_point_norm(model, POINT, texts, batch_size=2) == pytest.approx(expected, rel=1e-5)
    vector = tensor_vector(torch.ones(WIDTH), POINT).in_unit(expected, "usual norm")
    assert length(vector.at(0.5).vector) == pytest.approx(expected / 2, rel=1e-5)
    with pytest.raises(InputError, match="leave no token"):
        hook_point_norm(tiny_model("qwen2"), POINT, ["w5"])


def test_the_statistics_of_all_dictionaries_are_told_to_choose_one() -> None:
    with pytest.raises(InputError, match=r"pass background\['toy'\]"):
        latent_vector(toy_dictionary(), 7, {"toy": BACKGROUND})  # type: ignore[arg-type]
