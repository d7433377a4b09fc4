"""Our readers against SAELens' own classes: the same files, the same latents, the same output."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.dictionaries.saved import D_IN, D_LATENT, NORMALISATIONS, config_of, save

from tl_ext.dictionaries import folders
from tl_ext.dictionaries.dictionary import Dictionary
from tl_ext.dictionaries.folders import read_folder
from tl_ext.dictionaries.saelens import SaelensDictionary, from_saelens
from tl_ext.errors import DictionaryError
from tl_ext.models.loading import Processing

pytestmark = [
    pytest.mark.saelens,
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

METADATA = {
    "model_name": "tiny",
    "hook_name": "blocks.1.hook_resid_pre",
    "hook_name_out": "blocks.1.hook_mlp_out",
}
INFERENCE = ("standard", "topk", "jumprelu", "gated")
CLOSE = {"atol": 1e-6, "rtol": 1e-6}


def randomised(module: Any, *, seed: int = 0) -> Any:
    """The same object with weights under which everything is some of the time active."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            drawn = torch.randn(parameter.shape, generator=generator, dtype=torch.float32) * 0.3
            parameter.copy_(drawn.abs() if "threshold" in name else drawn)
    return module


def saelens_object(architecture: str, *, training: bool = False, **settings: Any) -> Any:
    from sae_lens.registry import get_sae_class, get_sae_training_class
    from sae_lens.saes.sae import SAEMetadata

    classes = get_sae_training_class if training else get_sae_class
    sae_class, config_class = classes(architecture)
    settings = {"d_in": D_IN, "d_sae": D_LATENT, "metadata": SAEMetadata(**METADATA)} | settings
    if "transcoder" in architecture:
        settings |= {"apply_b_dec_to_input": False, "d_out": 6}
    return randomised(sae_class(config_class(**settings)))


def same(dictionary: Dictionary, sae: Any, x: torch.Tensor) -> None:
    with torch.no_grad():
        latents = sae.encode(x)
        out = sae.decode(latents)
        if hasattr(sae, "W_skip"):
            out = sae(x)
    torch.testing.assert_close(dictionary.encode(x), latents, **CLOSE)
    torch.testing.assert_close(
        dictionary.decode(latents, dictionary.statistics(x)), out, atol=4e-6, rtol=4e-6
    )


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
@pytest.mark.parametrize("architecture", INFERENCE)
@pytest.mark.parametrize("centres", [True, False])
def test_saes_are_equal(
    tmp_path: Path, architecture: str, normalisation: str, centres: bool
) -> None:
    extra = {"k": 5} if architecture == "topk" else {}
    sae = saelens_object(
        architecture,
        normalize_activations=normalisation,
        apply_b_dec_to_input=centres,
        **extra,
    )
    sae.save_model(tmp_path)
    x = torch.randn(3, 7, D_IN)
    for dictionary in (read_folder(tmp_path), from_saelens(sae)):
        assert dictionary.normalisation == normalisation
        same(dictionary, sae, x)
        same(dictionary, sae, x[0, 0])


@pytest.mark.parametrize("rescales", [True, False])
def test_topk_that_ranks_by_decoder_norm_is_equal(tmp_path: Path, rescales: bool) -> None:
    sae = saelens_object("topk", k=5, rescale_acts_by_decoder_norm=rescales)
    sae.save_model(tmp_path)
    same(read_folder(tmp_path), sae, torch.randn(9, D_IN))


@pytest.mark.parametrize("architecture", folders.TRANSCODERS)
@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_transcoders_are_equal(tmp_path: Path, architecture: str, normalisation: str) -> None:
    transcoder = saelens_object(architecture, normalize_activations=normalisation)
    transcoder.save_model(tmp_path)
    dictionary = read_folder(tmp_path)
    assert (dictionary.hook_in, dictionary.hook_out) == tuple(METADATA.values())[1:]
    same(dictionary, transcoder, torch.randn(3, 4, D_IN))


@pytest.mark.parametrize("architecture", ["batchtopk", "matryoshka_batchtopk"])
@pytest.mark.parametrize("rescales", [True, False])
def test_batch_topk_is_equal_as_saved_for_inference_and_as_a_checkpoint(
    tmp_path: Path, architecture: str, rescales: bool
) -> None:
    from sae_lens import SAE

    extra = {"matryoshka_widths": [10, D_LATENT]} if "matryoshka" in architecture else {}
    training = saelens_object(
        architecture, training=True, k=3, rescale_acts_by_decoder_norm=rescales, **extra
    )
    training.topk_threshold += 0.4
    training.save_inference_model(tmp_path / "inference")
    training.save_model(tmp_path / "checkpoint")
    sae = SAE.load_from_disk(tmp_path / "inference")
    x = torch.randn(20, D_IN)
    assert 0 < int((sae.encode(x) != 0).sum()) < 20 * D_LATENT
    for dictionary in (
        read_folder(tmp_path / "inference"),
        read_folder(tmp_path / "checkpoint"),
        from_saelens(training),
    ):
        torch.testing.assert_close(dictionary.encode(x), sae.encode(x), atol=2e-6, rtol=2e-6)
        torch.testing.assert_close(
            dictionary.reconstruct(x), sae.decode(sae.encode(x)), atol=4e-6, rtol=4e-6
        )


@pytest.mark.parametrize("architecture", ["standard", "gated", "topk", "jumprelu"])
@pytest.mark.parametrize("rescales", [True, False])
def test_a_constant_is_folded_as_saelens_folds_it(
    tmp_path: Path, architecture: str, rescales: bool
) -> None:
    extra = {"k": 5, "rescale_acts_by_decoder_norm": rescales} if architecture == "topk" else {}
    sae = saelens_object(architecture, normalize_activations="expected_average_only_in", **extra)
    sae.save_model(tmp_path)
    dictionary = read_folder(tmp_path, scaling_factor=0.3)
    sae.fold_activation_norm_scaling_factor(0.3)
    same(dictionary, sae, torch.randn(9, D_IN))


def test_hook_z_is_equal_with_its_heads_side_by_side(tmp_path: Path) -> None:
    from sae_lens.saes.sae import SAEMetadata

    sae = saelens_object(
        "standard",
        reshape_activations="hook_z",
        metadata=SAEMetadata(hook_name="blocks.1.attn.hook_z"),
    )
    sae.save_model(tmp_path)
    x = torch.randn(3, 5, 2, D_IN // 2)  # [text token head d_head]
    for dictionary in (read_folder(tmp_path), from_saelens(sae)):
        torch.testing.assert_close(dictionary.encode(x.flatten(-2)), sae.encode(x), **CLOSE)
        torch.testing.assert_close(
            dictionary.reconstruct(x.flatten(-2)), sae(x).flatten(-2), atol=4e-6, rtol=4e-6
        )


def test_old_configurations_are_equal(tmp_path: Path) -> None:
    from sae_lens import SAE

    old = {
        "hook_point": "blocks.1.hook_resid_pre",
        "hook_point_head_index": None,
        "d_in": D_IN,
        "d_sae": D_LATENT,
        "dtype": "torch.float32",
        "activation_fn_str": "topk",
        "activation_fn_kwargs": {"k": 3},
        "normalize_activations": False,
    }
    save(tmp_path, old)
    same(read_folder(tmp_path), SAE.load_from_disk(tmp_path), torch.randn(9, D_IN))


@pytest.mark.parametrize("training", [False, True])
def test_every_setting_saelens_writes_is_known(training: bool) -> None:
    from sae_lens.registry import SAE_CLASS_REGISTRY, SAE_TRAINING_CLASS_REGISTRY

    registry = SAE_TRAINING_CLASS_REGISTRY if training else SAE_CLASS_REGISTRY
    known = folders._READ | folders._TRAINING
    for architecture, (_, config_class) in registry.items():
        if architecture in folders.COVERED:
            settings = {one.name for one in dataclasses.fields(config_class)}
            assert settings <= known, architecture


def test_what_is_not_computed_here_is_wrapped() -> None:
    for architecture, extra in (("matching_pursuit", {"max_iterations": 3}), ("abstopk", {"k": 4})):
        sae = saelens_object(architecture, **extra)
        dictionary = from_saelens(sae)
        assert isinstance(dictionary, SaelensDictionary) and isinstance(dictionary, Dictionary)
        assert not dictionary.needs_context
        x = torch.randn(2, 5, D_IN)
        same(dictionary, sae, x)
        assert dictionary.encode(x.half()).dtype == torch.float16
        latents = dictionary.encode(x)
        torch.testing.assert_close(
            latents @ dictionary.directions + dictionary.bias, dictionary.reconstruct(x)
        )


@pytest.mark.parametrize("normalisation", NORMALISATIONS[1:])
def test_a_wrapped_dictionary_keeps_no_statistics(normalisation: str) -> None:
    sae = saelens_object("abstopk", k=4, normalize_activations=normalisation)
    with torch.no_grad():
        x, y = torch.randn(3, D_IN), torch.randn(3, D_IN) * 9
        wanted = sae(x)
    dictionary = from_saelens(sae)
    latents, statistics = dictionary.encode(x), dictionary.statistics(x)
    dictionary.encode(y)
    torch.testing.assert_close(dictionary.decode(latents, statistics), wanted, atol=4e-6, rtol=4e-6)
    with pytest.raises(DictionaryError, match="statistics"):
        dictionary.decode(latents)
    # SAELens' own object goes on as it was.
    torch.testing.assert_close(sae(x), wanted)


def test_a_dictionary_with_context_gets_sequences() -> None:
    sae = saelens_object("temporal", d_sae=64, n_heads=1, kval_topk=4, bottleneck_factor=64)
    dictionary = from_saelens(sae)
    assert dictionary.needs_context
    x = torch.randn(2, 6, D_IN)
    with torch.no_grad():
        torch.testing.assert_close(dictionary.encode(x), sae.encode(x))
        torch.testing.assert_close(dictionary.reconstruct(x), sae(x), atol=1e-5, rtol=1e-5)


def test_weights_are_shared_with_the_object_in_memory() -> None:
    sae = saelens_object("standard")
    assert from_saelens(sae).directions.data_ptr() == sae.W_dec.data_ptr()


def test_an_object_with_bad_weights_is_refused() -> None:
    sae = saelens_object("standard")
    with torch.no_grad():
        sae.W_dec[0, 0] = torch.nan
    with pytest.raises(DictionaryError, match="W_dec holds 1 numbers"):
        from_saelens(sae)


def test_processing_survives_saelens_saving(tmp_path: Path) -> None:
    from sae_lens import SAE

    save(tmp_path / "ours", config_of(metadata={"processing": "compatibility"}))
    SAE.load_from_disk(tmp_path / "ours").save_model(tmp_path / "theirs")
    assert read_folder(tmp_path / "theirs").processing == Processing.COMPATIBILITY
