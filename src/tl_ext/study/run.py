"""Do the exploration and write what it found: tables, figures, a summary and one page.

What the model computed is kept under `state/`, keyed by all it depends on, so that an interrupted run
continues and a changed one starts anew. Each part is written as soon as it is done, and a part that
fails is named on the page with the reason and takes only those down that need it.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from tqdm.auto import tqdm

from tl_ext import fixes, upstream
from tl_ext.activations import store
from tl_ext.dictionaries.example_records import LatentExamples
from tl_ext.errors import InputError, OutputError
from tl_ext.plugins import AnalysisSpec, PluginManager, build_manager, resolve
from tl_ext.report.marks import TableMark
from tl_ext.report.page import Figure, Page, Paragraph, Section, write_page
from tl_ext.study import published
from tl_ext.study.analyses.background import NAME as BACKGROUND
from tl_ext.study.analyses.readings import NAME as READINGS
from tl_ext.study.analyses.readings import Readings
from tl_ext.study.output import Output, table_json
from tl_ext.study.session import Session

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False, repr=False)
class StudyResult:
    """What a study wrote.

    Attributes:
        folder: The output folder.
        page: `index.html` in it.
        tables: Every table, by file stem.
        failed: Parts that did not run, with the reason.
        summary: What `summary.json` holds.
    """

    folder: Path
    page: Path
    tables: Mapping[str, pd.DataFrame]
    failed: Mapping[str, str]
    summary: Mapping[str, Any]

    def __repr__(self) -> str:
        failed = f", {len(self.failed)} parts failed" if self.failed else ""
        return f"<StudyResult: {len(self.tables)} tables and {self.page}{failed}>"


@dataclass(frozen=True, eq=False)
class _Part:
    """What one part of the study found."""

    tables: Mapping[str, pd.DataFrame]
    figures: Mapping[str, Figure]


@dataclass(eq=False)
class _Run:
    """A study being done."""

    session: Session
    output: Output
    key: Mapping[str, object]
    analyses: Mapping[str, AnalysisSpec]
    tensors: dict[str, Mapping[str, Tensor]] = field(default_factory=dict)
    tables: dict[str, Mapping[str, pd.DataFrame]] = field(default_factory=dict)
    sections: list[Section] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    def do(self, name: str, title: str, lead: str, make: Callable[[], _Part]) -> None:
        """Make a part, write it and give it a section; where it fails, the section says why."""
        try:
            part = make()
            self.tables[name] = self._fresh(part.tables)
            blocks = self._write(part)
        except OutputError:
            raise  # the folder cannot be written to: nothing after this can be either
        except Exception as error:
            self.failed[name] = f"{type(error).__name__}: {error}"
            self.output.json(f"state/{name}.failed.json", traceback.format_exc().splitlines())
            blocks = [Paragraph(f"This part did not run. {self.failed[name]}", kind="warning")]
        if blocks:
            self.sections.append(
                Section(id=name.replace("_", "-"), title=title, lead=lead, blocks=tuple(blocks))
            )

    def analyse(self, spec: AnalysisSpec) -> _Part:
        """Collect, or take what an earlier run collected; tabulate; draw."""
        missing = [need for need in spec.needs if need not in self.tensors]
        if missing:
            raise InputError(f"It needs {', '.join(missing)}, which did not run before it.")
        needs = {need: self.tensors[need] for need in spec.needs}
        stored = store.remembered(
            self.output.state(spec.name),
            {"analysis": spec.name, "settings": self._settings(spec), **self.key},
            lambda: resolve(spec.collect)(self.session, needs),
        )
        plan = self.session.plan
        made = resolve(spec.tabulate)({spec.name: stored, **needs}, plan)
        known = {name: table for need in spec.needs for name, table in self.tables[need].items()}
        figures = resolve(spec.draw)({**known, **made}, plan)
        self.tensors[spec.name] = stored
        return _Part(made, figures)

    def _settings(self, spec: AnalysisSpec) -> dict[str, object]:
        """The settings of an analysis and, for it reads their tensors, of all that it needs."""
        found: dict[str, object] = {}
        for need in spec.needs:
            found |= self._settings(self.analyses[need])
        if spec.settings is not None:
            found[spec.name] = resolve(spec.settings)()
        return found

    def compare(self) -> _Part:
        """The published numbers beside this run's."""
        plan = self.session.plan
        table = published.comparison(
            Readings(self.tensors[READINGS], plan), plan, self.session.dictionaries
        )
        figure = Figure(
            TableMark(title="The exploration's numbers", data=table, first=len(table)),
            caption=(
                "Published for GPT-2 small with gpt2-small-res-jb. To fill the last column, where the "
                "hub can be reached: `tl-ext study --model gpt2 --dictionaries "
                "saelens://gpt2-small-res-jb saelens://gpt2-small-hook-z-kk`."
            ),
            may_not=(
                "That other sentences must give the same strongest latents: the published ones are "
                "means over five sentences, of which only those for happy are known."
            ),
        )
        return _Part({"published": table}, {"published": figure})

    def _fresh(self, tables: Mapping[str, pd.DataFrame]) -> Mapping[str, pd.DataFrame]:
        taken = {name for known in self.tables.values() for name in known} & set(tables)
        if taken:
            raise InputError(f"A table is called {', '.join(sorted(taken))} already.")
        return tables

    def _write(self, part: _Part) -> list[Paragraph | Figure]:
        places = {name: self.output.table(name, table) for name, table in part.tables.items()}
        blocks: list[Paragraph | Figure] = []
        for name, figure in part.figures.items():
            csv = places.get(name) or next(iter(places.values()), figure.csv)
            blocks.append(replace(figure, png=self.output.picture(name, figure.mark), csv=csv))
        return blocks

    def finish(self) -> StudyResult:
        """Write the summary and the page."""
        tables = {name: table for known in self.tables.values() for name, table in known.items()}
        summary = {
            "plan": self.session.plan.as_json(),
            "versions": upstream.versions(),
            "applied_fixes": [one.slug for one in fixes.status() if one.applied],
            "failed": self.failed,
            "key": dict(self.key),
            "tables": {name: table_json(table) for name, table in tables.items()},
        }
        self.output.json("summary.json", summary)
        if BACKGROUND in self.tensors:
            self.output.examples(LatentExamples(self.tensors[BACKGROUND]))
        page = write_page(self._page(summary), self.output.folder / "index.html")
        self.output.close()
        return StudyResult(self.output.folder, page, tables, self.failed, summary)

    def _page(self, summary: Mapping[str, Any]) -> Page:
        plan = self.session.plan
        return Page(
            title="Emotional and multilingual features",
            subtitle=(
                f"{plan.model}, {len(plan.dictionaries)} dictionaries, concepts "
                f"{', '.join(plan.names)} in {', '.join(plan.languages)}"
            ),
            sections=tuple(self.sections),
            summary={
                "model": plan.model,
                "background": plan.background,
                "focus": plan.focus,
                "seed": plan.seed,
                "tokens of a word": plan.over_tokens,
                "versions": {name: version or "-" for name, version in summary["versions"].items()},
                "applied fixes": summary["applied_fixes"] or ["none"],
                "failed": list(self.failed) or ["nothing"],
            },
            footer="Tables, pictures and summary.json lie beside this page.",
        )


def run_study(
    session: Session, out: str | Path, *, manager: PluginManager | None = None
) -> StudyResult:
    """Run every analysis and write the page.

    Args:
        session: What is read, see [`open_session`][tl_ext.study.session.open_session].
        out: The output folder; made where it is missing.
        manager: Which plugins' analyses run; None: all that are installed.

    Returns:
        The tables, where everything lies, and what failed.

    Raises:
        OutputError: The folder cannot be written to.
    """
    manager = manager or build_manager()
    plugins = sorted((one.name, one.version or "") for one in manager.report())
    analyses = manager.analyses()
    run = _Run(session, Output.open(out), {"plugins": plugins, **session.key()}, analyses)
    with tqdm(
        total=len(analyses) + 2, desc="study", unit="part", disable=not session.progress
    ) as bar:
        for name, spec in analyses.items():
            run.do(name, spec.title, spec.caption, lambda spec=spec: run.analyse(spec))  # type: ignore[misc]
            bar.update()
        run.do(
            "published",
            "Beside the published numbers",
            "What the exploration reported, and what this run found.",
            run.compare,
        )
        bar.update()
        result = run.finish()
        bar.update()
    return result
