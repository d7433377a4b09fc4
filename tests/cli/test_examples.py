"""`tl-ext examples`: reads a file, keeps it, shows latents from it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.cli.test_commands import run

from tl_ext.dictionaries.example_records import LatentExamples

POINT = "blocks.1.hook_resid_pre"


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory, background: tuple[str, ...]) -> Path:
    path = tmp_path_factory.mktemp("texts") / "texts.txt"
    path.write_text("\n".join(background), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def kept(
    checkpoint: Path, dictionaries: Path, texts: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("examples")
    told = run(
        *("examples", "--texts", texts, "--out", folder, "-n", 3),
        *("--model", checkpoint, "-d", dictionaries, "--quiet"),
    )
    assert "7 dictionaries" in told and "contexts.parquet" in told
    return folder


def test_latents_are_shown_from_what_is_kept(kept: Path, tmp_path: Path) -> None:
    examples = LatentExamples.load(kept)[POINT]
    latent = int(examples.largest.argmax())
    page = tmp_path / "latent.html"
    told = run("examples", f"{POINT}:{latent}", "--out", kept, "--figure", page)
    best = examples.contexts(latent)[0]
    assert f"L1 #{latent}" in told and f"[{best.tokens[best.peak]}]" in told
    assert "Raises most" in told and re.search("[▁▂▃▄▅▆▇█]{2}", told)
    assert f"L1 #{latent}" in page.read_text(encoding="utf-8")
    run("examples", f"{POINT}:{latent},1", "--out", kept, "--figure", page)
    assert page.read_text(encoding="utf-8").count("<details") == 2


def test_latents_are_shown_without_keeping_anything(
    checkpoint: Path, dictionaries: Path, texts: Path
) -> None:
    told = run(
        *("examples", f"{POINT}:1", "--texts", texts, "--first", 5),
        *("--model", checkpoint, "-d", dictionaries, "--quiet"),
    )
    assert "L1 #1" in told and "texts" not in told


def test_a_data_set_of_a_folder_is_streamed(
    checkpoint: Path, dictionaries: Path, texts: Path, tmp_path: Path
) -> None:
    pytest.importorskip("datasets")
    arguments = ("--model", checkpoint, "-d", dictionaries, "--quiet", "--first", 20)
    run("examples", "--dataset", texts.parent, "--out", tmp_path / "a", *arguments)
    run("examples", "--texts", texts, "--out", tmp_path / "b", *arguments)
    one, other = (LatentExamples.load(tmp_path / name) for name in "ab")
    assert one.texts == 20
    assert one[POINT].tensors["ids"].equal(other[POINT].tensors["ids"])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "Which texts"),
        (("--texts", "none.txt"), "Give --out FOLDER"),
        (("--texts", "none.txt", "--dataset", "x"), "one of them at a time"),
        (("--out", "nowhere"), "no finished examples"),
        (("--out", "nowhere", "--figure", "x.html"), "name the latents"),
        ((f"{POINT}:1", "--out", "nowhere", "--figure", "x.png"), "ending in .html"),
        (("17",), "names no latents"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(arguments: tuple[str, ...], told: str) -> None:
    assert told in run("examples", *arguments, status=2)
