"""The command as a user meets it: help, tables, files, and errors in a sentence."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from tl_ext.cli import app

RUNNER = CliRunner()


def run(*arguments: object, status: int = 0) -> str:
    """What the command printed, without colour and line breaks of boxes."""
    done = RUNNER.invoke(app, [str(one) for one in arguments], env={"COLUMNS": "200"})
    assert done.exit_code == status, done.output
    return re.sub(r"\x1b\[[0-9;]*m", "", done.output)


@pytest.mark.parametrize(
    "command",
    [
        (),
        ("study",),
        ("features",),
        ("similarity",),
        ("steer",),
        ("tokens",),
        ("plugins",),
        ("fixes",),
        ("testbed",),
        ("testbed", "build"),
    ],
)
def test_every_command_explains_itself(command: tuple[str, ...]) -> None:
    assert "Usage" in run(*command, "--help")


def test_features_of_a_word_in_a_text(checkpoint: Path, dictionaries: Path, tmp_path: Path) -> None:
    csv, figure = tmp_path / "features.csv", tmp_path / "features.png"
    told = run(
        *("features", "--model", checkpoint, "-d", dictionaries, "--layer", 1),
        *("--text", "I am so happy.", "--word", "happy", "--csv", csv, "--figure", figure),
    )
    table = pd.read_csv(csv)
    assert set(table["layer"]) == {1}
    assert str(table["latent"].iloc[0]) in told
    assert figure.read_bytes().startswith(b"\x89PNG")


def test_similarity_of_latents(checkpoint: Path, dictionaries: Path, tmp_path: Path) -> None:
    csv = tmp_path / "similarity.csv"
    run(
        *("similarity", "blocks.0.hook_resid_pre:1,2", "blocks.1.attn.hook_z:3"),
        *("--model", checkpoint, "-d", dictionaries, "--csv", csv),
    )
    assert len(pd.read_csv(csv)) == 3


def test_steering_with_a_latent(checkpoint: Path, dictionaries: Path, tmp_path: Path) -> None:
    background = tmp_path / "background.txt"
    background.write_text("I am so happy.\nHe says he is tired today.\n" * 10)
    found = run("features", "happy", "--model", checkpoint, "-d", dictionaries, "--layer", "1")
    latent = re.search(r"blocks\.1\.hook_resid_pre\W+happy\W+en\W+(\d+)", found)
    assert latent is not None
    csv = tmp_path / "steered.csv"
    run(
        *("steer", "I am", "Je suis", "--latent", f"blocks.1.hook_resid_pre:{latent[1]}"),
        *("--model", checkpoint, "-d", dictionaries, "--background", background),
        *("--strength", "1,3", "--samples", "2", "--max-new-tokens", "4", "--csv", csv),
    )
    table = pd.read_csv(csv, keep_default_na=False)
    assert table.groupby("strength").size().to_dict() == {0.0: 4, 1.0: 4, 3.0: 4}


def test_probabilities_of_tokens(checkpoint: Path) -> None:
    assert "' happy'" in run("tokens", "I am happy.", "--model", checkpoint)


def test_errors_are_a_sentence_with_status_two(
    checkpoint: Path, dictionaries: Path, tmp_path: Path
) -> None:
    options = ("--model", checkpoint, "-d", dictionaries)
    for arguments, told in (
        (("study", "--model", checkpoint, "--out", tmp_path / "o"), "Name at least one source"),
        (("study", "--model", tmp_path / "missing"), "missing"),
        (("features", "hapy", *options), "hapy"),
        (("features", "--text", "I am.", *options), "--word belong together"),
        (("features", "--text", "I am.", "--word", "sad", *options), "I am."),
        (("features", "happy", "--layer", 9, *options), "layer 9"),
        (("similarity", "blocks.0.hook_resid_pre", *options), "DICTIONARY:LATENT"),
        (("similarity", "blocks.0.hook_residpre:1", *options), "blocks.0.hook_resid_pre"),
        (("steer", "I", "--latent", "blocks.0.hook_resid_pre:x", *options), "numbers"),
    ):
        output = run(*arguments, status=2)
        assert told in output.replace("\n", " "), output
        assert "Traceback" not in output
    assert not (tmp_path / "o").exists()
