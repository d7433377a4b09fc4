"""Do the exploration and write what it found: tables, figures, a summary and one page.

Everything is written into the output folder and nowhere else, each file whole or not at all. What the
model computed is kept under `state/`, keyed by all it depends on, so that an interrupted run continues
and a changed one starts anew.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from tqdm.auto import tqdm

from tl_ext import fixes, upstream
from tl_ext.activations import store
from tl_ext.errors import InputError, OutputError
from tl_ext.plugins import AnalysisSpec, PluginManager, build_manager, resolve
from tl_ext.report.marks import TableMark
from tl_ext.report.page import Figure, Page, Section, write_page
from tl_ext.study import published, steering
from tl_ext.study.analyses.readings import NAME as READINGS
from tl_ext.study.analyses.readings import Readings
from tl_ext.study.plan import Plan
from tl_ext.study.session import Session

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class StudyResult:
    """What a study wrote.

    Attributes:
        folder: The output folder.
        page: `index.html` in it.
        tables: Every table, by file stem.
        summary: What `summary.json` holds.
    """

    folder: Path
    page: Path
    tables: Mapping[str, pd.DataFrame]
    summary: Mapping[str, Any]

    def _repr_html_(self) -> str:
        from html import escape

        return f"<p>{len(self.tables)} tables and a page in <code>{escape(str(self.folder))}</code></p>"


@dataclass(frozen=True, eq=False)
class _Part:
    """One section of the page as it is being made."""

    name: str
    title: str
    lead: str
    tables: Mapping[str, pd.DataFrame]
    figures: Mapping[str, Figure]


def run_study(
    session: Session, out: str | Path, *, manager: PluginManager | None = None
) -> StudyResult:
    """Run every analysis, steer, and write the page.

    Args:
        session: What is read, see [`open_session`][tl_ext.study.session.open_session].
        out: The output folder; made where it is missing.
        manager: Which plugins' analyses run; None: all that are installed.

    Returns:
        The tables and where everything lies.

    Raises:
        InputError: An analysis needs one that does not run before it.
        OutputError: The folder cannot be written to.
    """
    folder = Path(out).expanduser()
    _writable(folder)
    analyses = (manager or build_manager()).analyses()
    _ordered(analyses)
    key = session.key()
    tensors: dict[str, Mapping[str, Tensor]] = {}
    parts: list[_Part] = []
    tables: dict[str, pd.DataFrame] = {}
    with tqdm(
        total=len(analyses) + 2, desc="study", unit="part", disable=not session.progress
    ) as bar:
        for spec in analyses.values():
            part = _analyse(spec, session, tensors, tables, folder, key)
            tables |= part.tables
            parts.append(part)
            bar.update()
        parts.append(_steer(session, tensors, folder, key))
        tables |= parts[-1].tables
        bar.update()
        parts.append(_published(tables, tensors, session.plan))
        tables |= parts[-1].tables
        sections = [_write(part, folder, progress=session.progress) for part in parts]
        summary = _summary(session, tables, key)
        _write_json(folder / "summary.json", summary)
        page = write_page(
            _page([one for one in sections if one is not None], session.plan, summary),
            folder / "index.html",
        )
        bar.update()
    return StudyResult(folder=folder, page=page, tables=tables, summary=summary)


def _ordered(analyses: Mapping[str, AnalysisSpec]) -> None:
    before: set[str] = set()
    for name, spec in analyses.items():
        missing = [need for need in spec.needs if need not in before]
        if missing:
            raise InputError(
                f"The analysis {name!r} needs {', '.join(missing)}, which does not run before it; "
                f"before it run {', '.join(sorted(before)) or 'none'}."
            )
        before.add(name)


def _analyse(
    spec: AnalysisSpec,
    session: Session,
    tensors: dict[str, Mapping[str, Tensor]],
    tables: Mapping[str, pd.DataFrame],
    folder: Path,
    key: Mapping[str, object],
) -> _Part:
    """Collect, or take what an earlier run collected; tabulate; draw."""
    needs = {need: tensors[need] for need in spec.needs}
    tensors[spec.name] = store.remembered(
        folder / "state" / f"{spec.name}.safetensors",
        {"analysis": spec.name, **key},
        lambda: resolve(spec.collect)(session, needs),
    )
    made = resolve(spec.tabulate)({spec.name: tensors[spec.name], **needs}, session.plan)
    figures = resolve(spec.draw)({**tables, **made}, session.plan)
    return _Part(spec.name, spec.title, spec.caption, made, figures)


def _steer(
    session: Session,
    tensors: Mapping[str, Mapping[str, Tensor]],
    folder: Path,
    key: Mapping[str, object],
) -> _Part:
    stored = store.remembered(
        folder / "state" / "steering.safetensors",
        {"analysis": "steering", **key},
        lambda: steering.collect(session, tensors),
    )
    tables = steering.tabulate(stored)
    return _Part(
        "steering",
        "Steering one language with features of another",
        steering.LEAD,
        tables,
        steering.draw(tables, session.plan),
    )


def _published(
    tables: Mapping[str, pd.DataFrame], tensors: Mapping[str, Mapping[str, Tensor]], plan: Plan
) -> _Part:
    table = published.comparison(tables, Readings(tensors[READINGS], plan), plan)
    figure = Figure(
        TableMark(title="The exploration's numbers", data=table, first=len(table)),
        caption=(
            "Published for GPT-2 small with gpt2-small-res-jb. To fill the last column, where the hub "
            "can be reached: `tl-ext study --model gpt2 --dictionaries saelens://gpt2-small-res-jb "
            "saelens://gpt2-small-hook-z-kk`."
        ),
        may_not=(
            "That other sentences must give the same strongest latents: the published ones are means "
            "over five sentences, of which only those for happy are known."
        ),
    )
    return _Part(
        "published",
        "Beside the published numbers",
        "What the exploration reported, and what this run found.",
        {"published": table},
        {"published": figure},
    )


def _write(part: _Part, folder: Path, *, progress: bool) -> Section | None:
    """Write a part's tables and pictures; its section, or None where there is nothing to show."""
    for name, table in part.tables.items():
        store.save_table(folder / "tables" / f"{name}.csv", table)
    blocks = []
    for name, figure in part.figures.items():
        png = None
        if ".png" in figure.mark.suffixes:
            with store.replacing(folder / "figures" / f"{name}.png") as temporary:
                picture = figure.mark.save(temporary.with_suffix(".png"))
                picture.replace(temporary)
            png = f"figures/{name}.png"
        source = name if name in part.tables else next(iter(part.tables), None)
        csv = figure.csv if source is None else f"tables/{source}.csv"
        blocks.append(replace(figure, png=png, csv=csv))
    if not blocks:
        return None
    return Section(
        id=part.name.replace("_", "-"), title=part.title, lead=part.lead, blocks=tuple(blocks)
    )


def _summary(
    session: Session, tables: Mapping[str, pd.DataFrame], key: Mapping[str, object]
) -> dict[str, Any]:
    """Every number of a table small enough to read, and all that the results depend on."""
    small = {name: table for name, table in tables.items() if len(table) <= 2000}
    return {
        "plan": session.plan.as_json(),
        "versions": upstream.versions(),
        "key": dict(key),
        "applied_fixes": [one.slug for one in fixes.status() if one.applied],
        "tables": {
            # By column, for rows would turn whole numbers beside fractions into fractions.
            name: [
                dict(zip(table.columns, row, strict=True))
                for row in zip(*(table[column].tolist() for column in table.columns), strict=True)
            ]
            for name, table in small.items()
        },
        "tables_in_csv_only": {
            name: len(table) for name, table in tables.items() if name not in small
        },
    }


def _page(sections: Sequence[Section], plan: Plan, summary: Mapping[str, Any]) -> Page:
    return Page(
        title="Emotional and multilingual features",
        subtitle=(
            f"{plan.model}, {len(plan.dictionaries)} dictionaries, concepts "
            f"{', '.join(plan.names)} in {', '.join(plan.languages)}"
        ),
        sections=tuple(sections),
        summary={
            "model": plan.model,
            "background": plan.background,
            "focus": plan.focus,
            "seed": plan.seed,
            "tokens of a word": plan.over_tokens,
            "versions": {name: version or "-" for name, version in summary["versions"].items()},
            "applied fixes": summary["applied_fixes"] or ["none"],
        },
        footer="Tables, pictures and summary.json lie beside this page.",
    )


def _write_json(path: Path, value: object) -> None:
    with store.replacing(path) as temporary:
        temporary.write_text(
            json.dumps(_finite(value), indent=1, ensure_ascii=False, allow_nan=False) + "\n",
            encoding="utf-8",
        )


def _finite(value: Any) -> Any:
    """JSON knows neither NaN nor pandas' NA."""
    if value is pd.NA:
        return None
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): _finite(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(one) for one in value]
    return value


def _writable(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file; a folder to write into is expected.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder} cannot be made: {error.strerror or error}.") from error
