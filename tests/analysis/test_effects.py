"""What is made of ablations: differences, ranks, decisions, sentences."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from tl_ext.analysis.effects import judge, summarise, verdict, verdicts

COLUMNS = ("kl_at", "kl_after", "odds_at", "odds_after")


def rows(
    effect: float = 0.0,
    *,
    texts: int = 33,
    name: str = "weak",
    unmatched: int = 0,
    relabelled: int = 99,
    latents: int = 4,
    seed: int = 0,
) -> pd.DataFrame:
    """A set that does `effect` more than its random sets; relabelled sets keep to a level of theirs."""
    random = np.random.default_rng(seed)
    levels = random.normal(0, 0.1, relabelled)
    found = []

    def row(text: int, role: str, draw: int, value: float, own: int) -> None:
        singly = 0.5 * value
        found.append(
            {"set": name, "text": text, "role": role, "draw": draw, "latents": latents, "own": own}
            | {"norm": 1.0, **dict.fromkeys(COLUMNS, value)}
            | {f"{one}_singly": singly for one in COLUMNS}
        )

    for text in range(texts):
        noise = random.normal(0, 0.01, 21 + relabelled)
        row(text, "set", 0, 1 + effect + noise[0], latents)
        if text >= unmatched:
            for draw in range(20):
                row(text, "matched", draw, 1 + noise[1 + draw], 0)
        for draw in range(relabelled):
            row(text, "relabelled", draw, 1 + levels[draw] + noise[21 + draw], 1)
    return pd.DataFrame(found)


def one(table: pd.DataFrame, quantity: str = "together", measure: str = "KL") -> pd.Series:
    mine = table[(table["quantity"] == quantity) & (table["measure"] == measure)]
    return mine[mine["moment"] == "at"].iloc[0]


def test_differences_are_paired_over_texts() -> None:
    given = rows(0.3)
    found = one(summarise(given, {"weak": [1, 2, 3, 4]}))
    own = given[given["role"] == "set"].set_index("text")["kl_at"]
    random = given[given["role"] == "matched"].groupby("text")["kl_at"].mean()
    assert found["difference"] == pytest.approx(float((own - random).mean()))
    assert found["effect"] == pytest.approx(float(own.mean()))
    assert found["low"] < found["difference"] < found["high"]
    assert (found["texts"], found["active"], found["matched"]) == (33, 33, 33)
    assert found["norm_ratio"] == 1.0


def test_what_stands_out_is_shown_and_what_does_not_is_not() -> None:
    sets = {"weak": [1, 2, 3, 4]}
    strong = judge(summarise(rows(0.5), sets))
    assert one(strong)["decision"] == "shown"
    assert one(strong)["p"] == pytest.approx(0.01)
    assert one(judge(summarise(rows(0.0), sets)))["decision"] == "not shown"


def test_an_interval_without_zero_is_not_enough() -> None:
    # More than its matched sets in every text, and no more than other fixed sets are.
    found = one(judge(summarise(rows(0.05), {"weak": [1, 2, 3, 4]})))
    assert found["low"] > 0
    assert found["decision"] == "not shown"


def test_joint_is_together_less_singly() -> None:
    table = summarise(rows(0.3), {"weak": [1, 2, 3, 4]})
    together, singly, joint = (one(table, quantity) for quantity in ("together", "singly", "joint"))
    assert together["difference"] - singly["difference"] == pytest.approx(joint["difference"])


def test_few_matched_texts_decide_nothing() -> None:
    found = one(judge(summarise(rows(0.5, unmatched=4), {"weak": [1, 2, 3, 4]})))
    assert (found["matched"], found["active"]) == (29, 33)
    assert found["decision"] == "cannot decide"
    assert "in 29 of them there are random sets as strong, fewer than 30" in verdict(found)


def test_a_set_unmatched_anywhere_has_no_difference() -> None:
    given = rows(0.5, relabelled=0, unmatched=33)
    found = one(judge(summarise(given, {"weak": [1, 2, 3, 4]})))
    assert found["matched"] == 0 and math.isnan(found["p"])
    assert "too little to hold it against: cannot decide" in verdict(found)


def test_texts_without_the_set_are_counted_and_silent_sets_told() -> None:
    given = rows(0.5, relabelled=0, unmatched=33)
    given["latents"] = 0
    found = one(judge(summarise(given, {"weak": [1, 2, 3, 4]})))
    assert found["active"] == 0
    assert "active in none of 33 texts" in verdict(found)


def test_too_few_random_sets_cannot_decide() -> None:
    table = judge(summarise(rows(0.5, relabelled=15), {"weak": [1, 2, 3, 4]}))
    assert one(table)["decision"] == "cannot decide"
    # Two-sided, 39 draws reach 0.05 for a single set; for three they do not.
    sets = {name: [number] for number, name in enumerate("abc")}
    several = pd.concat([rows(0.5, relabelled=39, name=name, seed=3) for name in sets])
    several.loc[several["set"] != "a", list(COLUMNS)] = 1.0
    assert one(judge(summarise(several, sets)), measure="log-odds")["decision"] == "cannot decide"


def test_draws_that_are_the_set_itself_count_against_it() -> None:
    given = rows(0.5)
    same = (given["role"] == "relabelled") & (given["draw"] < 30)
    given.loc[same, "own"] = 4
    own = given[given["role"] == "set"].set_index("text")
    for name in COLUMNS:
        given.loc[same, name] = own[name].loc[given.loc[same, "text"]].to_numpy()
    found = one(judge(summarise(given, {"weak": [1, 2, 3, 4]})))
    assert found["same"] == 30
    assert found["p"] == pytest.approx(0.31)
    assert found["decision"] == "cannot decide"
    assert "99 relabelled sets, 30 of them this very set, allow no smaller p" in verdict(found)


def test_members_are_a_family_of_their_own() -> None:
    sets = {"weak": [1, 2], "one": [1], "two": [2], "apart": [7]}
    given = pd.concat([rows(0.0, name=name, seed=3) for name in sets])
    table = summarise(given, sets)
    family = table.drop_duplicates("set").set_index("set")["family"].to_dict()
    assert family == {"weak": "set", "one": "member", "two": "member", "apart": "set"}
    said = verdicts(judge(table))
    assert sum("members taken out alone" in sentence for sentence in said) == 4
    assert len(said) == 4 + 8 + 4


def test_the_sentence_holds_the_numbers() -> None:
    found = one(judge(summarise(rows(0.5), {"weak": [1, 2, 3, 4]})))
    said = verdict(found)
    assert "weak (4 latents)" in said and "33 texts" in said and "0 of 99" in said
    assert f"{found['low']:+.3g} to {found['high']:+.3g}" in said
    assert "more than latents of that size do" in said
