"""The tests of similarity against its null: from what `word_groups` read to tables, without a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tl_ext.analysis import similarity_null as nulls
from tl_ext.analysis.intervals import percentiles, resamples
from tl_ext.analysis.nulls import rank_p
from tl_ext.study.collecting.word_groups import null_words
from tl_ext.study.plan import ConceptLabel, DictionaryLabel, Plan

DRAWS = 199  # resamples of texts behind the intervals
RANDOM_GROUPS = 999  # of latents with like firing rates
BLOCKS = 200  # background texts are resampled one by one up to this many, then in groups
KINDS = {
    "resid_pre": "the residual stream",
    "resid_mid": "the residual stream",
    "resid_post": "the residual stream",
    "z": "attention",
    "attn_out": "attention",
    "mlp_out": "MLPs",
}

Row = dict[str, object]


def tables(stored: Mapping[str, Tensor], plan: Plan) -> dict[str, pd.DataFrame]:
    """Every test, and what stands behind it.

    Args:
        stored: What [`read`][tl_ext.study.collecting.word_groups.read] gave.
        plan: What it is about.

    Returns:
        `similarity_null`, a row per dictionary, concept and measure; `similarity_null_pooled`, the same
        over the dictionaries of a kind; `similarity_null_words`, how frequent each concept's word and
        its null words are to the model; `similarity_null_values`, each null word's value;
        `similarity_null_pairs`, how alike the latents of each dictionary's groups are.
    """
    languages = [_open(stored, plan, language) for language in plan.languages]
    pools = {
        one.id: _pool_similarity(stored, one)
        for one in plan.dictionaries
        if f"{one.id}/pool" in stored
    }
    tests = pd.DataFrame([row for one in languages for row in _tests(stored, one, pools)])
    return {
        "similarity_null": nulls.decide(tests),
        "similarity_null_pooled": nulls.decide(
            pd.DataFrame([row for one in languages for row in _pooled(one)])
        ),
        "similarity_null_words": pd.DataFrame(
            [row for one in languages for row in _frequencies(stored, one)],
            columns=list(FREQUENCIES),
        ),
        "similarity_null_values": pd.DataFrame(
            [row for one in languages for row in _values(one)],
            columns=["dictionary", "concept", "language", "measure", "word", "value"],
        ),
        "similarity_null_pairs": _pairs(stored, pools, tests),
    }


FREQUENCIES = (
    *("concept", "language", "log_frequency", "tokens", "frames", "null_words", "null_lowest"),
    *("null_median", "null_highest", "null_rarer_share", "null_tokens", "words"),
)


@dataclass(frozen=True, eq=False)
class _Language:
    """How alike the strongest latents are at every word of a language.

    Attributes:
        plan: What the study is about.
        concepts: Those said in it; they come first among the words.
        names: The words, concepts first.
        frequency: Each word's log frequency; NaN where it was not read.
        null: For each concept its null words, by place.
        once: By dictionary and concept: by measure, the value at each word, in the concept's frames.
        drawn: The same over resampled texts.
    """

    plan: Plan
    concepts: tuple[ConceptLabel, ...]
    names: tuple[str, ...]
    frequency: Float[Tensor, " word"]
    null: list[Int[Tensor, " null"]]
    once: dict[tuple[str, int], dict[str, Float[Tensor, " word"]]]
    drawn: dict[tuple[str, int], dict[str, Float[Tensor, "draw word"]]]


def _open(stored: Mapping[str, Tensor], plan: Plan, language: str) -> _Language:
    concepts = plan.in_language(language)
    matched = tuple(one.name for one in plan.matched if one.language == language)
    names = (*(one.name for one in concepts), *matched)
    places = [(one.id, index) for one in plan.dictionaries for index in range(len(concepts))]
    if f"{language}/log_frequency" not in stored:
        nothing = torch.full((1, len(concepts)), torch.nan)
        none = torch.empty(0, dtype=torch.long)
        return _Language(
            plan,
            concepts,
            names,
            nothing[0],
            [none] * len(concepts),
            {place: dict.fromkeys(nulls.MEASURES, nothing[0]) for place in places},
            {place: dict.fromkeys(nulls.MEASURES, nothing) for place in places},
        )
    frequency = stored[f"{language}/log_frequency"]
    null = null_words(frequency, len(concepts))
    frames = [stored[f"{language}/frames/{index}"] for index in range(len(concepts))]
    found = _Language(
        plan,
        concepts,
        names,
        frequency,
        [one if len(mine) else one[:0] for one, mine in zip(null, frames, strict=True)],
        {},
        {},
    )
    blocks = min(BLOCKS, int(stored["text"].max()) + 1 if len(stored["text"]) else 0)
    texts = resamples(blocks, DRAWS, seed=plan.seed + 1)[1:]
    for one in plan.dictionaries:
        groups = _groups(stored, one, language, blocks)
        known: dict[tuple[int, ...], tuple[dict[str, Tensor], dict[str, Tensor]]] = {}
        for index, mine in enumerate(frames):
            # Concepts in the same frames share everything but which of the words is theirs.
            if (key := tuple(mine.tolist())) not in known:
                here = replace(groups, activations=groups.activations[:, mine])
                draws = resamples(len(mine), DRAWS, seed=plan.seed)[1:]
                once = nulls.group_similarity(here, plan.top)
                known[key] = (
                    {measure: values[0] for measure, values in once.items()},
                    nulls.group_similarity(here, plan.top, draws, texts),
                )
            found.once[one.id, index], found.drawn[one.id, index] = known[key]
    return found


def _groups(
    stored: Mapping[str, Tensor], one: DictionaryLabel, language: str, blocks: int
) -> nulls.WordGroups:
    latents = stored[f"{one.id}/{language}/latents"].long()
    block = stored["text"] % max(1, blocks)
    products, sums = nulls.background_products(
        latents,
        _firings(stored, one),
        block,
        blocks=blocks,
        d_latent=one.d_latent,
    )
    return nulls.WordGroups(
        latents=latents,
        activations=stored[f"{one.id}/{language}/activations"],
        cosine=stored[f"{one.id}/{language}/cosine"],
        products=products,
        sums=sums,
        tokens=torch.bincount(block, minlength=blocks).float(),
    )


def _firings(stored: Mapping[str, Tensor], one: DictionaryLabel) -> nulls.Firings:
    return nulls.Firings(*(stored[f"{one.id}/{name}"] for name in nulls.Firings._fields))


Pools = Mapping[str, Mapping[str, Float[Tensor, "latent latent"]]]


def _tests(stored: Mapping[str, Tensor], language: _Language, pools: Pools) -> Iterator[Row]:
    """A row per concept, dictionary and measure."""
    plan = language.plan
    for index, concept in enumerate(language.concepts):
        null = language.null[index]
        for one in plan.dictionaries:
            once, drawn = language.once[one.id, index], language.drawn[one.id, index]
            group, random = _random(stored, one, concept, index, plan, pools)
            for measure in nulls.MEASURES:
                value = float(once[measure][index])
                yield {
                    "dictionary": one.id,
                    "hook_point": one.hook_point,
                    "layer": one.layer,
                    "concept": concept.name,
                    "language": concept.language,
                    "measure": measure,
                    "top": plan.top,
                    "latents": group,
                    **nulls.compared(value, once[measure][null]),
                    **_intervals([drawn[measure]], index, null),
                    **_against(value, random.get(measure)),
                }


def _pooled(language: _Language) -> Iterator[Row]:
    """A row per concept, kind of hook point and measure, over the dictionaries of the kind."""
    plan = language.plan
    kinds: dict[str, list[DictionaryLabel]] = {}
    for one in plan.dictionaries:
        kinds.setdefault(KINDS.get(one.kind, one.kind), []).append(one)
    for index, concept in enumerate(language.concepts):
        null = language.null[index]
        for kind, several in kinds.items():
            for measure in nulls.MEASURES:
                once = [language.once[one.id, index][measure] for one in several]
                drawn = [language.drawn[one.id, index][measure] for one in several]
                means = torch.stack(once).nanmean(0)
                # The p comes from ranks that leave out what differs from dictionary to dictionary.
                ranked = nulls.pooled_ranks(once, index, null)
                p = rank_p(float(ranked[0]), ranked[1:]) if len(null) else torch.nan
                yield {
                    "kind": kind,
                    "dictionaries": len(several),
                    "concept": concept.name,
                    "language": concept.language,
                    "measure": measure,
                    "top": plan.top,
                    **nulls.compared(float(means[index]), means[null]),
                    "p": p,
                    "below": nulls.below(p, len(null)),
                    "frequency_trend": nulls.trend(ranked[1:], language.frequency[null]),
                    **_intervals(drawn, index, null),
                }


def _intervals(
    drawn: Sequence[Float[Tensor, "draw word"]], own: int, null: Int[Tensor, " null"]
) -> Row:
    """Of the value and of what it has beyond the null words' median, over resampled texts."""
    means = torch.stack(list(drawn)).nanmean(0)
    low, high = percentiles(means[:, own])
    excess_low, excess_high = percentiles(nulls.excess_of(means, own, null))
    return {"low": low, "high": high, "excess_low": excess_low, "excess_high": excess_high}


def _random(
    stored: Mapping[str, Tensor],
    one: DictionaryLabel,
    concept: ConceptLabel,
    index: int,
    plan: Plan,
    pools: Pools,
) -> tuple[str, dict[str, Float[Tensor, " draw"]]]:
    """A concept's latents, and how alike random groups with the same firing rates are, by measure."""
    name = f"{one.id}/{concept.language}"
    if f"{name}/latents" not in stored:
        return "", {}
    chosen = stored[f"{name}/latents"][index, : plan.top].tolist()
    group = " ".join(str(latent) for latent in chosen if latent >= 0)
    pool = stored[f"{name}/rate_pool"][index].long()
    pool = pool[(pool >= 0).any(1)]
    pool = pool[:, (pool >= 0).all(0)]
    if len(pool) < 2:
        return group, {}
    drawn = nulls.random_groups(pool, RANDOM_GROUPS, seed=plan.seed + index)
    place = torch.searchsorted(stored[f"{one.id}/pool"].long(), drawn)
    return group, {
        measure: nulls.mean_over_pairs(matrix, place) for measure, matrix in pools[one.id].items()
    }


def _against(observed: float, random: Float[Tensor, " draw"] | None) -> Row:
    """The weaker null: random latents of like firing rates."""
    if random is None or not len(random):
        return {"random_median": torch.nan, "random_p": torch.nan, "random_groups": 0}
    return {
        "random_median": float(random.nanmedian()),
        "random_p": rank_p(observed, random.numpy()),
        "random_groups": len(random),
    }


def _pool_similarity(
    stored: Mapping[str, Tensor], one: DictionaryLabel
) -> dict[str, Float[Tensor, "latent latent"]]:
    """Every measure between the latents of a dictionary's pool."""
    tokens = len(stored["text"])
    products, sums = nulls.background_products(
        stored[f"{one.id}/pool"].long()[None],
        _firings(stored, one),
        torch.zeros(tokens, dtype=torch.long),
        blocks=1,
        d_latent=one.d_latent,
    )
    return nulls.from_products(stored[f"{one.id}/pool_cosine"], products[0, 0], sums[0, 0], tokens)


def _frequencies(stored: Mapping[str, Tensor], language: _Language) -> Iterator[Row]:
    for index, (concept, null) in enumerate(zip(language.concepts, language.null, strict=True)):
        if not len(null):
            continue
        frequency = language.frequency
        tokens = stored[f"{concept.language}/tokens"]
        values: tuple[object, ...] = (
            concept.name,
            concept.language,
            float(frequency[index]),
            float(tokens[index]),
            len(stored[f"{concept.language}/frames/{index}"]),
            len(null),
            float(frequency[null].min()),
            float(frequency[null].median()),
            float(frequency[null].max()),
            float((frequency[null] < frequency[index]).float().mean()),
            float(tokens[null].mean()),
            " ".join(language.names[int(word)] for word in null),
        )
        yield dict(zip(FREQUENCIES, values, strict=True))


def _values(language: _Language) -> Iterator[Row]:
    for (id, index), once in language.once.items():
        concept = language.concepts[index]
        for measure, values in once.items():
            for word in language.null[index]:
                yield {
                    "dictionary": id,
                    "concept": concept.name,
                    "language": concept.language,
                    "measure": measure,
                    "word": language.names[int(word)],
                    "value": float(values[word]),
                }


def _pairs(stored: Mapping[str, Tensor], pools: Pools, tests: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for id, matrices in pools.items():
        place = {int(latent): index for index, latent in enumerate(stored[f"{id}/pool"])}
        groups = tests.loc[tests["dictionary"] == id, "latents"].unique()
        members = sorted({int(latent) for group in groups for latent in group.split()})
        rows += [
            {"dictionary": id, "latent_a": a, "latent_b": b}
            | {name: float(matrix[place[a], place[b]]) for name, matrix in matrices.items()}
            for a, b in combinations(members, 2)
        ]
    return pd.DataFrame(rows, columns=["dictionary", "latent_a", "latent_b", *nulls.MEASURES])
