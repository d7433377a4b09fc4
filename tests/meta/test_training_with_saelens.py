"""SAELens trains on a hooked ChatGLM and a hooked Qwen2: what it is fed, what comes out, its use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.both_families import (
    FAMILIES,
    FIXES,
    HOOK_POINTS,
    assert_steers,
    config_of,
    data,
    documents,
    identity_sae,
    width_at,
    write_folder,
    zero_sae,
)

import tl_ext
from tl_ext import fixes
from tl_ext.models.loading import Processing
from tl_ext.upstream import prefix_ids

pytestmark = [
    pytest.mark.saelens,
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


def booted(folder: Path) -> Any:
    from transformer_lens.model_bridge import TransformerBridge

    tl_ext.activate(quiet=True)
    return TransformerBridge.boot_transformers(str(folder), device="cpu")


def loaded(folder: Path) -> Any:
    return tl_ext.load_model(folder, device="cpu")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {one: write_folder(tmp_path_factory.mktemp(one), one) for one in FAMILIES}


@pytest.fixture(scope="module")
def models(folders: dict[str, Path]) -> dict[tuple[str, str], Any]:
    roads: dict[str, Callable[[Path], Any]] = {"boot_transformers": booted, "load_model": loaded}
    return {
        (family, name): road(folder)
        for family, folder in folders.items()
        for name, road in roads.items()
    }


@pytest.fixture(autouse=True, scope="module")
def with_fixes() -> Iterator[None]:
    with fixes.applied(*FIXES):
        yield


def store_of(model: Any, texts: list[str], hook_point: str, **changes: Any) -> Any:
    from sae_lens.training.activations_store import ActivationsStore

    config = config_of(hook_point, width_at(model, hook_point), **changes)
    return ActivationsStore.from_config(model, config, override_dataset=data(texts))


def separators(family: str, tokenizer: Any) -> list[int]:
    names = {"chatglm": ["[gMASK]", "sop"], "qwen2": ["<|endoftext|>"]}[family]
    ids: list[int] = tokenizer.convert_tokens_to_ids(names)
    return ids


@pytest.mark.parametrize("road", ["boot_transformers", "load_model"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_token_of_the_texts_is_read_once_and_nothing_else_is_trained_on(
    models: dict[tuple[str, str], Any], family: str, road: str
) -> None:
    from sae_lens.training.activations_store import _filter_buffer_acts

    model, texts, point = models[family, road], documents(40), HOOK_POINTS[0]
    store = store_of(model, texts, point, store_batch_size_prompts=1)
    marks = separators(family, model.tokenizer)
    excluded = set(store.exclude_special_tokens.tolist())
    ids_of = [model.tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    every = [id for ids in ids_of for id in ids]
    assert not excluded & set(every), "no token of a text is called special"

    seen: list[int] = []
    while True:
        try:
            acts, row = store.get_raw_llm_batch(raise_on_epoch_end=True)
        except StopIteration:
            break
        row = row.tolist()
        if family == "chatglm":
            assert row[:2] == marks
        assert set(row) & excluded == set(row) & set(marks), "no padding, no EOS"
        kept = [id for id in row if id not in excluded]
        # What is kept is what the model computes at these tokens in this row.
        _, cache = model.run_with_cache(torch.tensor([row]), names_filter=[point])
        real = torch.tensor([id not in excluded for id in row])
        filtered = _filter_buffer_acts((acts, torch.tensor(row)), store.exclude_special_tokens)
        torch.testing.assert_close(filtered, cache[point][0][real], atol=1e-5, rtol=1e-4)
        assert len(filtered) == len(kept)
        # Documents are apart: where one begins inside a row, a mark stands before it.
        place = len(seen)
        starts = {sum(map(len, ids_of[:n])) for n in range(len(ids_of))}
        for before, id in zip([marks[-1], *row], row, strict=False):
            if id in excluded:
                continue
            assert place not in starts or before == marks[-1]
            place += 1
        seen += kept
    assert seen == every[: len(seen)]
    assert 0 <= len(every) - len(seen) < 32


def test_asked_for_the_marks_are_trained_on(models: dict[tuple[str, str], Any]) -> None:
    for family in FAMILIES:
        model = models[family, "load_model"]
        store = store_of(model, documents(20), HOOK_POINTS[0], exclude_special_tokens=False)
        assert len(store.get_filtered_llm_batch()) == 8 * 32


@pytest.mark.parametrize("point", HOOK_POINTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_dictionary_is_trained_loads_fits_and_steers(
    models: dict[tuple[str, str], Any], family: str, point: str, tmp_path: Path
) -> None:
    from sae_lens import LanguageModelSAETrainingRunner

    road = "boot_transformers" if point == HOOK_POINTS[1] else "load_model"
    model = models[family, road]
    width = width_at(model, point)
    held_out = documents(30, seed=1)
    torch.manual_seed(0)
    config = config_of(point, width, output_path=str(tmp_path / "trained"))
    runner = LanguageModelSAETrainingRunner(
        config, override_model=model, override_dataset=data(documents(300))
    )
    runner.sae.save_inference_model(str(tmp_path / "untrained"))
    before = evaluated(tmp_path / "untrained", model, point, held_out)
    runner.run()

    dictionary = tl_ext.load_dictionaries(tmp_path / "trained").at(point)
    assert (dictionary.hook_in, dictionary.hook_out) == (point, point)
    assert dictionary.d_in == width
    assert dictionary.processing == Processing.RAW
    quality = tl_ext.evaluate_dictionary(model, dictionary, held_out)
    assert quality.fvu < 0.5 < before, "on texts that were not trained on"
    assert quality.l0 == 8
    assert_steers(model, dictionary)


def evaluated(folder: Path, model: Any, point: str, texts: list[str]) -> float:
    """FVU of a dictionary as it was before training, whose file does not name its hook point yet."""
    import json

    path = folder / "cfg.json"
    stated = json.loads(path.read_text(encoding="utf-8"))
    stated["metadata"]["hook_name"] = point
    path.write_text(json.dumps(stated), encoding="utf-8")
    dictionary = tl_ext.load_dictionaries(folder).at(point)
    return float(tl_ext.evaluate_dictionary(model, dictionary, texts).fvu)


@pytest.mark.parametrize("point", HOOK_POINTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_run_evals_scores_what_is_known(
    models: dict[tuple[str, str], Any], family: str, point: str
) -> None:
    from sae_lens.evals import get_eval_everything_config, run_evals
    from sae_lens.training.activation_scaler import ActivationScaler

    model = models[family, "boot_transformers"]
    width = width_at(model, point)
    texts = documents(60)
    settings = get_eval_everything_config(
        batch_size_prompts=4, n_eval_reconstruction_batches=2, n_eval_sparsity_variance_batches=2
    )
    scores = []
    for sae in (identity_sae(point, width), zero_sae(point, width)):
        store = store_of(model, texts, point)
        found, _ = run_evals(sae, store, model, ActivationScaler(), settings)
        scores.append({name: value for group in found.values() for name, value in group.items()})
    same, zero = scores
    assert same["ce_loss_score"] == pytest.approx(1.0, abs=1e-4)
    assert same["kl_div_score"] == pytest.approx(1.0, abs=1e-4)
    assert same["explained_variance"] == pytest.approx(1.0, abs=1e-5)
    assert zero["ce_loss_score"] == pytest.approx(0.0, abs=1e-4)
    assert zero["kl_div_score"] == pytest.approx(0.0, abs=1e-4)
    assert zero["l0"] == 0


def test_several_hook_points_in_one_run(models: dict[tuple[str, str], Any], tmp_path: Path) -> None:
    from sae_lens import LoggingConfig, TopKTrainingSAEConfig
    from sae_lens.multi_sae_training_runner import (
        MultiSAETrainingRunner,
        MultiSAETrainingRunnerConfig,
    )

    model = models["chatglm", "load_model"]
    widths = {point: width_at(model, point) for point in HOOK_POINTS}
    config = MultiSAETrainingRunnerConfig(
        saes={
            str(number): TopKTrainingSAEConfig(d_in=width, d_sae=2 * width, k=8)
            for number, width in enumerate(widths.values())
        },
        hook_names={str(number): point for number, point in enumerate(widths)},
        exclude_special_tokens=True,
        context_size=32,
        store_batch_size_prompts=8,
        n_batches_in_buffer=16,
        train_batch_size_tokens=64,
        training_tokens=64 * 5,
        logger=LoggingConfig(log_to_wandb=False),
        checkpoint_path=None,
        output_path=str(tmp_path),
    )
    MultiSAETrainingRunner(config, override_model=model, override_dataset=data(documents(60))).run()
    trained = tl_ext.load_dictionaries(tmp_path)
    assert {point: trained.at(point).d_in for point in HOOK_POINTS} == widths


@pytest.mark.parametrize("family", FAMILIES)
def test_a_run_that_names_its_model(folders: dict[str, Path], family: str) -> None:
    from sae_lens import LanguageModelSAETrainingRunner
    from transformer_lens.model_bridge import TransformerBridge

    tl_ext.activate(quiet=True)
    model = tl_ext.load_model(folders[family], device="cpu")
    point = HOOK_POINTS[0]
    config = config_of(
        point,
        width_at(model, point),
        steps=3,
        model_name=str(folders[family]),
        model_from_pretrained_kwargs={"dtype": torch.float32},
    )
    with fixes.applied("load-model-knows-no-bridge"):
        runner = LanguageModelSAETrainingRunner(config, override_dataset=data(documents(60)))
    assert isinstance(runner.model, TransformerBridge)
    texts = tl_ext.batch(model, ["The cat sat"])
    torch.testing.assert_close(runner.model(texts.ids), model(texts.ids), atol=1e-5, rtol=1e-5)
    runner.run()


def test_the_processing_that_a_run_states_is_read(folders: dict[str, Path], tmp_path: Path) -> None:
    from sae_lens import LanguageModelSAETrainingRunner

    model = tl_ext.load_model(folders["chatglm"], device="cpu", processing=Processing.COMPATIBILITY)
    for point in HOOK_POINTS:
        out = tmp_path / point
        config = config_of(
            point,
            width_at(model, point),
            steps=3,
            output_path=str(out),
            model_from_pretrained_kwargs={
                "fold_ln": True,
                "center_writing_weights": True,
                "center_unembed": True,
                "fold_value_biases": True,
            },
        )
        LanguageModelSAETrainingRunner(
            config, override_model=model, override_dataset=data(documents(60))
        ).run()
        dictionary = tl_ext.load_dictionaries(out).at(point)
        assert dictionary.processing == Processing.COMPATIBILITY


def test_with_head_axes_said_saelens_can_attach_what_it_trained_at_hook_z(
    models: dict[tuple[str, str], Any], tmp_path: Path
) -> None:
    """Without `reshape_activations` it trains and cannot be attached by SAELens; it loads either way."""
    from sae_lens import SAE, LanguageModelSAETrainingRunner, TopKTrainingSAEConfig

    model, point = models["qwen2", "load_model"], HOOK_POINTS[2]
    width = width_at(model, point)
    sae = TopKTrainingSAEConfig(d_in=width, d_sae=40, k=4, reshape_activations="hook_z")
    config = config_of(point, width, steps=3, sae=sae, output_path=str(tmp_path))
    LanguageModelSAETrainingRunner(
        config, override_model=model, override_dataset=data(documents(60))
    ).run()
    trained = SAE.load_from_disk(str(tmp_path))
    x = torch.randn(2, 5, model.cfg.n_heads, model.cfg.d_head)
    assert trained(x).shape == x.shape
    dictionary = tl_ext.load_dictionaries(tmp_path).at(point)
    torch.testing.assert_close(dictionary.reconstruct(x.flatten(-2)), trained(x).flatten(-2))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_page_on_training_runs(
    folders: dict[str, Path], family: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.test_docs import DOCS, run

    names = run(
        DOCS / "training-saelens.md",
        folder=folders[family],
        documents=documents(300),
        out=tmp_path,
    )
    assert "FVU" in capsys.readouterr().out
    assert names["dictionary"].d_in == names["model"].cfg.d_model
    assert prefix_ids(names["model"].tokenizer) == (
        separators(family, names["model"].tokenizer) if family == "chatglm" else []
    )
