"""Opening a session: sensible defaults, and errors that say what to do."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from tests.dictionaries.saved import config_of, save

from tl_ext.concepts.concept import Concept, Example
from tl_ext.errors import DictionaryError, InputError
from tl_ext.models.loading import Processing, processing_of
from tl_ext.study.session import background_texts, open_model, open_session


def test_the_focus_is_at_seven_twelfths_of_the_depth_or_where_asked(
    checkpoint: Path, dictionaries: Path
) -> None:
    options = {"model": checkpoint, "dictionaries": [dictionaries], "background": ["I am here."]}
    assert open_session(**options).plan.focus == "blocks.2.hook_resid_pre"  # round(7/12 * 3)
    assert open_session(**options, layer=0).plan.focus == "blocks.0.hook_resid_pre"
    with pytest.raises(InputError, match=r"layer 7.*\[0, 1, 2\]"):
        open_session(**options, layer=7)


def test_chinese_is_studied_where_the_card_lists_it(
    checkpoint: Path, dictionaries: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(checkpoint, folder)
    (folder / "README.md").write_text("---\nlanguage:\n- en\n- zh\n---\nA model.\n")
    options = {"dictionaries": [dictionaries], "background": ["I am here."]}
    assert open_session(model=folder, **options).plan.languages == ("en", "fr", "zh")
    assert open_session(model=checkpoint, **options).plan.languages == ("en", "fr")


def test_matched_words_are_the_files_the_callers_or_the_built_in(
    checkpoint: Path, dictionaries: Path, tmp_path: Path
) -> None:
    options = {"model": checkpoint, "dictionaries": [dictionaries], "background": ["I am here."]}
    session = open_session(**options, languages=["en"])
    assert [one.label for one in session.plan.matched] == [one.label for one in session.matched]
    assert {one.language for one in session.matched} == {"en"} and len(session.matched) >= 59
    file = tmp_path / "mine.yaml"
    file.write_text(
        'language: en\nframes: ["I am {word}."]\nmatched: [tall]\nconcepts: {proud: {words: [proud]}}'
    )
    own = open_session(**options, concepts=file)
    assert [one.name for one in own.matched] == ["tall"]
    given = open_session(**options, concepts=file, matched=[])
    assert given.matched == () and given.key() != own.key()


def test_the_model_is_processed_as_the_dictionaries_state(
    checkpoint: Path, dictionaries: Path, tmp_path: Path
) -> None:
    for point in ("blocks.0.hook_resid_pre", "blocks.1.hook_resid_pre"):
        shutil.copytree(dictionaries / point, tmp_path / point)
        config = json.loads((tmp_path / point / "cfg.json").read_text())
        config["metadata"] |= {
            "model_class_name": "HookedTransformer",
            "model_from_pretrained_kwargs": {"fold_ln": True, "center_writing_weights": True},
        }
        (tmp_path / point / "cfg.json").write_text(json.dumps(config))
    model, loaded = open_model(checkpoint, [tmp_path])
    stated = {one.processing for one in loaded.values()}
    assert stated == {processing_of(model)} != {Processing.RAW}


def test_the_key_changes_with_everything_that_results_depend_on(
    checkpoint: Path, dictionaries: Path
) -> None:
    options = {"model": checkpoint, "dictionaries": [dictionaries], "background": ["I am here."]}
    base = open_session(**options)
    assert base.key() == open_session(**options).key()
    others = [
        open_session(**options, seed=1),
        open_session(**{**options, "background": ["I was here."]}),
        open_session(**options, languages=["en"]),
    ]
    moved = open_session(**options)
    with torch.no_grad():
        next(moved.model.original_model.parameters())[0, 0] += 1
    for other in [*others, moved]:
        assert other.key() != base.key()


def test_background_of_a_file_is_its_lines(checkpoint: Path, tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("One line.\n\nDeux lignes à lire.\n", encoding="utf-8")
    texts, described = background_texts(path, None)  # type: ignore[arg-type]
    assert texts == ("One line.", "Deux lignes à lire.")
    assert described == "2 lines of text.txt"
    with pytest.raises(InputError, match="no background file"):
        background_texts(tmp_path / "missing", None)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="holds no text"):
        background_texts(["  "], None)  # type: ignore[arg-type]


def test_background_is_sampled_from_the_model_by_seed(checkpoint: Path, dictionaries: Path) -> None:
    model, _ = open_model(checkpoint, [dictionaries])
    first, described = background_texts(None, model, seed=3)
    assert first == background_texts(None, model, seed=3)[0]
    assert len(first) == 400
    assert "sampled from the model itself (seed 3)" in described


def test_bad_input_says_what_to_do(checkpoint: Path, dictionaries: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Name at least one source"):
        open_session(model=checkpoint)
    with pytest.raises(InputError, match="no concepts"):
        open_session(
            model=checkpoint, dictionaries=[dictionaries], concepts=[], background=["I am."]
        )
    english = [Concept("late", "en", (Example("I am late.", "late"),))]
    with pytest.raises(InputError, match="None of the concepts"):
        open_session(
            model=checkpoint,
            dictionaries=[dictionaries],
            concepts=english,
            languages=["fr"],
            background=["I am."],
        )
    config = config_of("topk", metadata={"hook_name": "blocks.0.hook_resid_pre"})
    folder = save(tmp_path / "nan", config)
    weights = folder / "sae_weights.safetensors"
    from safetensors.torch import load_file, save_file

    tensors = load_file(weights)
    tensors["W_dec"][0, 0] = float("nan")
    save_file(tensors, weights)
    with pytest.raises(DictionaryError, match=r"W_dec.*(NaN|finite)"):
        open_session(model=checkpoint, dictionaries=[folder])
