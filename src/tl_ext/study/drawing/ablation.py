"""Figures of what sets of latents do when they are taken out."""

from __future__ import annotations

import pandas as pd

from tl_ext.analysis.effects import JOINT, LEAST_TEXTS, TOGETHER
from tl_ext.report.marks import Axis, Bars, Histogram, Marker, Panels, Series, TableMark
from tl_ext.report.page import Figure
from tl_ext.study.plan import Plan

SENTENCES_SHOWN = 12
MEASURES = {
    ("KL", "at"): ("kl_at", "KL at the word"),
    ("KL", "after"): ("kl_after", "KL after it"),
    ("log-odds", "at"): ("odds_at", "log-odds at the word"),
    ("log-odds", "after"): ("odds_after", "log-odds at the end"),
}
HOW = (
    "What a set's latents contribute is taken out at the word's tokens, the error term stays. KL: of the "
    "next token's distribution, at the word's last token, and its mean over the tokens after it. "
    "Log-odds: of the concept's words over the other's as the next word, all their tokens counted, at "
    "the word and at the end of the text. Matched sets: other latents active at the same word in the "
    "same text, as many, their summed contribution within 10 % as long."
)
MAY_NOT = [
    "That a set does nothing because no difference was shown: the intervals say how much could have "
    "been missed, and a set of other latents of this size does something too.",
    "That an interval without 0 shows the set to be special: it is over texts, and every fixed set of "
    "latents differs from the mean of its neighbours. The p asks how often others differ as much.",
    "That latents which the dictionary does not have, or its error term, do nothing.",
]


def figures(
    table: pd.DataFrame, *, verdicts: pd.DataFrame, random: pd.DataFrame, plan: Plan
) -> dict[str, Figure]:
    """Figures by file name, of the tables of the analysis `ablation_effects`."""
    found = {}
    if len(verdicts):
        found["ablation-verdicts"] = _verdicts(verdicts)
    if table.empty:
        return found
    sets = table[table["family"] == "set"]
    where = plan.by_id[str(table["dictionary"].iloc[0])].hook_point
    enough = sets[sets["matched"] >= LEAST_TEXTS]
    if len(enough):
        found["ablation-differences"] = _differences(enough, where)
    members = table[(table["family"] == "member") & (table["matched"] > 1)]
    if len(members):
        found["ablation-members"] = _members(members, where)
    if len(random[random["role"] == "relabelled"]):
        found["ablation-random"] = _random(sets, random, where)
    return found


def _verdicts(verdicts: pd.DataFrame) -> Figure:
    shown = verdicts.drop(columns="dictionary", errors="ignore")
    return Figure(
        TableMark(title="Do they do anything?", data=shown, first=SENTENCES_SHOWN),
        caption=(
            f"{HOW} Of the residual stream's dictionaries the nearest to the focus with several latents "
            "that fire weakly in both languages. Strong latents: those private to either language. p: "
            "the rank of the set among sets drawn from all latents active at these words, its own among "
            "them, each held over all texts; adjusted for the sets tested together, and not over languages, "
            "measures and moments, of which one in twenty is shown where nothing is there. Shown: adjusted "
            f"p at most 0.05 and an interval without 0. Fewer than {LEAST_TEXTS} texts with matched sets, "
            "or too few other sets like it, decide nothing."
        ),
        may="What each sentence says, of this dictionary, these words and these texts.",
        may_not=MAY_NOT,
    )


def _name(row: pd.Series) -> str:
    gone = ", strong out" if row["strong"] == "taken out" else ""
    kind = str(row["set"]).removesuffix(" shared").removesuffix(f" {row['language']}")
    return f"{kind}, {row['language']}{gone}"


def _differences(sets: pd.DataFrame, where: str) -> Figure:
    panels = []
    for (measure, moment), (_, told) in MEASURES.items():
        mine = sets[(sets["measure"] == measure) & (sets["moment"] == moment)]
        labels = list(dict.fromkeys(mine.apply(_name, axis=1)))
        series = []
        for quantity, name in ((TOGETHER, "together"), (JOINT, "beyond one at a time")):
            rows = mine[mine["quantity"] == quantity]
            places = [labels.index(_name(row)) for _, row in rows.iterrows()]
            series.append(Series(name, places, rows["difference"], rows["low"], rows["high"]))
        panels.append(
            Bars(
                title=told,
                labels=labels,
                series=series,
                y=Axis(title="set less matched sets", unit="nats"),
            )
        )
    return Figure(
        Panels(
            title=f"Sets less matched random sets, {where}",
            panels=panels,
            columns=1,
            share_x="none",
        ),
        caption=(
            f"{HOW} Mean over texts with its 95 % interval. Together: the set's effect less that of "
            "matched sets. Beyond one at a time: what taking it out as one does more than its latents "
            "one by one add up to, less the same of matched sets. Strong out: the private latents are gone "
            f"in both. A set with matched sets in fewer than {LEAST_TEXTS} texts is not drawn."
        ),
        may="Whether this set does more or less than other latents of its size in texts like these.",
        may_not=MAY_NOT,
    )


def _members(members: pd.DataFrame, where: str) -> Figure:
    panels = []
    for language, rows in members.groupby("language", sort=False):
        for measure in ("KL", "log-odds"):
            mine = rows[(rows["measure"] == measure) & (rows["moment"] == "at")]
            if mine.empty:
                continue
            series = Series(
                "alone", range(len(mine)), mine["difference"], mine["low"], mine["high"]
            )
            panels.append(
                Bars(
                    title=f"{MEASURES[measure, 'at'][1]}, {language}",
                    labels=[str(name).rpartition(" ")[2] for name in mine["set"]],
                    series=[series],
                    x="latent",
                    y=Axis(title="latent less matched latents", unit="nats"),
                )
            )
    return Figure(
        Panels(
            title=f"Weak shared latents taken out one at a time, {where}",
            panels=panels,
            columns=2,
            share_x="none",
        ),
        caption=(
            "Each latent against single latents of its strength in the same texts; mean over the texts "
            "in which it is active and matched, with its 95 % interval, uncorrected."
        ),
        may="How much a single weak latent does beyond others as weak, in texts like these.",
        may_not=MAY_NOT,
    )


def _random(sets: pd.DataFrame, random: pd.DataFrame, where: str) -> Figure:
    panels = []
    keys = ["language", "strong", "set"]
    for labels, rows in random.groupby(keys, sort=False):
        named = pd.Series(dict(zip(keys, labels, strict=True)))
        if not (sets[keys] == named).all(axis=1).any():
            continue  # a member
        others = rows[rows["role"] == "relabelled"]
        own = rows[rows["role"] == "set"]
        for column, told in (MEASURES["KL", "at"], MEASURES["log-odds", "at"]):
            if others[column].notna().any() and own[column].notna().all():
                panels.append(
                    Histogram(
                        title=f"{_name(named)}: {told.removesuffix(' at the word')}",
                        values=others[column],
                        markers=(Marker(value=float(own[column].iloc[0]), label="the set"),),
                        x=Axis(title="mean change", unit="nats"),
                        y="relabelled sets",
                    )
                )
    return Figure(
        Panels(
            title=f"The sets among fixed random ones, {where}",
            panels=panels,
            columns=2,
            share_x="none",
        ),
        caption=(
            "At the word; mean over all texts. Sets drawn from every latent active at these words, the set's "
            "own included: as many, as often active and, over all texts, within 10 % as strong."
        ),
        may="Where the set stands among sets that any other choice of latents would have given.",
        may_not=MAY_NOT,
    )
