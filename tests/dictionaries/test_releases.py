"""SAELens' releases, without a network: the list is a small one and the hub is a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from tests.dictionaries.saved import config_of, save

from tl_ext import upstream
from tl_ext.dictionaries import saelens
from tl_ext.dictionaries.loading import load_dictionaries
from tl_ext.dictionaries.neuronpedia import neuronpedia_link
from tl_ext.dictionaries.saelens import UnreachableError, find_release, open_release
from tl_ext.errors import DictionaryError
from tl_ext.models.loading import Processing

LISTED: dict[str, Any] = {
    "tiny-res": {
        "repo_id": "somebody/tiny",
        "model": "tiny",
        "conversion_func": None,
        "config_overrides": {"model_from_pretrained_kwargs": {"center_writing_weights": True}},
        "saes": [
            {"id": "blocks.2.hook_resid_pre", "path": "two", "neuronpedia": "tiny/2-res"},
            {"id": "blocks.10.hook_resid_pre", "path": "ten", "norm_scaling_factor": 0.5},
        ],
    },
    "tiny-odd": {
        "repo_id": "somebody/odd",
        "model": "tiny",
        "conversion_func": "gemma_2",
        "saes": [{"id": "layer_0", "path": "layer_0"}],
    },
}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub in a folder; `fetched` in it lists what was asked for."""
    point = {"hook_name": "blocks.2.hook_resid_pre"}
    save(tmp_path / "two", config_of(metadata=point))
    scaled = "expected_average_only_in"
    point = {"hook_name": "blocks.10.hook_resid_pre"}
    save(tmp_path / "ten", config_of(metadata=point, normalize_activations=scaled))
    log = tmp_path / "fetched"
    log.write_text("")

    def download(repository: str, file: str) -> str:
        with log.open("a") as lines:
            lines.write(file + "\n")
        if not (tmp_path / file).is_file():
            raise huggingface_hub.errors.LocalEntryNotFoundError(f"no {file}")
        return str(tmp_path / file)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.setattr(
        huggingface_hub.HfApi,
        "list_repo_files",
        lambda self, name: [
            "README.md",
            "ten/cfg.json",
            "two/cfg.json",
            "two/sae_weights.safetensors",
        ],
    )
    monkeypatch.setattr(saelens, "_listed_releases", lambda: LISTED)
    return tmp_path


def test_a_release_in_saelens_format_needs_no_saelens(hub: Path) -> None:
    dictionaries = load_dictionaries("saelens://tiny-res")
    assert list(dictionaries) == ["blocks.2.hook_resid_pre", "blocks.10.hook_resid_pre"]
    two, ten = dictionaries.values()
    assert two.release == "tiny-res" and two.processing == Processing.COMPATIBILITY
    assert neuronpedia_link(two, 3) == "https://www.neuronpedia.org/tiny/2-res/3"
    assert neuronpedia_link(ten, 3) is None
    # The constant that the release states is folded.
    assert ten.normalisation == "none"


@pytest.mark.parametrize("how", ["ids", "hook_points"])
def test_only_what_is_asked_for_is_fetched(hub: Path, how: str) -> None:
    chosen = load_dictionaries("saelens://tiny-res", **{how: ["blocks.2.hook_resid_pre"]})  # type: ignore[arg-type]
    assert list(chosen) == ["blocks.2.hook_resid_pre"]
    assert "ten/" not in (hub / "fetched").read_text()


def test_a_repository_that_saelens_does_not_list(hub: Path) -> None:
    found = load_dictionaries("saelens://somebody/tiny", ids=["two"])
    assert list(found) == ["two"] and found["two"].release == "somebody/tiny"
    by_point = load_dictionaries("saelens://somebody/tiny", hook_points=["blocks.2.hook_resid_pre"])
    assert list(by_point) == ["two"]


def test_what_is_not_there_is_told_with_the_nearest(hub: Path) -> None:
    with pytest.raises(DictionaryError, match="Nearest: tiny-res"):
        find_release("tiny-rse")
    with pytest.raises(DictionaryError, match=r"no dictionary blocks\.3.*Nearest: blocks\.2"):
        open_release("tiny-res", ids=["blocks.3.hook_resid_pre"])
    with pytest.raises(DictionaryError, match=r"none|no dictionary that reads blocks\.3"):
        open_release("tiny-res", hook_points=["blocks.3.hook_resid_pre"])


def test_without_a_list_the_way_to_get_one_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saelens, "_listed_releases", dict)
    with pytest.raises(
        DictionaryError, match=r"tl-ext\[sae\].*tl-ext\[sae-deps\].*--no-deps sae-lens"
    ):
        open_release("gpt2-small-res-jb")


def test_what_cannot_be_fetched_is_said(hub: Path) -> None:
    (hub / "two" / "cfg.json").unlink()
    with pytest.raises(UnreachableError, match=r"two|tiny-res / blocks\.2.*somebody/tiny"):
        open_release("tiny-res")


def test_a_cut_download_is_named(hub: Path) -> None:
    path = hub / "two" / "sae_weights.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DictionaryError, match="damaged or cut short"):
        open_release("tiny-res", ids=["blocks.2.hook_resid_pre"])


@pytest.mark.skipif(upstream.saelens_usable(), reason="SAELens converts it here")
def test_a_format_that_saelens_alone_converts(hub: Path) -> None:
    with pytest.raises(DictionaryError, match=r"'gemma_2'.*save_model"):
        open_release("tiny-odd")


@pytest.mark.saelens
@pytest.mark.skipif(not upstream.saelens_usable(), reason="SAELens cannot be imported here")
def test_the_real_list_is_read_as_saelens_reads_it() -> None:
    from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

    theirs = get_pretrained_saes_directory()
    for name in ("gpt2-small-res-jb", "gpt2-small-hook-z-kk", "gpt2-small-mlp-tm"):
        ours, entry = find_release(name), theirs[name]
        assert dict(ours.paths) == entry.saes_map
        assert (ours.repository, ours.converter) == (entry.repo_id, entry.conversion_func)
        assert dict(ours.scaling_factors) == entry.norm_scaling_factor
        assert {id: ours.neuronpedia.get(id) for id in ours.paths} == entry.neuronpedia_id
    jb = find_release("gpt2-small-res-jb")
    assert jb.overrides["model_from_pretrained_kwargs"]["center_writing_weights"] is True


def test_the_published_release_is_known_to_need_a_processed_model(
    hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """gpt2-small-res-jb's own configuration names no processing; its release does."""
    old = {
        "model_name": "gpt2-small",
        "hook_point": "blocks.2.hook_resid_pre",
        "d_in": 8,
        "d_sae": 20,
        "dtype": "torch.float32",
        "prepend_bos": True,
    }
    (hub / "two" / "cfg.json").write_text(json.dumps(old))
    [found] = open_release("tiny-res", ids=["blocks.2.hook_resid_pre"])
    assert found.processing == Processing.COMPATIBILITY
