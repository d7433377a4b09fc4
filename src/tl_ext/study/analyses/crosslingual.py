"""Latents that fire on a concept in several languages: beyond controls, background and other words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

import pandas as pd
from torch import Tensor

from tl_ext.analysis.crosslingual import (
    FRAME,
    NOT_SHOWN,
    SHARED,
    Said,
    crosslingual_table,
    firing_chance,
)
from tl_ext.analysis.overlap import overlap, pooled
from tl_ext.study.analyses.readings import NAME as READINGS
from tl_ext.study.analyses.readings import Readings
from tl_ext.study.analyses.similarity_null import NAME as SIMILARITY_NULL
from tl_ext.study.plan import ConceptLabel, Plan
from tl_ext.study.tabulating.language_sharing import Resampled, sharing_tables

if TYPE_CHECKING:
    from tl_ext.report.page import Figure
    from tl_ext.study.session import Session

NAME = "crosslingual"


def settings() -> dict[str, int]:
    """What results depend on besides the session."""
    from tl_ext.study.collecting import word_members

    return {"words": word_members.WORDS, "frames": word_members.FRAMES}


def collect(session: Session, needs: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """What the tests need beyond the readings.

    Returns:
        `{id}/norms`, the length of each decoder direction; `{i}/tokens`, how many tokens the word of
        each text of the i-th concept has; `{i}/pairs`, which control text stands in its frame; and
        what `word_members.read` gives.
    """
    from tl_ext.study.collecting import word_members

    tensors = {
        f"{id}/norms": one.directions.detach().float().norm(dim=-1).cpu()
        for id, one in session.dictionaries.items()
    }
    for number, concept in enumerate(session.concepts):
        tensors[f"{number}/tokens"] = word_members.word_tokens(session.model, concept.examples)
        tensors[f"{number}/pairs"] = word_members.frame_pairs(concept)
    readings = Readings(needs[READINGS], session.plan)
    return tensors | word_members.read(session, readings, needs.get(SIMILARITY_NULL, {}))


def pairs(plan: Plan) -> Iterator[tuple[ConceptLabel, ConceptLabel]]:
    """Each concept in two languages, where both have control words."""
    for name in plan.names:
        able = [one for one in plan.concepts if one.name == name and one.examples and one.controls]
        yield from combinations(able, 2)


def said(
    tensors: Mapping[str, Mapping[str, Tensor]], plan: Plan, id: str, concept: ConceptLabel
) -> Said:
    """What a dictionary does at a concept's words in one language, and at control words.

    Args:
        tensors: As `readings` and this analysis collected them, by analysis.
        plan: What they are about.
        id: The dictionary.
        concept: The concept in one language.
    """
    readings, mine = Readings(tensors[READINGS], plan), tensors[NAME]
    number = plan.concepts.index(concept)
    own, control = mine[f"{number}/pairs"].long().T
    chance = firing_chance(readings.firing_rate(id), readings.tokens, mine[f"{number}/tokens"][own])
    return Said(
        readings.latents(id, concept, over_tokens="mean")[own],
        readings.latents(id, concept, "controls", over_tokens="mean")[control],
        chance,
    )


def latent_table(
    tensors: Mapping[str, Mapping[str, Tensor]],
    plan: Plan,
    id: str,
    concepts: Sequence[ConceptLabel],
) -> pd.DataFrame:
    """The `crosslingual_table` of a dictionary and one concept in several languages.

    Args:
        tensors: As `readings` and this analysis collected them, by analysis.
        plan: What they are about.
        id: The dictionary.
        concepts: One concept in several languages, such as one of `pairs`.
    """
    return crosslingual_table(
        {one.language: said(tensors, plan, id, one) for one in concepts},
        firing_rate=Readings(tensors[READINGS], plan).firing_rate(id),
        norms=tensors[NAME][f"{id}/norms"],
    )


def tabulate(tensors: Mapping[str, Mapping[str, Tensor]], plan: Plan) -> dict[str, pd.DataFrame]:
    """The latents, what two languages share of them, and whether that is more than chance.

    `crosslingual`, a row per dictionary, concept, two languages and latent that belongs to one of them;
    `crosslingual_counts`, how many there are; `crosslingual_sharing`, the share of both languages by
    dictionary and by kind of hook point, against other words; `crosslingual_null`, the shares with other
    words; `crosslingual_kinds`, kind against kind; `crosslingual_verdicts`, sentences.
    """
    latents, counts, resampled = [], [], []
    for one in plan.dictionaries:
        for first, second in pairs(plan):
            both = {each.language: said(tensors, plan, one.id, each) for each in (first, second)}
            table = crosslingual_table(
                both,
                firing_rate=Readings(tensors[READINGS], plan).firing_rate(one.id),
                norms=tensors[NAME][f"{one.id}/norms"],
            )
            table = table.set_axis([_by_place(str(name), first, second) for name in table], axis=1)
            labels: dict[str, Any] = {
                "dictionary": one.id,
                "hook_point": one.hook_point,
                "layer": one.layer,
                "concept": first.name,
                "a": first.language,
                "b": second.language,
            }
            resampled.append(Resampled(one, first, second, overlap(both, seed=plan.seed)))
            counts.append(labels | _counts(table, resampled[-1]))
            kept = table[table["kind"].ne(NOT_SHOWN) | table["belongs_a"] | table["belongs_b"]]
            latents.append(pd.DataFrame([labels]).merge(kept, how="cross"))
    found = sharing_tables(resampled, tensors[NAME], plan)
    empty = pd.DataFrame(columns=["dictionary", "concept", "a", "b", "latent", "kind"])
    return {
        NAME: pd.concat(latents, ignore_index=True) if latents else empty,
        f"{NAME}_counts": pd.DataFrame(
            counts, columns=None if counts else ["dictionary", "a", "b"]
        ),
        **{f"{NAME}_{name}": table for name, table in found.items()},
    }


def draw(tables: Mapping[str, pd.DataFrame], plan: Plan) -> dict[str, Figure]:
    """Verdicts, counts by layer, the null of other words, and the latents themselves."""
    from tl_ext.study.drawing import languages

    if tables[NAME].empty and tables[f"{NAME}_counts"].empty:
        return {}
    found = {name: tables[f"{NAME}_{name}"] for name in ("sharing", "null", "verdicts")}
    return languages.figures(tables[NAME], plan=plan, **found)


def _counts(table: pd.DataFrame, resampled: Resampled) -> dict[str, Any]:
    """How many latents belong, and how many are shown to, one concept at one dictionary."""
    kinds = table["kind"].value_counts()
    share = pooled([resampled.counts])
    named = {
        "shared": SHARED,
        "private_a": f"private {resampled.first.language}",
        "private_b": f"private {resampled.second.language}",
        "frame": FRAME,
    }
    return {
        "live": int(table["live"].iloc[0]) if len(table) else 0,
        "belong_a": int(table["belongs_a"].sum()),
        "belong_b": int(table["belongs_b"].sum()),
        "belong_both": share.both,
        "belong_either": share.either,
        "share": share.value,
        "low": share.interval.low,
        "high": share.interval.high,
        **{f"shown_{column}": int(kinds.get(kind, 0)) for column, kind in named.items()},
        "shown_in_one": int(kinds[kinds.index.str.startswith("shown in")].sum()),
        "cannot_decide": int((table["decision"] == "cannot decide").sum()),
    }


def _by_place(name: str, first: ConceptLabel, second: ConceptLabel) -> str:
    """A column of one language under the place of that language in the pair."""
    for place, one in (("a", first), ("b", second)):
        if name.endswith(f"_{one.language}"):
            return f"{name.removesuffix(one.language)}{place}"
    return name
