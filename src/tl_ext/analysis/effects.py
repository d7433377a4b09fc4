"""Whether taking a set of latents out does more than taking out random sets like it.

Two comparisons, for two questions. The difference from matched sets, drawn text by text, says how much
more this very set does, with an interval over texts. Whether any fixed set of as many and as strong
latents would differ as much is asked of relabelled sets, each held over all texts: the p is the rank
of the set's mean effect among theirs. A sign test of the differences would not do: every fixed set of
latents differs from the average of its neighbours in the same direction from text to text.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from tl_ext.analysis.intervals import mean_interval
from tl_ext.analysis.nulls import (
    LEVEL,
    Alternative,
    Decision,
    benjamini_hochberg,
    decision,
    rank_p,
    smallest_p,
)

LEAST_TEXTS = 30
"""Texts with a matched set that a decision needs."""

TOGETHER, SINGLY, JOINT = "together", "singly", "joint"
MEASURES = {"kl": "KL", "odds": "log-odds"}
MOMENTS = ("at", "after")

_TESTS = ["family", "quantity", "measure", "moment"]


def summarise(rows: pd.DataFrame, sets: Mapping[str, Sequence[int]]) -> pd.DataFrame:
    """The effect of each set, that of its random sets, and the difference.

    Args:
        rows: A row per set, text and draw: `set`, `text`, `role` ("set", "matched", "relabelled"),
            `draw`, `latents` (active ones), `own` (those of them that are the set's), `norm`, and for
            "kl" and "odds" at "at" and "after" the columns `kl_at` and so on (nats), and the same with
            `_singly`, the sum over latents taken out one at a time.
        sets: The latents of each set.

    Returns:
        A row per set, `quantity`, `measure` and `moment`. `quantity` is "together", the set taken out
        as one; "singly", the sum of its latents' effects one at a time; "joint", the first less the
        second, 0 where they act independently. `measure` is "KL" or "log-odds". `family` is "member"
        for a set of one latent that lies within another, else "set". `latents` counts the set, `texts`
        all texts, `active` those in which it is active, `matched` those of them with a matched set
        (and a place to measure). `change` is the mean over active texts; `effect`, `random` and
        `difference` are means over matched texts, with `low` and `high`, the difference's 95 % interval
        over texts. `norm_ratio` is the mean norm of matched sets over the set's. `p` ranks the mean over
        all texts among `relabelled` sets, higher ones for KL, both sides for log-odds and for "joint";
        `as_much` of them are as extreme, `same` of them are the set itself, for few latents are like
        its own, and `smallest` is the p had only these been as extreme.
    """
    found = []
    for name, latents in sets.items():
        mine = rows[rows["set"] == name]
        within = any(set(latents) < set(other) for other in sets.values())
        labels = {
            "set": name,
            "family": "member" if within and len(latents) == 1 else "set",
            "latents": len(latents),
        }
        for quantity in (TOGETHER, SINGLY, JOINT) if len(latents) > 1 else (TOGETHER,):
            for short, measure in MEASURES.items():
                for moment in MOMENTS:
                    values = mine.assign(value=_value(mine, quantity, f"{short}_{moment}"))
                    two_sided = quantity == JOINT or short == "odds"
                    found.append(
                        labels
                        | {"quantity": quantity, "measure": measure, "moment": moment}
                        | _compared(values, "two-sided" if two_sided else "greater")
                    )
    return pd.DataFrame(found)


def by_text(rows: pd.DataFrame) -> pd.DataFrame:
    """Each set in each text, beside the mean of its matched sets there.

    Args:
        rows: As for `summarise`.

    Returns:
        A row per set and text: `set`, `text`, `latents` (active), `norm`, `matched` (how many sets),
        and each of `kl_at`, `kl_after`, `odds_at`, `odds_after` with its `random_` mean.
    """
    keys = ["set", "text"]
    names = [f"{measure}_{moment}" for measure in MEASURES for moment in MOMENTS]
    own = rows.loc[rows["role"] == "set", [*keys, "latents", "norm", *names]]
    grouped = rows[rows["role"] == "matched"].groupby(keys)
    random = grouped[names].mean().add_prefix("random_").assign(matched=grouped.size())
    joined = own.merge(random.reset_index(), on=keys, how="left")
    return joined.assign(matched=joined["matched"].fillna(0).astype(int))


def by_draw(rows: pd.DataFrame) -> pd.DataFrame:
    """The mean effect over texts of each relabelled set, and of the set itself.

    Args:
        rows: As for `summarise`.

    Returns:
        A row per set, `role` ("set" or "relabelled") and `draw`, with the means of `kl_at`, `kl_after`,
        `odds_at` and `odds_after` over all texts.
    """
    names = [f"{measure}_{moment}" for measure in MEASURES for moment in MOMENTS]
    chosen = rows[rows["role"] != "matched"]
    means: pd.DataFrame = chosen.groupby(["set", "role", "draw"], sort=False)[names].mean()
    return means.reset_index()


def judge(table: pd.DataFrame, *, level: float = LEVEL) -> pd.DataFrame:
    """Adjust the p of a summary for the number of sets, and decide.

    Benjamini-Hochberg over the sets, and apart from them over the members, within each quantity,
    measure and moment. "shown" needs an adjusted p of at most the level and an interval without 0;
    "cannot decide" is said of fewer than 30 matched texts, and where the set's p at its smallest, the
    others as they came out, would not have been shown either.

    Args:
        table: What `summarise` returned.
        level: Of the tests.

    Returns:
        The table with `adjusted` and `decision`.
    """
    judged = table.assign(adjusted=math.nan, decision="cannot decide")
    for _, index in table.groupby(_TESTS, sort=False).groups.items():
        p = table.loc[index, "p"].to_numpy(dtype=float)
        judged.loc[index, "adjusted"] = benjamini_hochberg(p)
        for place, label in enumerate(index):
            best = p.copy()
            best[place] = table.loc[label, "smallest"]
            smallest = float(benjamini_hochberg(best)[place])
            judged.loc[label, "decision"] = _decided(judged.loc[label], smallest, level)
    return judged


def _decided(row: pd.Series, smallest: float, level: float) -> Decision:
    if row["matched"] < LEAST_TEXTS:
        return "cannot decide"
    found = decision(float(row["adjusted"]), smallest, level=level)
    holds_zero = not (row["low"] > 0 or row["high"] < 0)
    return "not shown" if found == "shown" and holds_zero else found


def verdict(row: pd.Series) -> str:
    """What one row of a judged summary allows to be said, with the numbers it rests on."""
    where = {"at": "at the word", "after": "after the word"}[str(row["moment"])]
    what = {
        TOGETHER: f"Taking out {row['set']} ({_count(row['latents'])})",
        SINGLY: f"Taking out the latents of {row['set']} one at a time and adding up",
        JOINT: f"Taking out {row['set']} together, beyond its latents one at a time,",
    }[str(row["quantity"])]
    if not row["active"]:
        return f"{what}: it is active in none of {row['texts']} texts, so nothing is measured."
    if row["matched"] < LEAST_TEXTS:
        return (
            f"{what} {_change(row, row['change'])} {where} (mean of {row['active']} texts in which it is "
            f"active); in {row['matched']} of them there are random sets as strong, fewer than "
            f"{LEAST_TEXTS}, so there is too little to hold it against: cannot decide."
        )
    return (
        f"{what} {_change(row, row['effect'])} {where}, matched random sets by {row['random']:.3g}: a "
        f"difference of {row['difference']:+.3g} (95 % {row['low']:+.3g} to {row['high']:+.3g}, "
        f"{row['matched']} texts); {row['as_much']} of {row['relabelled']} relabelled sets are as extreme "
        f"(p {row['p']:.2g}, {row['adjusted']:.2g} adjusted): {_said(row)}."
    )


def _change(row: pd.Series, value: float) -> str:
    if row["measure"] == "KL":
        return f"moves the next token's distribution by {value:.3g} nats of KL"
    return f"changes the log-odds of the concept's words by {value:+.3g} nats"


def verdicts(table: pd.DataFrame) -> list[str]:
    """Sentences on what each set does as one and beyond its latents one at a time, at and after the
    word, and one for all members of each measure.

    Args:
        table: What `judge` returned.
    """
    sets = table[(table["family"] == "set") & (table["quantity"] != SINGLY)]
    said = [verdict(row) for _, row in sets.iterrows()]
    for (measure, moment), rows in table[table["family"] == "member"].groupby(
        ["measure", "moment"], sort=False
    ):
        said.append(_of_members(str(measure), str(moment), rows))
    return said


def _of_members(measure: str, moment: str, rows: pd.DataFrame) -> str:
    shown = rows.loc[rows["decision"] == "shown", "set"].tolist()
    undecided = int((rows["decision"] == "cannot decide").sum())
    apart = int(((rows["low"] > 0) | (rows["high"] < 0)).sum())
    return (
        f"Of {len(rows)} members taken out alone, {len(shown)} are shown to do more than latents like "
        f"them by {measure} {moment} the word{' (' + ', '.join(shown) + ')' if shown else ''}; for "
        f"{undecided} it cannot be decided, for want of texts, of other latents as strong or of draws; the "
        f"intervals of {apart} leave out 0, uncorrected."
    )


def _said(row: pd.Series) -> str:
    if row["decision"] == "shown":
        more = "more" if row["measure"] == "KL" and row["quantity"] != JOINT else "something other"
        return f"{more} than latents of that size do"
    if row["decision"] == "not shown":
        return "not shown to do anything beyond any latents of that size"
    same = f", {row['same']} of them this very set," if row["same"] else ""
    return f"cannot decide, for {row['relabelled']} relabelled sets{same} allow no smaller p"


def _count(latents: int) -> str:
    return "one latent" if latents == 1 else f"{latents} latents"


def _value(rows: pd.DataFrame, quantity: str, name: str) -> pd.Series:
    if quantity == JOINT:
        return rows[name] - rows[f"{name}_singly"]
    return rows[name if quantity == TOGETHER else f"{name}_singly"]


def _compared(rows: pd.DataFrame, alternative: Alternative) -> dict[str, Any]:
    """A set against its random sets, by one column `value`."""
    own = rows[rows["role"] == "set"].set_index("text")
    matched = rows[rows["role"] == "matched"].groupby("text")
    # A word that ends its text has no place after it.
    measured = own["value"].dropna().index
    active = own.index[own["latents"] > 0]
    held = measured.intersection(matched["value"].mean().index)
    random = matched["value"].mean()[held]
    difference, interval = mean_interval((own.loc[held, "value"] - random).to_numpy())
    ratio = matched["norm"].mean()[held] / own.loc[held, "norm"]
    return {
        "texts": len(own),
        "active": len(active),
        "matched": len(held),
        "change": _mean(own.loc[active, "value"].dropna()),
        "effect": _mean(own.loc[held, "value"]),
        "random": _mean(random),
        "difference": difference,
        "low": interval.low,
        "high": interval.high,
        "norm_ratio": _mean(ratio),
        **_ranked(rows, own.loc[measured], alternative),
    }


def _ranked(rows: pd.DataFrame, own: pd.DataFrame, alternative: Alternative) -> dict[str, Any]:
    """The rank of the set's mean over all texts among relabelled sets'."""
    relabelled = rows[(rows["role"] == "relabelled") & rows["text"].isin(own.index)]
    by_draw = relabelled.groupby("draw")
    means = by_draw["value"].mean().to_numpy()
    members = own["latents"].sum()
    if not len(means):  # too few matched texts for anything to be decided
        return {"relabelled": 0, "as_much": 0, "same": 0, "p": math.nan, "smallest": 1.0}
    p = rank_p(float(own["value"].mean()), means, alternative=alternative)
    same = int(((by_draw["own"].sum() == members) & (by_draw["latents"].sum() == members)).sum())
    smallest = smallest_p(len(means), alternative=alternative)
    extreme = p / smallest
    return {
        "relabelled": len(means),
        # Draws on the observed side; where more than half are, a two-sided p is cut at 1.
        "as_much": min(len(means), round(extreme) - 1),
        "same": same,
        "p": p,
        "smallest": min(1.0, smallest * (1 + same)),
    }


def _mean(values: pd.Series) -> float:
    return float(values.mean()) if len(values) else math.nan
