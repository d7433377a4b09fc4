"""The command as a user meets it: help, tables, files, and errors in a sentence."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from tl_ext.cli import app
from tl_ext.errors import InputError

RUNNER = CliRunner()
POINT = ("--hook-point", "blocks.1.hook_resid_pre")


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
        ("crosslingual",),
        ("examples",),
        ("similarity",),
        ("counterparts",),
        ("similarity-null",),
        ("match",),
        ("steer",),
        ("ablate",),
        ("sweep",),
        ("tokens",),
        ("plugins",),
        ("fixes",),
        ("fixes", "run"),
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


def test_latents_of_two_languages(checkpoint: Path, dictionaries: Path, tmp_path: Path) -> None:
    csv, texts = tmp_path / "latents.csv", tmp_path / "background.txt"
    texts.write_text("I am tired today.\nJe suis fatigué ce matin.\n" * 5, encoding="utf-8")
    told = run(
        *("crosslingual", "happy", "--model", checkpoint, "-d", dictionaries, "--layer", 1),
        *("--background", texts, "--csv", csv),
    )
    assert "either" in told and "blocks.1.attn.hook_z" in told
    assert {"share_en", "share_fr", "kind"} <= set(pd.read_csv(csv))


def test_one_language_is_told_before_anything_is_read(checkpoint: Path) -> None:
    told = run("crosslingual", "happy", "--languages", "en", "--model", checkpoint, status=2)
    assert "two languages or more" in told and "background" not in told


def test_similarity_of_latents(checkpoint: Path, dictionaries: Path, tmp_path: Path) -> None:
    csv = tmp_path / "similarity.csv"
    run(
        *("similarity", "blocks.0.hook_resid_pre:1,2", "blocks.1.attn.hook_z:3"),
        *("--model", checkpoint, "-d", dictionaries, "--csv", csv),
    )
    assert len(pd.read_csv(csv)) == 3


def test_counterparts_of_latents(checkpoint: Path, dictionaries: Path, tmp_path: Path) -> None:
    background, csv, figure = (tmp_path / name for name in ("text.txt", "out.csv", "out.png"))
    background.write_text("".join(f"I am so happy on day {day}.\n" for day in range(12)))
    told = run(
        *("counterparts", "blocks.0.hook_resid_pre:1,2", "--model", checkpoint, "-d", dictionaries),
        *("--background", background, "--csv", csv, "--figure", figure, "--quiet"),
    )
    table = pd.read_csv(csv)
    assert set(table["other_layer"]) == {1, 2} and len(table) == 2 * 2 * 2
    assert str(table["counterpart"].iloc[0]) in told
    assert figure.read_bytes().startswith(b"\x89PNG")


def test_similarity_beside_its_null(checkpoint: Path, dictionaries: Path, tmp_path: Path) -> None:
    background, concepts = tmp_path / "background.txt", tmp_path / "mine.yaml"
    background.write_text("I am so happy.\nHe says he is tired today.\n" * 5)
    words = ", ".join(f"w{i}" for i in range(19))
    concepts.write_text(
        f"language: en\nframes: ['I am {{word}}.', 'She is {{word}}.']\nmatched: [{words}]\n"
        "concepts: {happy: {words: [happy]}}\n"
    )
    csv, figure = tmp_path / "null.csv", tmp_path / "null.png"
    told = run(
        *("similarity-null", "happy", "--model", checkpoint, "-d", dictionaries, "--layer", 1),
        *("--concepts", concepts, "--background", background, "--quiet"),
        *("--csv", csv, "--figure", figure),
    )
    table = pd.read_csv(csv)
    assert set(table["layer"]) == {1} and set(table["words"]) == {19}
    assert "strongest latents of happy (en) in the residual stream" in told
    assert figure.read_bytes().startswith(b"\x89PNG")


def test_two_dictionaries_are_matched(checkpoint: Path, dictionaries: Path, tmp_path: Path) -> None:
    csv, figure = tmp_path / "match.csv", tmp_path / "match.png"
    told = run(
        *("match", "blocks.0.attn.hook_z", "blocks.1.hook_resid_pre", "--draws", "19"),
        *("--model", checkpoint, "-d", dictionaries, "--csv", csv, "--figure", figure, "--quiet"),
    )
    assert len(pd.read_csv(csv)) == 40
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert "40 latents of blocks.0.attn.hook_z" in told and "one-to-one" in told
    told = run(
        *("match", "blocks.0.hook_resid", "blocks.1.hook_resid_pre"),
        *("--model", checkpoint, "-d", dictionaries),
        status=2,
    )
    assert "blocks.0.hook_resid_pre" in told


def test_tables_keep_ids_whole_and_leave_the_undefined_empty(
    checkpoint: Path, dictionaries: Path, tmp_path: Path
) -> None:
    background = tmp_path / "background.txt"
    background.write_text("I am so happy.\nHe says he is tired today.\n")
    arguments = ["similarity", "blocks.0.hook_resid_pre:0,1,2,3,4,5,6,7", "-d", str(dictionaries)]
    arguments += ["--model", str(checkpoint), "--background", str(background)]
    done = RUNNER.invoke(app, arguments, env={"COLUMNS": "40"})
    assert done.exit_code == 0, done.output
    assert "blocks.0.hook_resid_pre:7" in done.output and "contributions" in done.output
    assert "nan" not in done.output and re.search(r"│ {13}│", done.output)


def test_the_version_is_told() -> None:
    assert run("--version").startswith("tl-ext")


def test_a_missing_card_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tl_ext.testbed.folder", lambda: tmp_path / "weights")
    assert "missing from this installation" in run("testbed", "card", status=2)


def test_study_takes_sources_one_after_another(
    checkpoint: Path, dictionaries: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []

    def stop(**given: list[str]) -> None:
        seen.append(given["dictionaries"])
        raise InputError("enough")

    monkeypatch.setattr("tl_ext.study.session.open_session", stop)
    run("study", "--model", checkpoint, "--dictionaries", "a", "b", "-d", "c", status=2)
    assert [sorted(one) for one in seen] == [["a", "b", "c"]]


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


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (("--latent", "blocks.1.hook_resid_pre:3", "--unit", "usual norm"), {0.0, 1.0, 2.0}),
        (("--toward", "happy", "--away", "sad", *POINT), {0.0, 1.0, 2.0}),
        (("--toward", "happy", "--away", "sad", *POINT, "--unit", "usual norm"), {0.0, 1.0, 2.0}),
        (("--latent", "blocks.1.hook_resid_pre:3,4", "--clamp", 5), {"none", "clamp to 5"}),
        (("--latent", "blocks.1.hook_resid_pre:3,4", "--ablate"), {"none", "ablate"}),
    ],
)
def test_every_kind_of_edit(
    checkpoint: Path,
    dictionaries: Path,
    tmp_path: Path,
    edit: tuple[object, ...],
    told: set[object],
) -> None:
    background, csv = tmp_path / "background.txt", tmp_path / "steered.csv"
    background.write_text("I am so happy.\nHe says he is tired today.\n" * 10)
    run(
        *("steer", "I am", *edit, "--model", checkpoint, "-d", dictionaries, "--quiet"),
        *("--background", background, "--top-k", 20, "--batch-size", 2, "--samples", 2),
        *("--max-new-tokens", 4, "--csv", csv),
    )
    table = pd.read_csv(csv, keep_default_na=False)
    assert set(table.iloc[:, 0]) == told
    assert len(table) == 2 * len(told)


def test_ablations_of_sets(checkpoint: Path, dictionaries: Path, tmp_path: Path) -> None:
    csv, point = tmp_path / "effects.csv", "blocks.1.hook_resid_pre"
    told = run(
        *("ablate", f"{point}:3,4,9", f"{point}:4", "--without", "5", "--against", "sad"),
        *("--model", checkpoint, "-d", dictionaries, "--quiet", "--csv", csv),
        *("--random-sets", 2, "--relabelled-sets", 3),
    )
    assert "members taken out alone" in told and "cannot decide" in told
    assert set(pd.read_csv(csv)["set"]) == {"3,4,9", "4"}
    other = run("ablate", f"{point}:3", "blocks.0.hook_resid_pre:4", status=2)
    assert "one dictionary is expected" in other


def test_a_difference_of_means_needs_no_dictionaries(checkpoint: Path) -> None:
    arguments = ("--toward", "happy", "--away", "sad", *POINT, "--max-new-tokens", 2, "--quiet")
    assert "norm of the difference of means" in run("steer", "I", *arguments, "--model", checkpoint)


def test_a_sweep_with_its_controls(checkpoint: Path, dictionaries: Path, tmp_path: Path) -> None:
    background, csv = tmp_path / "background.txt", tmp_path / "sweep.csv"
    background.write_text("I am so happy.\nHe says he is tired today.\n" * 10)
    told = run(
        *("sweep", "I am", "We are", "--toward", "happy", "--away", "sad", "--words", 3, "--quiet"),
        *("--latent", "blocks.1.hook_resid_pre:3,4", "--unit", "usual norm", "--strength", "1,3"),
        *("--model", checkpoint, "-d", dictionaries, "--background", background),
        *("--max-new-tokens", 4, "--random", 1, "--csv", csv),
    )
    assert "odds_change" in told and "reversed" in told and "the usual norm" in told
    table = pd.read_csv(csv, keep_default_na=False)
    counts = table.groupby("role").size().to_dict()
    each = 2 * 2 * 2 * 2
    assert counts == {
        "unsteered": 4,
        **dict.fromkeys(("tried", "reversed", "random", "baseline"), each),
    }
    alone = run(
        *("sweep", "I am", "--toward", "happy", "--away", "sad", *POINT, "--model", checkpoint),
        *(
            "--strength",
            1,
            "--max-new-tokens",
            2,
            "--random",
            0,
            "--quiet",
            "--background",
            background,
        ),
    )
    assert "means, happy - sad, reversed" in alone.replace("\n", " ")


def test_cheap_things_are_checked_before_the_model_is_loaded(
    dictionaries: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loaded(*given: object, **more: object) -> None:
        raise AssertionError("The model was loaded.")

    monkeypatch.setattr("tl_ext.study.session.load_dictionaries", loaded)
    monkeypatch.setattr("tl_ext.models.loading.load_model", loaded)
    latent = ("--latent", "blocks.0.hook_resid_pre:1")
    means = ("--toward", "happy", "--away", "sad")
    for arguments, told in (
        (("steer", "I", *latent, "--positions", "al"), "generated"),
        (("steer", "I", *latent, "--strength", "1;2"), "numbers"),
        (("steer", "I", *latent, "--strength", "nan"), "numbers"),
        (("steer", "I", *latent, "--clamp", "1", "--ablate"), "give one"),
        (("steer", "I", *latent, "--clamp", "inf"), "finite"),
        (("steer", "I", *latent, "--ablate", "--strength", "1"), "what is added"),
        (("steer", "I", "--latent", "a:1,2"), "one latent is added"),
        (("steer", "I"), "What steers?"),
        (("steer", "I", "--clamp", "1"), "What steers?"),
        (("steer", "I", *means), "all three"),
        (("steer", "I", *means, *POINT, *latent), "without a latent"),
        (("steer", "I", *means, *POINT, "--unit", "largest"), "a latent's"),
        (("steer", "I", "--toward", "hapy", "--away", "sad", *POINT), "hapy"),
        (("steer", "I", *latent, "-d", dictionaries, dictionaries), "repeat -d"),
        (("sweep", "I", *means), "What steers?"),
        (("sweep", "I", *means, *POINT, "--unit", "largest"), "a latent's"),
        (("sweep", "I", *means, *latent, "--strength", "1;2"), "numbers"),
        (("sweep", "I", "--toward", "happy", "--away", "happy", *POINT), "same words"),
        (("sweep", "I", *means, *POINT, "--language", "de"), "de"),
        (("similarity", "a:1", "saelens://b"), "repeat -d"),
        (("similarity", "a:1", "--figure", "a.svg"), ".png or .html"),
        (("features", "happy", "-d", dictionaries, dictionaries), "repeat -d"),
        (("features", "--text", "I", "--word", "I", "saelens://b"), "repeat -d"),
        (("features", "happy", "--over-tokens", "men"), "mean"),
        (("features", "happy", "--text", "I am.", "--word", "am"), "or at a text"),
    ):
        output = run(*arguments, status=2)
        assert told in output.replace("\n", " "), output


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
