"""SAELens' folder format: every spelling is read, every damage is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.dictionaries.saved import D_IN, D_LATENT, config_of, save, weights_of

from tl_ext.dictionaries.folders import COVERED, parse_config, read_folder
from tl_ext.errors import DictionaryError
from tl_ext.models.loading import Processing

OLD = {
    # As SAELens 2 wrote it; keys of the training run left in.
    "model_name": "gpt2-small",
    "hook_point": "blocks.1.hook_resid_pre",
    "hook_point_layer": 1,
    "hook_point_head_index": None,
    "d_in": D_IN,
    "d_sae": D_LATENT,
    "activation_fn_str": "relu",
    "l1_coefficient": 8e-5,
    "lr": 4e-4,
    "normalize_activations": False,
    "normalize_sae_decoder": True,
}


@pytest.mark.parametrize("architecture", COVERED)
def test_every_covered_architecture_is_read(tmp_path: Path, architecture: str) -> None:
    dictionary = read_folder(save(tmp_path / "one", config_of(architecture)))
    assert dictionary.id == dictionary.hook_in == "blocks.1.hook_resid_pre"
    assert (dictionary.d_in, dictionary.d_latent) == (D_IN, D_LATENT)
    assert dictionary.architecture == architecture
    transcoder = "transcoder" in architecture
    assert dictionary.hook_out == ("blocks.1.hook_mlp_out" if transcoder else dictionary.hook_in)


def test_half_precision_is_computed_in_single(tmp_path: Path) -> None:
    weights = {name: value.half() for name, value in weights_of(config_of()).items()}
    folder = save(tmp_path / "one", config_of(dtype="float16"), weights)
    assert read_folder(folder).dtype == torch.float32
    assert read_folder(folder, dtype=torch.float64).dtype == torch.float64
    torch.testing.assert_close(read_folder(folder).W_enc, weights["W_enc"].float())


def test_old_spellings_are_read(tmp_path: Path) -> None:
    weights = weights_of(config_of()) | {"scaling_factor": torch.ones(D_LATENT)}
    dictionary = read_folder(save(tmp_path / "one", OLD, weights))
    assert dictionary.hook_in == "blocks.1.hook_resid_pre"
    assert dictionary.centres_input and dictionary.normalisation == "none"
    topk = OLD | {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": 3}}
    dictionary = read_folder(save(tmp_path / "two", topk, weights))
    assert int((dictionary.encode(torch.randn(40, D_IN)) != 0).sum(-1).max()) == 3


def test_log_threshold_is_read(tmp_path: Path) -> None:
    config = config_of("jumprelu")
    weights = weights_of(config)
    logged = dict(weights)
    logged["log_threshold"] = logged.pop("threshold").log()
    plain = read_folder(save(tmp_path / "plain", config, weights))
    x = torch.randn(9, D_IN)
    torch.testing.assert_close(
        read_folder(save(tmp_path / "log", config, logged)).encode(x), plain.encode(x)
    )


def test_a_constant_scale_is_folded_and_never_left_out(tmp_path: Path) -> None:
    config = config_of("standard", normalize_activations="expected_average_only_in")
    folder = save(tmp_path / "one", config)
    with pytest.raises(DictionaryError, match=r"expected_average_only_in.*activation_scaler\.json"):
        read_folder(folder)
    (folder / "activation_scaler.json").write_text('{"scaling_factor": 0.25}')
    scaled = read_folder(folder)
    plain = read_folder(save(tmp_path / "two", config_of("standard")))
    x = torch.randn(9, D_IN)
    torch.testing.assert_close(scaled.encode(x), plain.encode(x * 0.25))
    torch.testing.assert_close(scaled.reconstruct(x), plain.reconstruct(x * 0.25) / 0.25)
    assert scaled.normalisation == "none"


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ({}, None),
        ({"model_from_pretrained_kwargs": None}, None),
        ({"model_from_pretrained_kwargs": {}}, Processing.RAW),
        ({"model_from_pretrained_kwargs": {"center_writing_weights": False}}, Processing.RAW),
        (
            {"model_from_pretrained_kwargs": {"center_writing_weights": True}},
            Processing.COMPATIBILITY,
        ),
        ({"processing": "raw"}, Processing.RAW),
        ({"processing": "compatibility"}, Processing.COMPATIBILITY),
        (
            {"processing": {"fold_value_biases": True}},
            Processing(fold_value_biases=True),
        ),
        (
            {
                "hook_name": "blocks.0.attn.hook_z",
                "model_from_pretrained_kwargs": {"center_writing_weights": True},
            },
            Processing(center_writing_weights=True),
        ),
    ],
)
def test_the_processing_it_was_trained_under(
    tmp_path: Path, stated: dict[str, Any], expected: Processing | None
) -> None:
    assert read_folder(save(tmp_path / "one", config_of(metadata=stated))).processing == expected


def test_what_a_release_states_comes_before_what_its_files_say() -> None:
    overrides = {"model_from_pretrained_kwargs": {"center_writing_weights": True}}
    for given in (OLD, config_of(metadata={"model_from_pretrained_kwargs": {}})):
        parsed = parse_config(given, where="here", overrides=overrides)
        assert parsed.processing == Processing.COMPATIBILITY


REFUSED: list[tuple[dict[str, Any], str]] = [
    (config_of(architecture="temporal"), "temporal.*not covered"),
    (config_of(normalize_activations="covariance_whitening"), "covariance_whitening.*not covered"),
    (config_of(new_setting=3), r"unknown settings \['new_setting'\]"),
    (config_of(metadata={"hook_head_index": 2}), "single head 2"),
    (config_of(metadata={"hook_name": None}), "names no hook point"),
    (config_of("transcoder", metadata={"hook_name_out": None}), "hook point to reconstruct"),
    (config_of("transcoder", apply_b_dec_to_input=True), "apply_b_dec_to_input"),
    (config_of("topk", k=0), "k is 0"),
    (config_of("topk", k=D_LATENT + 1), "k is 21"),
    (config_of(d_in="8"), "d_in is '8'"),
    (config_of(metadata={"processing": "some"}), "processing is 'some'"),
    (OLD | {"activation_fn_str": "tanh-relu"}, "tanh-relu.*not covered"),
    (OLD | {"is_transcoder": True}, "transcoder in a spelling"),
]


@pytest.mark.parametrize(("config", "message"), REFUSED)
def test_what_is_not_covered_is_refused(
    tmp_path: Path, config: dict[str, Any], message: str
) -> None:
    folder = save(tmp_path / "one", config, weights_of(config_of()))
    with pytest.raises(DictionaryError, match=message) as refusal:
        read_folder(folder)
    assert str(folder / "cfg.json") in str(refusal.value)


def test_settings_that_are_off_do_not_matter() -> None:
    parse_config(config_of(new_setting=False, other=None), where="here")


def damage_missing_config(folder: Path) -> None:
    (folder / "cfg.json").unlink()


def damage_missing_weights(folder: Path) -> None:
    (folder / "sae_weights.safetensors").unlink()
    (folder / "ae.pt").write_bytes(b"")


def damage_json(folder: Path) -> None:
    (folder / "cfg.json").write_text('{"d_in": 8,')


def damage_list(folder: Path) -> None:
    (folder / "cfg.json").write_text("[1]")


def damage_cut(folder: Path) -> None:
    path = folder / "sae_weights.safetensors"
    path.write_bytes(path.read_bytes()[:-40])


def damage_empty(folder: Path) -> None:
    (folder / "sae_weights.safetensors").write_bytes(b"")


def damage_garbage(folder: Path) -> None:
    (folder / "sae_weights.safetensors").write_bytes(b"\x80\x04pickle" * 30)


def changed(**tensors: torch.Tensor | None) -> Any:
    def damage(folder: Path) -> None:
        weights: dict[str, Any] = weights_of(config_of()) | tensors
        save(folder, config_of(), {k: v for k, v in weights.items() if v is not None})

    return damage


DAMAGES = [
    (damage_missing_config, "no cfg.json"),
    (damage_missing_weights, r"no sae_weights\.safetensors.*ae\.pt.*only safetensors"),
    (damage_json, r"cfg\.json cannot be read"),
    (damage_list, "no JSON object"),
    (damage_cut, "damaged or cut short"),
    (damage_empty, "damaged or cut short"),
    (damage_garbage, "damaged or cut short"),
    (changed(b_enc=None), "lacks b_enc"),
    (changed(threshold=torch.ones(D_LATENT)), "does not have: threshold"),
    (changed(W_enc=torch.zeros(D_LATENT, D_IN)), r"W_enc has shape \(20, 8\).*\(8, 20\)"),
    (changed(b_dec=torch.full((D_IN,), torch.nan)), "b_dec holds 8 numbers of 8 that are NaN"),
    (changed(b_enc=torch.full((D_LATENT,), torch.inf)), "b_enc holds 20 numbers"),
    (changed(scaling_factor=torch.full((D_LATENT,), 2.0)), "finetuning scaling_factor"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGES)
def test_damage_is_named(tmp_path: Path, damage: Any, message: str) -> None:
    folder = save(tmp_path / "one", config_of())
    damage(folder)
    with pytest.raises(DictionaryError, match=message) as refusal:
        read_folder(folder)
    assert str(folder) in str(refusal.value)


def test_a_damaged_scaler_is_named(tmp_path: Path) -> None:
    folder = save(tmp_path, config_of(normalize_activations="expected_average_only_in"))
    (folder / "activation_scaler.json").write_text(json.dumps({"factor": 1}))
    with pytest.raises(DictionaryError, match=r"activation_scaler\.json cannot be read"):
        read_folder(folder)
