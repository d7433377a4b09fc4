"""Latents that fire on a concept in several languages: beyond controls, background and other words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING

import pandas as pd
import torch
from jaxtyping import Int
from torch import Tensor

from tl_ext.analysis.crosslingual import Said, crosslingual_table, firing_chance
from tl_ext.study.analyses.readings import NAME as READINGS
from tl_ext.study.analyses.readings import Readings
from tl_ext.study.plan import ConceptLabel, Plan

if TYPE_CHECKING:
    from tl_ext.concepts.concept import Concept
    from tl_ext.report.page import Figure
    from tl_ext.study.session import Session

NAME = "crosslingual"


def collect(session: Session, needs: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """How many tokens words have, which control stands in which frame, how long directions are."""
    tensors = {
        f"{id}/norms": one.directions.detach().float().norm(dim=-1).cpu()
        for id, one in session.dictionaries.items()
    }
    for number, concept in enumerate(session.concepts):
        tensors[f"{number}/tokens"] = word_tokens(session, concept)
        tensors[f"{number}/pairs"] = frame_pairs(concept)
    return tensors


def word_tokens(session: Session, concept: Concept) -> Int[Tensor, " text"]:
    """How many tokens the word of each text has, all its occurrences together."""
    from tl_ext.concepts.spans import word_spans_many

    texts, words = zip(*((one.text, one.word) for one in concept.examples), strict=True)
    spans = word_spans_many(session.model.tokenizer, texts, words)
    return torch.tensor([sum(end - start for start, end in each) for each in spans])


def frame_pairs(concept: Concept) -> Int[Tensor, "pair 2"]:
    """For each text of a concept the control text in its frame; texts left over are paired in order."""
    from tl_ext.concepts.matched import frame_of

    free: dict[str, list[int]] = {}
    for index, one in enumerate(concept.controls):
        free.setdefault(frame_of(one), []).append(index)
    pairs, left = [], []
    for index, one in enumerate(concept.examples):
        waiting = free.get(frame_of(one))
        if waiting:
            pairs.append((index, waiting.pop(0)))
        else:
            left.append(index)
    others = sorted(index for waiting in free.values() for index in waiting)
    # A frame may be worded a little differently for its control word.
    pairs += zip(left, others, strict=False)
    return torch.tensor(sorted(pairs), dtype=torch.long).reshape(-1, 2)


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
    """`crosslingual`: a row per dictionary, concept, two languages and latent that belongs to one."""
    parts = []
    for one in plan.dictionaries:
        for first, second in pairs(plan):
            table = latent_table(tensors, plan, one.id, (first, second))
            kept = table[table["kind"].ne("not shown") | _belongs(table, first, second)]
            kept = kept.set_axis([_by_place(str(name), first, second) for name in kept], axis=1)
            labels: dict[str, str | int] = {
                "dictionary": one.id,
                "hook_point": one.hook_point,
                "layer": one.layer,
                "concept": first.name,
                "a": first.language,
                "b": second.language,
            }
            for place, (column, value) in enumerate(labels.items()):
                kept.insert(place, column, value)
            parts.append(kept)
    columns = ["dictionary", "concept", "a", "b", "latent", "kind"]
    return {NAME: pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)}


def draw(tables: Mapping[str, pd.DataFrame], plan: Plan) -> dict[str, Figure]:
    """Nothing yet."""
    return {}


def _belongs(table: pd.DataFrame, first: ConceptLabel, second: ConceptLabel) -> pd.Series:
    belongs: pd.Series = table[f"belongs_{first.language}"] | table[f"belongs_{second.language}"]
    return belongs


def _by_place(name: str, first: ConceptLabel, second: ConceptLabel) -> str:
    """A column of one language under the place of that language in the pair."""
    for place, one in (("a", first), ("b", second)):
        if name.endswith(f"_{one.language}"):
            return f"{name.removesuffix(one.language)}{place}"
    return name
