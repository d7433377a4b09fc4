from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tl_ext.errors import InputError
from tl_ext.testbed import build as build_module
from tl_ext.testbed.build import BuildSettings, build
from tl_ext.testbed.card import missed_aims
from tl_ext.testbed.dictionaries import hook_points

pytestmark = pytest.mark.saelens


@pytest.fixture(scope="module")
def built(pairs_file: Path, tiny: BuildSettings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("sae_lens")
    out = tmp_path_factory.mktemp("testbed") / "weights"
    return build(pairs_file, out, settings=tiny, threads=1, progress=False)


def test_a_build_is_a_checkpoint_with_dictionaries_and_a_card(built: Path) -> None:
    from sae_lens import SAE
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(built)
    tokenizer = AutoTokenizer.from_pretrained(built)
    assert model.config.vocab_size == len(tokenizer)
    for point in hook_points(2):
        assert SAE.load_from_disk(built / "dictionaries" / point).cfg.metadata.hook_name == point
    assert not [path.name for path in built.iterdir() if path.name.startswith(".")]


def test_the_card_measures_both_languages_and_every_dictionary(built: Path) -> None:
    card = json.loads((built / "card.json").read_text(encoding="utf-8"))
    assert card["languages"] == ["en", "fr"]
    assert {"english", "french"} <= card["model"]["held_out"].keys()
    for figures in card["model"]["held_out"].values():
        assert figures["loss"] > 0 and 0 <= figures["accuracy"] <= 1
    assert card["dictionaries"].keys() == set(hook_points(2))
    assert "tatoeba.org" in card["attribution"] and "manythings.org/anki" in card["attribution"]
    named = {name for name in card["files"] if name.endswith(".safetensors")}
    assert len(named) == 1 + len(hook_points(2))
    assert card["missed"], "a model that learned nothing meets no aim"
    text = (built / "CARD.md").read_text(encoding="utf-8")
    assert "CC-BY 2.0 FR" in text and "Missed" in text
    for point in hook_points(2):
        assert point in text


def test_no_sentence_of_the_pairs_is_in_what_is_built(built: Path, pairs_file: Path) -> None:
    sentences = [part for line in pairs_file.read_text().splitlines() for part in line.split("\t")]
    for file in built.rglob("*"):
        if file.suffix in (".json", ".md"):
            text = file.read_text(encoding="utf-8")
            assert not [one for one in sentences if one in text], file.name


def test_what_is_done_is_not_done_again(
    built: Path, pairs_file: Path, tiny: BuildSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("a finished stage ran again")

    for stage in ("learn_tokenizer", "train_model", "load_model"):
        monkeypatch.setattr(build_module, stage, never)
    before = {file: file.stat().st_mtime_ns for file in built.rglob("*")}
    build(pairs_file, built, settings=tiny, threads=1, progress=False)
    assert before == {file: file.stat().st_mtime_ns for file in built.rglob("*")}


def test_an_interrupted_build_goes_on(
    pairs_file: Path, tiny: BuildSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("sae_lens")
    stages = build_module.dictionary_stage
    real, trained = stages.train_dictionary, []

    def interrupted(activations: object, point: str, **options: object) -> object:
        if len(trained) == 2:
            raise KeyboardInterrupt
        trained.append(point)
        return real(activations, point, **options)

    monkeypatch.setattr(stages, "train_dictionary", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build(pairs_file, tmp_path, settings=tiny, threads=1, progress=False)
    assert not (tmp_path / "card.json").exists()
    whole = {folder.name for folder in (tmp_path / "dictionaries").iterdir()}
    assert whole == set(trained)

    monkeypatch.setattr(stages, "train_dictionary", real)
    monkeypatch.setattr(build_module, "train_model", None)
    monkeypatch.setattr(stages, "capture_activations", None)
    build(pairs_file, tmp_path, settings=tiny, threads=1, progress=False)
    assert (tmp_path / "card.json").exists()


def test_a_folder_with_another_build_is_left_alone(
    built: Path, pairs_file: Path, tiny: BuildSettings
) -> None:
    with pytest.raises(InputError, match="build of other seed"):
        build(pairs_file, built, seed=1, settings=tiny, progress=False)
    with pytest.raises(InputError, match="build of other settings"):
        build(pairs_file, built, settings=replace(tiny, french_share=0.2), progress=False)


def test_every_missed_aim_is_told() -> None:
    good = {"fvu": 0.05, "dead_share": 0.1, "ce_recovered": 0.99}
    bad = {"fvu": 0.2, "dead_share": 0.1, "ce_recovered": None}
    assert missed_aims({"good": good}) == []
    told = missed_aims({"bad": bad})
    assert len(told) == 2 and "fvu is 0.200, expected at most 0.1" in told[0]
    assert "undefined" in told[1]
