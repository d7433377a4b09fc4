"""Finding dictionaries: by source, by hook point, by id, and what is said when there are none."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tests.dictionaries.saved import D_IN, config_of, dictionary_of, save

from tl_ext.dictionaries import loading
from tl_ext.dictionaries.dictionary import Dictionaries, Dictionary, renamed
from tl_ext.dictionaries.loading import load_dictionaries, open_folder, open_testbed
from tl_ext.dictionaries.neuronpedia import neuronpedia_link
from tl_ext.errors import DictionaryError, InputError, PluginError
from tl_ext.models.loading import Processing

POINTS = (
    "blocks.0.hook_resid_pre",
    "blocks.2.hook_resid_pre",
    "blocks.2.attn.hook_z",
    "blocks.2.hook_mlp_out",
    "blocks.10.hook_resid_pre",
)


def at(point: str) -> dict[str, Any]:
    return config_of(metadata={"hook_name": point})


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    for point in reversed(POINTS):
        save(tmp_path / "several" / point, at(point))
    return tmp_path / "several"


def test_a_folder_of_folders_in_the_order_of_the_forward_pass(collection: Path) -> None:
    dictionaries = load_dictionaries(collection)
    assert tuple(dictionaries) == dictionaries.hook_points == POINTS
    assert tuple(load_dictionaries(f"folder://{collection}")) == POINTS


def test_one_dictionary_folder(collection: Path) -> None:
    dictionaries = load_dictionaries(collection / POINTS[0])
    assert list(dictionaries) == [POINTS[0]]
    assert dictionaries.at(POINTS[0]).encode(torch.zeros(2, D_IN)).shape == (2, 20)


def test_several_sources_and_ids_that_meet(collection: Path, tmp_path: Path) -> None:
    save(tmp_path / "other" / "a", at(POINTS[0]))
    save(tmp_path / "other" / "b", at("blocks.7.hook_mlp_out"))
    both = load_dictionaries(collection, tmp_path / "other")
    assert list(both) == [
        f"several/{POINTS[0]}",
        *POINTS[1:],
        f"other/{POINTS[0]}",
        "blocks.7.hook_mlp_out",
    ]
    assert all(id == dictionary.id for id, dictionary in both.items())
    with pytest.raises(DictionaryError, match=r"2 dictionaries read.*several/.*other/"):
        both.at(POINTS[0])


def test_choosing_by_hook_point_and_by_id(collection: Path, tmp_path: Path) -> None:
    chosen = load_dictionaries(collection, hook_points=[POINTS[4], POINTS[2]])
    assert list(chosen) == [POINTS[2], POINTS[4]]
    assert list(load_dictionaries(collection, ids=POINTS[1])) == [POINTS[1]]
    # One source has it, the other does not.
    save(tmp_path / "other" / "b", at("blocks.7.hook_mlp_out"))
    chosen = load_dictionaries(
        collection, tmp_path / "other", hook_points=["blocks.7.hook_mlp_out"]
    )
    assert list(chosen) == ["blocks.7.hook_mlp_out"]


def test_two_at_one_hook_point_are_told_apart_by_path(tmp_path: Path) -> None:
    save(tmp_path / "narrow" / "l0_20", at(POINTS[0]))
    save(tmp_path / "narrow" / "l0_100", at(POINTS[0]))
    assert list(load_dictionaries(tmp_path)) == ["narrow/l0_20", "narrow/l0_100"]
    with pytest.raises(DictionaryError, match=r"2 dictionaries.*narrow/l0_20, narrow/l0_100.*ids"):
        load_dictionaries(tmp_path, hook_points=[POINTS[0]])
    assert list(load_dictionaries(tmp_path, ids=["narrow/l0_100"])) == ["narrow/l0_100"]


def test_what_is_not_there_is_told_with_the_nearest(collection: Path, tmp_path: Path) -> None:
    with pytest.raises(DictionaryError, match=r"Nearest: .*blocks\.2\.hook_resid_pre"):
        load_dictionaries(collection, hook_points=["blocks.3.hook_resid_pre"])
    with pytest.raises(DictionaryError, match=r"blocks\.3\.hook_resid_pre.*Nearest"):
        load_dictionaries(collection, ids=[POINTS[0], "blocks.3.hook_resid_pre"])
    save(tmp_path / "other" / "b", at("blocks.7.hook_mlp_out"))
    with pytest.raises(DictionaryError, match=r"None of .*several.*other.*nothing"):
        load_dictionaries(collection, tmp_path / "other", ids=["nothing", POINTS[0]])


def test_one_damaged_among_several_is_named(collection: Path) -> None:
    (collection / POINTS[3] / "sae_weights.safetensors").unlink()
    with pytest.raises(DictionaryError, match=r"blocks\.2\.hook_mlp_out is no complete"):
        load_dictionaries(collection)
    # Those that are asked for and whole are not held back by it.
    assert list(load_dictionaries(collection, ids=[POINTS[0]])) == [POINTS[0]]


def test_half_written_folders_are_not_passed_over(collection: Path) -> None:
    (collection / POINTS[3] / "cfg.json").unlink()
    with pytest.raises(DictionaryError, match=r"hook_mlp_out is no complete.*cfg\.json"):
        load_dictionaries(collection)


def test_places_with_nothing_in_them(tmp_path: Path) -> None:
    with pytest.raises(DictionaryError, match="holds no dictionaries"):
        load_dictionaries(tmp_path)
    with pytest.raises(DictionaryError, match=r"no folder gpt2-small-res-jb.*saelens://"):
        load_dictionaries("gpt2-small-res-jb")
    with pytest.raises(DictionaryError, match="There is no folder"):
        open_folder(str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="no source"):
        load_dictionaries()
    with pytest.raises(PluginError, match="nowhere"):
        load_dictionaries("nowhere://x")


def test_a_plugins_source_is_held_to_what_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(rest: str, **_: Any) -> list[Dictionary]:
        # A source that pays no heed to what was asked for.
        return [renamed(dictionary_of(), f"{rest}{number}") for number in range(2)]

    manager = SimpleNamespace(
        dictionary_sources=lambda: {"mine": SimpleNamespace(open="tests:opened")}
    )
    monkeypatch.setattr(loading, "build_manager", lambda: manager)
    monkeypatch.setattr(loading, "resolve", lambda reference: opened)
    assert list(load_dictionaries("mine://x")) == ["x0", "x1"]
    assert list(load_dictionaries("mine://x", ids=["x1"])) == ["x1"]
    with pytest.raises(DictionaryError, match="Choose by ids"):
        load_dictionaries("mine://x", hook_points=["blocks.1.hook_resid_pre"])


def test_the_testbed_states_that_it_is_raw(
    collection: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "package" / "testbed" / "weights" / "dictionaries"
    target.parent.mkdir(parents=True)
    monkeypatch.setattr(loading, "files", lambda _: tmp_path / "package")
    with pytest.raises(DictionaryError, match="tl-ext testbed build"):
        open_testbed()
    collection.rename(target)
    for source in ("testbed://", "testbed"):
        dictionaries = load_dictionaries(source)
        assert tuple(dictionaries) == POINTS
        assert {one.processing for one in dictionaries.values()} == {Processing.RAW}
    with pytest.raises(DictionaryError, match="one testbed"):
        load_dictionaries("testbed://other")


def test_the_collection_itself() -> None:
    one, two = dictionary_of(), renamed(dictionary_of(), "two")
    both = Dictionaries([one, two])
    assert len(both) == 2 and both["two"] is two and "three" not in both
    assert both.get("three") is None
    with pytest.raises(KeyError, match=r"There is no dictionary 'tow' here\. Nearest: two"):
        both["tow"]
    with pytest.raises(DictionaryError, match="renamed"):
        Dictionaries([one, one])
    with pytest.raises(DictionaryError, match="2 dictionaries read"):
        both.choose(hook_points=[one.hook_in])
    assert list(both.choose(ids=["two"], hook_points=one.hook_in)) == ["two"]
    with pytest.raises(DictionaryError, match="reads"):
        both.choose(ids=["two"], hook_points=["blocks.4.hook_z"])
    with pytest.raises(DictionaryError, match="No dictionary here reads"):
        both.at("blocks.1.hook_resid_post")
    assert "two: 8 -> 20 latents at blocks.1.hook_resid_pre" in repr(both)
    assert "processing unknown" in repr(one)


def test_neuronpedia_links() -> None:
    linked = dictionary_of(metadata={"neuronpedia_id": "gpt2-small/7-res-jb"})
    assert neuronpedia_link(linked, 12) == "https://www.neuronpedia.org/gpt2-small/7-res-jb/12"
    assert neuronpedia_link(dictionary_of(), 12) is None
    with pytest.raises(InputError, match="none numbered 20"):
        neuronpedia_link(linked, 20)
