"""Figures of what two languages share."""

from __future__ import annotations

import pandas as pd

from tl_ext.report.marks import Axis, Bars, Histogram, Marker, Panels, Series, TableMark
from tl_ext.report.page import Figure
from tl_ext.study.plan import Plan, latent_name

LATENTS_SHOWN = 20
BELONGS = (
    "A latent belongs to a word where it fires on at least half of the texts, on at least twice as many "
    "as by its rate on background text, and at least twice as strongly as at control words in the same "
    "frames."
)


def figures(
    latents: pd.DataFrame,
    *,
    sharing: pd.DataFrame,
    null: pd.DataFrame,
    verdicts: pd.DataFrame,
    plan: Plan,
) -> dict[str, Figure]:
    """Figures by file name, of the tables of the analysis `crosslingual`."""
    found = {"crosslingual-verdicts": _verdicts(verdicts)}
    pairs = list(sharing[["a", "b"]].drop_duplicates().itertuples(index=False, name=None))
    for a, b in pairs:
        end = "" if len(pairs) == 1 else f"-{a}-{b}"
        of_pair = {
            name: table[(table["a"] == a) & (table["b"] == b)]
            for name, table in (("latents", latents), ("sharing", sharing), ("null", null))
        }
        found[f"crosslingual{end}"] = _counts(of_pair["sharing"], a, b, plan)
        if len(of_pair["null"]["value"].dropna()):
            found[f"crosslingual-null{end}"] = _null(of_pair["null"], of_pair["sharing"], a, b)
        if len(of_pair["latents"]):
            found[f"crosslingual-latents{end}"] = _latents(of_pair["latents"], a, b)
    return found


def _verdicts(verdicts: pd.DataFrame) -> Figure:
    return Figure(
        TableMark(
            title=f"What two languages share of {', '.join(verdicts['concepts'].unique())}",
            data=verdicts[["languages", "verdict"]],
            first=max(1, len(verdicts)),
        ),
        caption=(
            f"{BELONGS} Intervals resample texts and select anew. Other words say no "
            "feeling, have nearly as many tokens and are nearly as frequent, and take the place of the "
            "concepts' own; p is the rank of the own among them, and it counts only where it holds "
            "whichever of the two languages' words is replaced. Kinds of hook points are "
            "compared at the layers where both have dictionaries."
        ),
        may=(
            "Where a sentence says more than by chance: that the concepts' words share more latents than "
            "other words of these two languages do. Where it names a kind: that more of its latents, "
            "of those of either language, are of both."
        ),
        may_not=[
            "That a kind of hook point without dictionaries, or with few latents of the words, carries "
            "less across languages.",
            "That what was not shown is not there: dictionaries of other sizes, more words or another "
            "model may show it.",
        ],
    )


def _counts(sharing: pd.DataFrame, a: str, b: str, plan: Plan) -> Figure:
    panels = []
    for kind, part in plan.by_kind.items():
        mine = sharing.set_index("scope").loc[[one.id for one in part]]
        places = range(len(part))
        panels.append(
            Bars(
                title=kind,
                labels=[f"{one.layer}" for one in part],
                series=[
                    Series(
                        f"{a} or {b}",
                        places,
                        mine["either"],
                        mine["either_low"],
                        mine["either_high"],
                    ),
                    Series(
                        f"both {a} and {b}",
                        places,
                        mine["both"],
                        mine["both_low"],
                        mine["both_high"],
                    ),
                ],
                x=Axis(title="layer"),
                y="latents, over concepts",
            )
        )
    return Figure(
        Panels(
            title=f"Latents that belong to {', '.join(sharing['concepts'].unique())} in {a} and in {b}",
            panels=panels,
            columns=min(3, len(panels)),
            share_x="none",
        ),
        caption=(
            f"{BELONGS} Summed over concepts; the lines are 95 % intervals over resampled texts, with "
            "the selection made anew in each."
        ),
        may="Where latents of either language lie, and how few or many of them are of both.",
        may_not=(
            "That a bar without an interval is certain: an interval over texts knows nothing of other "
            "words or other dictionaries."
        ),
    )


def _null(null: pd.DataFrame, sharing: pd.DataFrame, a: str, b: str) -> Figure:
    observed = sharing.set_index("scope")["share_in_same_frames"].to_dict()
    panels = []
    for (scope, replaced), rows in null.groupby(["scope", "replaced"], sort=False):
        if rows["value"].notna().any():
            value = float(observed[scope])
            panels.append(
                Histogram(
                    title=f"{scope}, other {replaced} words",
                    values=100 * rows["value"],
                    bins=24,
                    markers=(Marker(value=100 * value, label="own"),) if value == value else (),
                    x=Axis(title="share of both", unit="%"),
                    y="draws",
                )
            )
    return Figure(
        Panels(
            title=f"What words of {a} and {b} share, own and others",
            panels=panels,
            columns=2,
            share_x="none",
        ),
        caption=(
            "Of the latents that belong to either word, the share that belongs to both: marked with the "
            "concepts' own words, counted with other words of one language in their places, a "
            "different one for each concept, at random."
        ),
        may="How far the concepts' own words stand above what two words of these languages share.",
        may_not=(
            "That the other words have nothing to do with the concepts: they were chosen to say no "
            "feeling, and words of one kind may share more than words at large."
        ),
    )


def _latents(latents: pd.DataFrame, a: str, b: str) -> Figure:
    shared = latents[latents["kind"] == "shared"]
    order = latents["kind"].eq("shared").astype(int)
    rows = latents.assign(shared=order).sort_values(
        ["shared", "adjusted"], ascending=[False, True], kind="stable"
    )
    shown = pd.DataFrame(
        {
            "latent": [
                latent_name(point, latent)
                for point, latent in rows[["hook_point", "latent"]].to_numpy()
            ],
            "concept": rows["concept"],
            "kind": rows["kind"],
            f"activation {a}": rows["activation_a"],
            f"control {a}": rows["control_a"],
            f"p {a}": rows["p_a"],
            f"activation {b}": rows["activation_b"],
            f"control {b}": rows["control_b"],
            f"p {b}": rows["p_b"],
            "adjusted p": rows["adjusted"],
        }
    )
    return Figure(
        TableMark(
            title=f"Latents of both {a} and {b}, and of one",
            data=shown,
            first=LATENTS_SHOWN,
            formats=dict.fromkeys(shown.columns[3:], ".2g"),
        ),
        caption=(
            f"{len(shared)} latents are shown to belong to a concept in both languages; they come first. "
            "A language's p is the larger of two, beyond control words (sign test over frames) and "
            "beyond background (binomial); a shared latent's is the larger of the two languages', "
            "adjusted (Benjamini-Hochberg) over the live latents of its dictionary. Private: shown in "
            "one language, and less than half as far beyond its control words in the other by a 95 % "
            "interval. Activations are means over a word's tokens."
        ),
        may="Which latents answer to these two words in sentences of this kind.",
        may_not=(
            "That a shared latent means the concept: two words may have something else in common, such "
            "as a piece of their spelling. The test with other words asks for that."
        ),
    )
