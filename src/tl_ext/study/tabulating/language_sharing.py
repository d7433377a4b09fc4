"""What two languages share: by dictionary and by kind of hook point, against other words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tl_ext.analysis.nulls import benjamini_hochberg, decision
from tl_ext.analysis.overlap import (
    Counts,
    Pairing,
    Share,
    compare_kinds,
    kinds_sentence,
    pairing,
    pooled,
    sharing_sentence,
    word_counts,
)
from tl_ext.study.collecting.word_members import members
from tl_ext.study.plan import ConceptLabel, DictionaryLabel, Plan

EVERYWHERE = "all dictionaries"
Places = tuple[str, str]


@dataclass(frozen=True, eq=False)
class Resampled:
    """How many latents of one dictionary belong to one concept in two languages.

    Attributes:
        dictionary: The dictionary.
        first: The concept in one language.
        second: The concept in the other.
        counts: In each resample of the texts.
    """

    dictionary: DictionaryLabel
    first: ConceptLabel
    second: ConceptLabel
    counts: Counts

    @property
    def languages(self) -> Places:
        """The two languages."""
        return self.first.language, self.second.language


def sharing_tables(
    resampled: Sequence[Resampled], tensors: Mapping[str, Tensor], plan: Plan
) -> dict[str, pd.DataFrame]:
    """Tables of shares, of their null, of kinds and of what may be said.

    Args:
        resampled: Counts of every dictionary and concept, two languages at a time.
        tensors: What `word_members.read` gave.
        plan: What they are about.

    Returns:
        `sharing`, `null`, `kinds` and `verdicts`.
    """
    rows, null, kinds, verdicts = [], [], [], []
    for languages in dict.fromkeys(one.languages for one in resampled):
        mine = [one for one in resampled if one.languages == languages]
        names = tuple(dict.fromkeys(one.first.name for one in mine))
        about = {"concepts": _listed(names), "languages": " and ".join(languages)}
        scopes = {one.id: (one,) for one in plan.dictionaries}
        for scope, part in {**scopes, **plan.by_kind, EVERYWHERE: plan.dictionaries}.items():
            ids = {one.id for one in part}
            share = pooled([one.counts for one in mine if one.dictionary.id in ids])
            tests = _pairings(tensors, plan, part, languages, names)
            labels = {
                "scope": scope,
                "layer": part[0].layer if scope in scopes else None,
                "concepts": about["concepts"],
                "a": languages[0],
                "b": languages[1],
            }
            rows.append({**labels, **_numbers(share, tests)})
            if scope in scopes:
                continue
            verdicts.append(about | {"verdict": sharing_sentence(_where(scope), share, tests)})
            null += [
                {"scope": scope, "a": languages[0], "b": languages[1]}
                | {"replaced": replaced, "value": value}
                for replaced, test in tests.items()
                for value in test.null
            ]
        for pair in combinations(("attention", "MLP", "residual stream"), 2):
            sides = [_by_layer(mine, plan.by_kind.get(kind, ())) for kind in pair]
            found = compare_kinds(sides[0], sides[1], names=pair)
            verdicts.append(about | {"verdict": kinds_sentence(pair, found)})
            kinds.append(
                {
                    "first": pair[0],
                    "second": pair[1],
                    "a": languages[0],
                    "b": languages[1],
                    "layers": " ".join(map(str, found.layers)),
                    "both_first": found.first.both,
                    "either_first": found.first.either,
                    "both_second": found.second.both,
                    "either_second": found.second.either,
                    "difference": found.value,
                    "low": found.interval.low,
                    "high": found.interval.high,
                    "verdict": found.verdict,
                }
            )
    return {
        "sharing": _decided(
            pd.DataFrame(rows, columns=None if rows else ["scope", "a", "b"]), plan
        ),
        "null": pd.DataFrame(null, columns=["scope", "a", "b", "replaced", "value"]),
        "kinds": pd.DataFrame(kinds, columns=None if kinds else ["first", "second", "a", "b"]),
        "verdicts": pd.DataFrame(verdicts, columns=["concepts", "languages", "verdict"]),
    }


def _by_layer(
    resampled: Sequence[Resampled], part: Sequence[DictionaryLabel]
) -> dict[int, list[Counts]]:
    ids = {one.id for one in part}
    found: dict[int, list[Counts]] = {}
    for one in resampled:
        if one.dictionary.id in ids:
            found.setdefault(one.dictionary.layer, []).append(one.counts)
    return found


def _pairings(
    tensors: Mapping[str, Tensor],
    plan: Plan,
    part: Sequence[DictionaryLabel],
    languages: Places,
    names: Sequence[str],
) -> dict[str, Pairing]:
    """Concepts' words of one language beside all words of the other, by which language is replaced."""
    if any(f"{language}/matched" not in tensors for language in languages):
        return {}
    places = {language: [one.name for one in plan.in_language(language)] for language in languages}
    tests = {}
    for kept, replaced in (languages, languages[::-1]):
        both, either = torch.zeros(2, len(names), 1, dtype=torch.float64)
        for one in part:
            of = {
                language: members(
                    tensors,
                    one.id,
                    language,
                    words=len(places[language]) + len(tensors[f"{language}/matched"]),
                    d_latent=one.d_latent,
                )
                for language in languages
            }
            own = [places[kept].index(name) for name in names]
            counted = word_counts(of[kept][own], of[replaced])
            both, either = both + counted[0], either + counted[1]
        tests[replaced] = pairing(
            both, either, [places[replaced].index(name) for name in names], seed=plan.seed
        )
    return tests


def _numbers(share: Share, tests: Mapping[str, Pairing]) -> dict[str, object]:
    found: dict[str, object] = {
        "both": share.both,
        "either": share.either,
        "share": share.value,
        "low": share.interval.low,
        "high": share.interval.high,
        "both_low": share.both_interval.low,
        "both_high": share.both_interval.high,
        "either_low": share.either_interval.low,
        "either_high": share.either_interval.high,
    }
    for place, language in zip("ba", tests, strict=False):
        test = tests[language]
        found |= {
            f"null_{place}": float(np.nanmean(test.null))
            if (~np.isnan(test.null)).any()
            else np.nan,
            f"p_{place}": test.p,
        }
    one = next(iter(tests.values()), None)
    return found | {
        "share_in_same_frames": np.nan if one is None else one.share,
        "p": max((test.p for test in tests.values()), default=np.nan),
        "smallest_p": max((test.smallest for test in tests.values()), default=np.nan),
    }


def _decided(table: pd.DataFrame, plan: Plan) -> pd.DataFrame:
    """With p adjusted over the dictionaries, and what it allows to be said of each."""
    if table.empty:
        return table
    table["adjusted"] = table["p"]
    single = table["scope"].isin([one.id for one in plan.dictionaries])
    table.loc[single, "adjusted"] = benjamini_hochberg(table.loc[single, "p"])
    table["decision"] = [
        decision(p, smallest)
        for p, smallest in zip(table["adjusted"], table["smallest_p"], strict=True)
    ]
    return table


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]


def _where(scope: str) -> str:
    if scope == EVERYWHERE:
        return f"Over {scope}"
    return f"In the {scope}" if scope == "residual stream" else f"In {scope}"
