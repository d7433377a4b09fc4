from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file

from tl_ext.dictionaries.folders import read_folder
from tl_ext.errors import InputError
from tl_ext.models.loading import Processing, load_model
from tl_ext.testbed.build import BuildSettings
from tl_ext.testbed.corpus import Split
from tl_ext.testbed.dictionaries import (
    capture_activations,
    captured,
    hook_points,
    store_dictionary,
    train_dictionary,
)
from tl_ext.testbed.language_model import new_model
from tl_ext.testbed.tokenizer import learn_tokenizer

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


@pytest.fixture(scope="module")
def model(split: Split, tiny: BuildSettings) -> TransformerBridge:
    tokenizer = learn_tokenizer(split.train, context_length=48, vocabulary_size=400)
    torch.manual_seed(0)
    return load_model(new_model(tokenizer, tiny.shape).eval(), tokenizer=tokenizer)


def test_there_is_a_dictionary_for_every_residual_stream_every_attention_and_one_mlp() -> None:
    assert hook_points(2) == (
        "blocks.0.hook_resid_pre",
        "blocks.1.hook_resid_pre",
        "blocks.0.attn.hook_z",
        "blocks.1.attn.hook_z",
        "blocks.1.hook_mlp_out",
    )


def test_captured_rows_are_the_activations_of_all_but_the_first_position(
    model: TransformerBridge, tmp_path: Path
) -> None:
    texts = ["The red cat sleeps.", "Le chat rouge dort sous un arbre."]
    points = hook_points(2)
    count = capture_activations(model, texts, tmp_path, points=points, tokens=1000, progress=False)
    lengths = [len(model.tokenizer(text)["input_ids"]) for text in texts]
    assert count == sum(lengths)
    bos = model.tokenizer.bos_token_id
    for point in points:
        rows = []
        for text in texts:
            ids = torch.tensor([[bos, *model.tokenizer(text)["input_ids"]]])
            rows.append(model.run_with_cache(ids)[1][point][0, 1:].flatten(1))
        assert torch.allclose(captured(tmp_path, point), torch.cat(rows), atol=2e-3), point


def test_no_more_texts_are_read_than_tokens_are_wanted(
    model: TransformerBridge, tmp_path: Path
) -> None:
    text = "The red cat sleeps."
    length = len(model.tokenizer(text)["input_ids"])
    options = {"points": ["blocks.0.hook_resid_pre"], "progress": False}
    count = capture_activations(model, [text] * 9, tmp_path, tokens=length + 1, **options)
    assert count == 2 * length


@pytest.mark.saelens
@pytest.mark.parametrize("point", ["blocks.1.hook_resid_pre", "blocks.1.attn.hook_z"])
def test_a_stored_dictionary_is_read_alike_by_saelens_and_by_us(
    tiny: BuildSettings, tmp_path: Path, point: str
) -> None:
    sae_lens = pytest.importorskip("sae_lens")
    torch.manual_seed(0)
    activations = torch.randn(500, 32) * 3 + 1
    trained = train_dictionary(
        activations, point, context_length=48, training=tiny.dictionaries, seed=2
    )
    store_dictionary(trained, tmp_path)

    weights = load_file(tmp_path / "sae_weights.safetensors")
    assert {value.dtype for value in weights.values()} == {torch.float16}
    metadata = json.loads((tmp_path / "cfg.json").read_text())["metadata"]
    assert metadata["hook_name"] == point
    assert (metadata["model_name"], metadata["context_size"]) == ("testbed", 48)
    assert metadata["prepend_bos"] is True

    theirs = sae_lens.SAE.load_from_disk(tmp_path)
    ours = read_folder(tmp_path)
    assert theirs.dtype == torch.float32
    assert ours.processing == Processing.RAW
    # SAELens takes heads apart at hook_z and lays them side by side itself.
    given = activations.reshape(500, 2, 16) if point.endswith("hook_z") else activations
    latents = theirs.encode(given)
    assert torch.allclose(latents, ours.encode(activations), atol=1e-5)
    assert latents.shape == (500, 64) and (latents > 0).any()
    back = theirs.decode(latents).reshape(500, 32)
    assert torch.allclose(back, ours.decode(latents), atol=1e-5)


@pytest.mark.saelens
def test_dictionaries_come_by_seed(tiny: BuildSettings) -> None:
    pytest.importorskip("sae_lens")
    activations = torch.randn(200, 32, generator=torch.Generator().manual_seed(0))
    point = "blocks.0.hook_resid_pre"
    options = {"context_length": 48, "training": tiny.dictionaries}
    first, again, other = (
        train_dictionary(activations, point, seed=seed, **options).W_dec for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


@pytest.mark.saelens
def test_too_few_activations_are_refused(tiny: BuildSettings) -> None:
    pytest.importorskip("sae_lens")
    with pytest.raises(InputError, match="10 tokens and one update takes 64"):
        train_dictionary(
            torch.zeros(10, 32),
            "blocks.0.hook_resid_pre",
            context_length=48,
            training=tiny.dictionaries,
        )
