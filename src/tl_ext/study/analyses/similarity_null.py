"""Are a concept's strongest latents more alike than those of other words? The null of Fig 4."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from tl_ext.analysis.similarity_null import MEASURES, counts, verdict
from tl_ext.report.marks import Axis, Histogram, Marker, Panels, TableMark
from tl_ext.report.page import Figure
from tl_ext.study.drawing.latents import group_heatmap
from tl_ext.study.plan import ConceptLabel, Plan
from tl_ext.study.tabulating import group_tests

if TYPE_CHECKING:
    from torch import Tensor

    from tl_ext.study.session import Session

NAME = "similarity_null"
NAMES = {
    "cosine": "cosine of directions",
    "correlation": "correlation",
    "contributions": "contributions",
}
MAY_NOT = (
    "That these latents mean the same: every word has strongest latents, and those are alike for the "
    "same reasons.",
    "That what is not shown is not there: the interval says how much could have been missed.",
)


def settings() -> dict[str, int]:
    """What results depend on besides the session."""
    from tl_ext.study.collecting import frequencies, word_groups

    return {
        "spare": word_groups.SPARE,
        "words": word_groups.NULL_WORDS,
        "pool": word_groups.POOL,
        "positions": frequencies.POSITIONS,
    }


def collect(session: Session, needs: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The strongest latents at every word, and when they fire on background text."""
    from tl_ext.study.collecting.word_groups import read

    return read(session)


def tabulate(tensors: Mapping[str, Mapping[str, Tensor]], plan: Plan) -> dict[str, pd.DataFrame]:
    """See [`tables`][tl_ext.study.tabulating.group_tests.tables]."""
    return group_tests.tables(tensors[NAME], plan)


def draw(tables: Mapping[str, pd.DataFrame], plan: Plan) -> dict[str, Figure]:
    """For each language heatmaps beside their nulls at the focus; the pooled nulls; all tests."""
    figures = {}
    for language in plan.languages:
        concept = next(one for one in plan.in_language(language))
        mark = beside(tables, plan, concept)
        if mark is not None:
            figures[f"similarity-null-{language}"] = _beside_figure(tables, plan, concept, mark)
    pooled = tables["similarity_null_pooled"]
    mark = pooled_histograms(tables, plan)
    if mark is not None:
        figures["similarity-null-pooled"] = Figure(
            mark,
            caption=(
                "The mean over the residual stream's dictionaries, or over all where there are none. "
                "Bars: matched words; lines: the concept."
            ),
            may=[verdict(row, row["kind"]) for row in _records(pooled) if _told(row, plan)],
            may_not=MAY_NOT,
        )
    figures |= {
        "similarity-null-tests": Figure(
            tests_table(pooled),
            caption=(
                "One test per concept, measure and kind of hook point. `excess` is what the value has "
                f"beyond the null words' median; intervals from {group_tests.DRAWS} resamples of "
                "sentences and of background texts, the choice of latents made anew in each. "
                "`adjusted`: Benjamini-Hochberg over this table. `frequency_trend`: rank correlation of the "
                "null words' values with their frequency; near 0, a null of rarer words is as good."
            ),
            may="Where latents of a concept are more alike than those of other words: 'shown'.",
            may_not=MAY_NOT,
        ),
        "similarity-null": Figure(
            tests_table(tables[NAME]),
            caption=(
                "The same for each dictionary by itself, adjusted over this table. `random_p` is against "
                f"{group_tests.RANDOM_GROUPS} groups of random latents with the same firing rates, a "
                "weaker null that leaves out how the latents were chosen."
            ),
            may=counts(tables[NAME]),
            may_not="That a small `random_p` is a finding: choosing at one word is enough to make it small.",
        ),
    }
    if len(tables["similarity_null_words"]):
        figures["similarity-null-words"] = _frequency_table(tables["similarity_null_words"])
    return figures


def beside(
    tables: Mapping[str, pd.DataFrame], plan: Plan, concept: ConceptLabel, focus: str | None = None
) -> Panels | None:
    """At one dictionary a concept's heatmap, and the null of every measure beside it."""
    focus = focus or plan.focus
    tests = _of(tables[NAME], concept)
    tests = tests[tests["dictionary"] == focus].set_index("measure")
    values = _of(tables["similarity_null_values"], concept)
    values = values[values["dictionary"] == focus]
    histograms = [
        _histogram(
            NAMES[measure],
            values.loc[values["measure"] == measure, "value"],
            {
                concept.name: tests["observed"][measure],
                "random latents": tests["random_median"][measure],
            },
        )
        for measure in MEASURES
    ]
    drawn = [one for one in histograms if one is not None]
    if not drawn:
        return None
    groups = _groups(tables[NAME], focus, concept.language)
    pairs = tables["similarity_null_pairs"]
    heat = group_heatmap(
        pairs[pairs["dictionary"] == focus],
        groups,
        "cosine",
        hook_point=plan.by_id[focus].hook_point,
        title=", ".join(name for name, _ in groups),
    )
    return Panels(
        title=f"{concept.label}, {plan.by_id[focus].hook_point}",
        panels=[heat, *drawn],
        columns=2,
        share_x="none",
    )


def pooled_histograms(tables: Mapping[str, pd.DataFrame], plan: Plan) -> Panels | None:
    """For every concept the null of its cosine and its correlation, over the dictionaries of a kind."""
    pooled, kind = tables["similarity_null_pooled"], _kind(plan)
    ids = {one.id for one in plan.dictionaries if group_tests.KINDS.get(one.kind, one.kind) == kind}
    values = tables["similarity_null_values"]
    values = values[values["dictionary"].isin(ids)]
    panels = []
    for concept in plan.concepts:
        for measure in ("cosine", "correlation"):
            mine = _of(values[values["measure"] == measure], concept)
            test = _of(pooled[(pooled["measure"] == measure) & (pooled["kind"] == kind)], concept)
            panel = _histogram(
                f"{concept.label}: {measure}",
                mine.groupby("word", sort=False)["value"].mean(),
                {"": test["observed"].max()},
            )
            if panel is not None:
                panels.append(panel)
    if not panels:
        return None
    return Panels(title=f"Other words, and the concept, in {kind}", panels=panels, share_x="none")


def tests_table(table: pd.DataFrame, first: int = 20) -> TableMark:
    """The tests, those with the smallest p first."""
    left_out = {"hook_point", "top", "null_95", "random_groups", "layer"}
    shown = table.sort_values("p", kind="stable", na_position="last")
    numbers = [
        *("observed", "null_median", "excess", "low", "high", "excess_low", "excess_high"),
        *("p", "smallest_p", "adjusted", "random_median", "random_p"),
    ]
    return TableMark(
        title="More alike than at other words?",
        data=shown[[name for name in table.columns if name not in left_out]],
        first=first,
        formats={name: ".3f" for name in numbers if name in table.columns},
    )


def _beside_figure(
    tables: Mapping[str, pd.DataFrame], plan: Plan, concept: ConceptLabel, mark: Panels
) -> Figure:
    words = _of(tables["similarity_null_words"], concept).iloc[0]
    tests = _of(tables[NAME], concept)
    tests = tests[tests["dictionary"] == plan.focus]
    return Figure(
        mark,
        caption=(
            f"The heatmap: the {plan.top} latents that fire most at each concept of "
            f"{concept.language!r}, chosen on every second sentence ({words['frames']} of them). Beside it "
            f"each measure for the {plan.top} strongest latents of {words['null_words']} matched words "
            "(bars), which fit the same sentences and say nothing like the concepts, and for "
            f"{concept.label} (line). Activations are compared on the half of the "
            f"background that played no part in the choice. Log frequency to the model: "
            f"{words['log_frequency']:.1f}; the null words' {words['null_lowest']:.1f} to "
            f"{words['null_highest']:.1f}, {words['null_rarer_share']:.0%} of them rarer than the concept. "
            f"Tokens: {words['tokens']:.1f} and {words['null_tokens']:.1f} on average. The other line is the "
            "median of random latents with the same firing rates."
        ),
        may=[verdict(row, plan.by_id[plan.focus].hook_point) for row in _records(tests)],
        may_not=MAY_NOT,
    )


def _frequency_table(table: pd.DataFrame) -> Figure:
    return Figure(
        TableMark(
            title="How well the null words match in frequency",
            data=table,
            columns=[name for name in table.columns if name != "words"],
            first=30,
            formats={
                name: ".2f"
                for name in table.columns
                if name.startswith(("null_", "log_", "tokens")) and name != "null_words"
            },
        ),
        caption=(
            "The model's own log frequency of a word: its first token's mean probability over background "
            "positions, and its other tokens' probability after the text before them. The words "
            "themselves are in the CSV file."
        ),
        may_not=(
            "That a null whose words are nearly all rarer is a perfect match: what frequency brings by "
            "itself is then not taken out wholly."
        ),
    )


def _histogram(title: str, values: pd.Series, lines: Mapping[str, float]) -> Histogram | None:
    if values.notna().sum() == 0:
        return None
    return Histogram(
        title=title,
        values=values.tolist(),
        bins=20,
        markers=tuple(
            Marker(value=float(value), label=label)
            for label, value in lines.items()
            if not math.isnan(value)
        ),
        x=Axis(title="mean over pairs"),
        y="words",
    )


def _groups(table: pd.DataFrame, id: str, language: str) -> list[tuple[str, list[int]]]:
    """Each concept of a language with its latents in one dictionary."""
    mine = table[(table["dictionary"] == id) & (table["language"] == language)]
    return [
        (str(row["concept"]), [int(latent) for latent in row["latents"].split()])
        for row in _records(mine.drop_duplicates("concept"))
    ]


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def _of(table: pd.DataFrame, concept: ConceptLabel) -> pd.DataFrame:
    return table[(table["concept"] == concept.name) & (table["language"] == concept.language)]


def _kind(plan: Plan) -> str:
    """The residual stream where it has dictionaries, else what the focus reads."""
    shown = (plan.residual or (plan.by_id[plan.focus],))[0]
    return group_tests.KINDS.get(shown.kind, shown.kind)


def _told(row: Mapping[str, Any], plan: Plan) -> bool:
    """Whether a pooled test is said in words: of the drawn kind by direction, and whatever is shown."""
    drawn = row["kind"] == _kind(plan) and row["measure"] == "cosine"
    return bool(drawn or row["decision"] == "shown")
