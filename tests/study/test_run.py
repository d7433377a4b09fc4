"""The whole study on a tiny model: what it writes, that it resumes, that it says what is wrong."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
import torch
from tests.small_study import few_matched

from tl_ext.errors import OutputError
from tl_ext.plugins import AnalysisSpec, build_manager, resolve
from tl_ext.study.analyses import steering
from tl_ext.study.run import StudyResult, run_study
from tl_ext.study.session import Session, open_session


@pytest.fixture(scope="module")
def session(checkpoint: Path, dictionaries: Path, background: tuple[str, ...]) -> Session:
    return open_session(
        model=checkpoint,
        dictionaries=[dictionaries],
        background=background,
        matched=few_matched(),
        progress=False,
    )


@pytest.fixture(scope="module")
def result(session: Session, tmp_path_factory: pytest.TempPathFactory) -> StudyResult:
    return run_study(session, tmp_path_factory.mktemp("study") / "out")


def test_it_writes_tables_figures_summary_and_page(result: StudyResult) -> None:
    assert {path.name for path in result.folder.iterdir()} == {
        "examples",
        "figures",
        "index.html",
        "state",
        "summary.json",
        "tables",
    }
    for name, table in result.tables.items():
        assert len(pd.read_csv(result.folder / "tables" / f"{name}.csv")) == len(table)
    figures = {path.stem for path in (result.folder / "figures").iterdir()}
    assert {
        "concepts",
        "layers",
        "similarity-within-cosine",
        "similarity-across-cosine",
        "similarity-null-en",
        "similarity-null-pooled",
        "matching",
        "tokens-1",
        "languages",
        "languages-attention",
        "languages-residual",
        "steering-dose-en",
        "steering-dose-fr",
    } <= figures
    page = result.page.read_text(encoding="utf-8")
    assert all(f"figures/{name}.png" in page for name in figures)


def test_every_concept_language_and_dictionary_is_read(
    result: StudyResult, session: Session
) -> None:
    table = result.tables["concept_activations"]
    read = set(table[["concept", "language"]].itertuples(index=False, name=None))
    assert read == {(one.name, one.language) for one in session.concepts}
    assert set(table["dictionary"]) == set(session.dictionaries)
    assert (table["texts"] >= 30).all()


def test_the_summary_holds_numbers_versions_seed_and_fixes(result: StudyResult) -> None:
    summary = json.loads((result.folder / "summary.json").read_text(encoding="utf-8"))
    assert summary["versions"]["transformer-lens"]
    assert summary["plan"]["seed"] == 0
    assert isinstance(summary["applied_fixes"], list)
    assert set(summary["tables"]) == set(result.tables)
    stored = summary["tables"]["steering_verdicts"]
    change = [row[stored["columns"].index("change")] for row in stored["rows"]]
    assert change == result.tables["steering_verdicts"]["change"].tolist()
    assert summary["failed"] == {}


def test_published_numbers_say_not_run_for_another_model(result: StudyResult) -> None:
    assert set(result.tables["published"]["this_run"]) == {"not run"}
    assert "2392, 9840, 21753" in result.tables["published"]["published"].tolist()


def test_a_rerun_computes_nothing_again(
    result: StudyResult, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr("tl_ext.study.analyses.readings.collect", refuse)
    monkeypatch.setattr("tl_ext.study.analyses.steering.collect", refuse)
    again = run_study(session, result.folder)
    for name, table in result.tables.items():
        pd.testing.assert_frame_equal(again.tables[name], table)


def test_other_settings_are_computed_anew_with_all_that_reads_them(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[str] = []

    def module(name: str) -> None:
        made = ModuleType(name)
        made.collect = lambda *_: called.append(name) or {"none": torch.zeros(1)}  # type: ignore[attr-defined]
        made.tabulate = made.draw = lambda *_: {}  # type: ignore[attr-defined]
        made.settings = lambda: {"draws": draws}  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, name, made)

    def spec(name: str, *needs: str, settings: str | None = None) -> AnalysisSpec:
        module(name)
        refs = {part: f"{name}:{part}" for part in ("collect", "tabulate", "draw")}
        return AnalysisSpec(name, name, needs, caption="", settings=settings, **refs)

    draws = 9
    specs = (spec("alone"), spec("drawn", settings="drawn:settings"), spec("reads", "drawn"))
    manager = _Analyses({one.name: one for one in specs})
    for _ in range(2):
        run_study(session, tmp_path, manager=manager)  # type: ignore[arg-type]
        assert called == ["alone", "drawn", "reads"]
    draws = 10
    run_study(session, tmp_path, manager=manager)  # type: ignore[arg-type]
    assert called == ["alone", "drawn", "reads", "drawn", "reads"]


class _Analyses:
    """A plugin manager that knows a few analyses and nothing else."""

    def __init__(self, known: dict[str, AnalysisSpec]) -> None:
        self.known = known

    def analyses(self) -> dict[str, AnalysisSpec]:
        return self.known

    def report(self) -> list[object]:
        return []


def test_what_steering_depends_on_is_in_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    from tl_ext.study.collecting import steering_vectors

    spec = build_manager().analyses()["steering"]
    settings = resolve(spec.settings or "")
    before = json.dumps(settings())
    for place, name in (
        (steering, "STRENGTHS"),
        (steering, "SAMPLES"),
        (steering_vectors, "WORDS"),
        (steering_vectors, "_texts"),
    ):
        with monkeypatch.context() as patched:
            changed = {"_texts": lambda: {}, "STRENGTHS": (3.0,)}.get(name, 1)
            patched.setattr(place, name, changed)
            assert json.dumps(settings()) != before


def test_interrupted_midway_it_leaves_whole_files_and_continues(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    from tl_ext.study.analyses import feature_similarity, readings

    collect, tabulate = readings.collect, feature_similarity.tabulate

    def counted(*arguments: object) -> object:
        calls.append("readings")
        return collect(*arguments)  # type: ignore[arg-type]

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(readings, "collect", counted)
    monkeypatch.setattr(feature_similarity, "tabulate", interrupted)
    monkeypatch.setattr(steering, "collect", lambda *_: _no_steering())
    with pytest.raises(KeyboardInterrupt):
        run_study(session, tmp_path)
    assert not (tmp_path / "index.html").exists()
    assert not list(tmp_path.rglob(".*"))
    monkeypatch.setattr(feature_similarity, "tabulate", tabulate)
    finished = run_study(session, tmp_path)
    assert finished.page.exists()
    assert calls == ["readings"]
    assert "steering_verdicts" not in finished.tables
    assert "Nothing is steered: a test." in finished.page.read_text(encoding="utf-8")


def _no_steering() -> dict[str, object]:
    from tl_ext.activations.store import text_tensor

    return {
        name: text_tensor(said)
        for name, said in {
            "rows": "{}",
            "side_effects": "{}",
            "vectors": "[]",
            "words": "{}",
            "candidates": "{}",
            "notes": '["Nothing is steered: a test."]',
        }.items()
    }


def test_nothing_is_written_outside_the_output_folder(
    result: StudyResult, session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    run_study(session, result.folder)
    assert list(tmp_path.rglob("*")) == [elsewhere]


def unreachable(*_: object) -> None:
    raise ConnectionError("an analysis that asks the network")


class Rearranged:
    """A manager whose analyses are not the installed ones."""

    def __init__(self, **changes: AnalysisSpec) -> None:
        self.changed = {**dict(build_manager().analyses()), **changes}

    def analyses(self) -> dict[str, AnalysisSpec]:
        return self.changed

    def report(self) -> list[object]:
        return []


def test_a_part_that_fails_is_named_and_the_others_stand(
    session: Session, result: StudyResult, tmp_path: Path
) -> None:
    analyses = build_manager().analyses()
    broken = replace(analyses["readings"], name="broken", collect="builtins:int.bit_length")
    needing = replace(analyses["readings"], name="needing", needs=("broken",))
    same = replace(analyses["concept_activations"], name="same")
    absent = replace(
        analyses["readings"], name="absent", collect="tests.study.test_run:unreachable"
    )
    again = run_study(
        session,
        tmp_path,
        manager=Rearranged(broken=broken, needing=needing, same=same, absent=absent),
    )
    assert set(again.failed) == {"broken", "needing", "same", "absent"}
    assert "TypeError" in again.failed["broken"]
    assert "needs broken, which did not run" in again.failed["needing"]
    assert "concept_activations already" in again.failed["same"]
    assert set(again.tables) == set(result.tables)
    assert "This part did not run" in again.page.read_text(encoding="utf-8")


def test_files_of_an_earlier_study_go_and_files_of_others_stay(
    session: Session, tmp_path: Path
) -> None:
    run_study(session, tmp_path)
    (tmp_path / "tables" / "mine.csv").write_text("a\n1\n")
    assert (tmp_path / "figures" / "languages.png").exists()
    analyses = build_manager().analyses()
    fewer = Rearranged(languages=replace(analyses["readings"], name="languages", needs=("x",)))
    run_study(session, tmp_path, manager=fewer)
    assert not (tmp_path / "figures" / "languages.png").exists()
    assert (tmp_path / "tables" / "mine.csv").exists()


def test_an_output_that_is_a_file_is_told(session: Session, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="is a file"):
        run_study(session, tmp_path / "file")
