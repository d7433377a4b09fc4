"""What a steering vector did beyond its controls, and what may be said of it."""

from __future__ import annotations

import pandas as pd
from scipy.stats import t

JUDGED_ROLE, REVERSED, RANDOM, OTHER = "judged", "reversed", "random", "other"
JUDGED = 2.0  # fixed before anything is seen: the strength the verdict is about
_KEYS = ["language", "vector", "role", "strength", "unit", "length", "words"]


def summarise(odds: pd.DataFrame) -> pd.DataFrame:
    """Changes of log-odds over prompts, and how many random directions change them as much.

    Args:
        odds: A row per prompt: `language`, `vector`, `role` ("judged", "reversed", "random", "other"),
            `strength`, `unit` (its name), `length` (of the vector), `words`, `prompt`, `change` (nats).

    Returns:
        A row per language, vector and strength: those columns but the prompt, `change` (mean over
        prompts), `low`, `high` (95 % interval over prompts, Student's t), `prompts`, and
        `random_as_high`, how many random directions of the same length and strength have at least
        this mean change (NA where there are none).
    """
    grouped = odds.groupby(_KEYS, sort=False)["change"]
    table = grouped.agg(change="mean", error="sem", prompts="size").reset_index()
    half = t.ppf(0.975, table["prompts"] - 1) * table["error"]
    table["low"], table["high"] = table["change"] - half, table["change"] + half
    random = table[table["role"] == RANDOM]
    counts: list[int | None] = []
    for language, role, strength, length, change in table[
        ["language", "role", "strength", "length", "change"]
    ].to_numpy():
        alike = random[
            (random["language"] == language)
            & (random["strength"] == strength)
            & ((random["length"] / length - 1).abs() < 1e-3)
        ]
        known = role != RANDOM and len(alike)
        counts.append(int((alike["change"] >= change).sum()) if known else None)
    table["random_as_high"] = pd.array(counts, dtype="Int64")
    return table.drop(columns="error")


def verdicts(table: pd.DataFrame) -> list[str]:
    """What the numbers allow to be said of the judged vector, a sentence for each language.

    It is said to raise the words only where its interval lies above 0, no random direction of its
    length does as much, and its reverse does not raise them too. What other vectors did stands beside
    it: where the opposite concept's latent raises the same words, the push is not about the concept.

    Args:
        table: What `summarise` returned.
    """
    said = []
    for language, rows in table[table["strength"] == JUDGED].groupby("language", sort=False):
        by_role = rows.drop_duplicates("role").set_index("role").to_dict("index")
        main, back = by_role[JUDGED_ROLE], by_role[REVERSED]
        count = int((rows["role"] == RANDOM).sum())
        others = ", ".join(
            f"{name} {change:+.2f}"
            for name, change in rows.loc[rows["role"] == OTHER, ["vector", "change"]].to_numpy()
        )
        works = main["low"] > 0 and main["random_as_high"] == 0 and back["change"] <= 0
        said.append(
            f"In {language!r}, {main['vector']} at strength {JUDGED:g} "
            + ("raises" if works else "is not shown to raise")
            + f" {main['words']}: {main['change']:+.2f} nats (95 % over {main['prompts']} prompts: "
            f"{main['low']:+.2f} to {main['high']:+.2f}); {main['random_as_high']} of {count} random "
            f"directions of equal length did as much; reversed: {back['change']:+.2f}"
            + (f"; beside it: {others}." if others else ".")
        )
    return said
