"""Steer each language with a feature found in the first, beside the controls that tell a direction from
a push: the same vector reversed, random directions of equal length, and the difference of means.

What is measured is how much more probable the first concept's words become than the second's (or than
its own control words), in every language that has both.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
import yaml
from torch import Tensor
from tqdm.auto import tqdm

from tl_ext.activations.store import tensor_text, text_tensor
from tl_ext.analysis.features import belongs, beyond_controls
from tl_ext.analysis.steering import (
    JUDGED,
    JUDGED_ROLE,
    OTHER,
    RANDOM,
    REVERSED,
    summarise,
    verdicts,
)
from tl_ext.errors import InputError
from tl_ext.models.hook_points import NOT_EDITABLE, kind_of
from tl_ext.report.marks import Axis, Lines, Samples, Series, TableMark
from tl_ext.report.page import Figure
from tl_ext.study.analyses.readings import NAME as READINGS
from tl_ext.study.analyses.readings import Readings
from tl_ext.study.plan import ConceptLabel, Plan

if TYPE_CHECKING:
    from tl_ext.concepts.concept import Concept
    from tl_ext.steering.vectors import SteeringVector
    from tl_ext.study.session import Session

STRENGTHS = (1.0, 2.0, 4.0)
DIRECTIONS = 20  # random ones, so that "above all of them" has p = 1/21 < 0.05
SAMPLES = 3
NEW_TOKENS = 16
WORDS = 6  # of each side at most
LEAD = (
    "A direction is added at every token but the first positions, in the language it was found in and "
    "in the others."
)

WITHOUT_SPACES = ("zh", "ja", "th")


@cache
def prompts() -> dict[str, tuple[str, ...]]:
    """What steering is tried on, by language; see `prompts.yaml`."""
    text = (files(__package__) / "prompts.yaml").read_text(encoding="utf-8")
    return {language: tuple(listed) for language, listed in yaml.safe_load(text).items()}


@dataclass(frozen=True)
class Tried:
    """A vector at a strength, and what it is there for.

    Attributes:
        name: As tables and figures call it.
        role: Judged, its reverse, a random control, or another.
        vector: The vector.
        strength: How many of its units.
    """

    name: str
    role: str
    vector: SteeringVector
    strength: float


def settings() -> dict[str, object]:
    """What the results depend on besides the session, as JSON values."""
    return {
        "strengths": STRENGTHS,
        "judged": JUDGED,
        "directions": DIRECTIONS,
        "samples": SAMPLES,
        "new_tokens": NEW_TOKENS,
        "words": WORDS,
        "prompts": prompts(),
    }


def collect(session: Session, tensors: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Samples and log-odds under each vector, and notes on what could not be done."""
    notes: list[str] = []
    vectors = _vectors(session, Readings(tensors[READINGS], session.plan), notes)
    samples: list[dict[str, Any]] = []
    odds: list[dict[str, Any]] = []
    if vectors:
        main = vectors[0]
        tried = [
            Tried(one.name, one.role, one.vector, strength)
            for one in vectors
            for strength in STRENGTHS
        ] + [
            Tried(
                f"random {seed}", RANDOM, main.vector.random_like(session.plan.seed + seed), JUDGED
            )
            for seed in range(DIRECTIONS)
        ]
        for language in session.plan.languages:
            if language not in prompts():
                notes.append(f"No prompts are known in {language!r}, so it is not steered.")
                continue
            samples += _samples(session, language, vectors)
            try:
                odds += _odds(session, language, tried)
            except InputError as error:
                notes.append(f"Nothing is measured in {language!r}: {error}")
    stored = {"samples": samples, "odds": odds, "notes": notes}
    return {name: text_tensor(json.dumps(value)) for name, value in stored.items()}


def _samples(session: Session, language: str, vectors: list[Tried]) -> list[dict[str, Any]]:
    from tl_ext.steering.generation import steer

    conditions: dict[str, Any] = {"unsteered": ()} | {
        f"{one.name}, strength {strength:g}": one.vector.at(strength)
        for one in vectors
        if one.role != REVERSED
        for strength in STRENGTHS[:2]
    }
    prompt, rows = prompts()[language][0], []
    for condition, edits in tqdm(
        conditions.items(), desc=f"samples {language}", disable=not session.progress
    ):
        written = steer(
            session.model,
            [prompt],
            edits,
            max_new_tokens=NEW_TOKENS,
            samples=SAMPLES,
            seed=session.plan.seed,
            batch_size=session.batch_size,
        )
        for index, text in enumerate(written.texts):
            log_probs = written.unsteered_log_probs
            nats = math.nan if log_probs is None else float(log_probs[index].nanmean())
            rows.append(
                {
                    "prompt": prompt,
                    "condition": condition,
                    "sample": int(written.sample[index]),
                    "continuation": text,
                    "unsteered_log_probability_per_token": nats,
                }
            )
    return rows


def _odds(session: Session, language: str, tried: list[Tried]) -> list[dict[str, Any]]:
    """Change of the log-odds of the first concept's words under each vector, by prompt."""
    from tl_ext.steering.words import log_odds

    positive, negative = _words(session, language)
    lists = (prompts()[language], positive, negative)
    size = session.batch_size * 2
    plain = log_odds(session.model, *lists, batch_size=size)
    rows = []
    for one in tqdm(
        tried, desc=f"log-odds {language}", unit="vector", disable=not session.progress
    ):
        steered = log_odds(session.model, *lists, one.vector.at(one.strength), batch_size=size)
        rows += [
            {
                "language": language,
                "vector": one.name,
                "role": one.role,
                "strength": one.strength,
                "unit": one.vector.unit_name,
                "length": one.vector.unit * one.strength,
                "words": f"{', '.join(positive)} over {', '.join(negative)}",
                "prompt": prompt,
                "change": float(change),
            }
            for prompt, change in zip(prompts()[language], steered - plain, strict=True)
        ]
    return rows


def _words(session: Session, language: str) -> tuple[list[str], list[str]]:
    """Words of the first concept, and of the second or else of the first's controls.

    Raises:
        InputError: The language lacks one of them, or nothing tells them apart.
    """
    said = {one.name: one for one in session.concepts if one.language == language}
    first, *others = session.plan.names
    if first not in said:
        raise InputError(f"it has no texts of {first!r}")
    positive = said[first].words
    negative = said[others[0]].words if others and others[0] in said else said[first].control_words
    apart = [word for word in negative if word not in positive]
    if not apart:
        raise InputError("there are no other words to compare with")
    space = "" if language in WITHOUT_SPACES else " "
    return [space + word for word in positive[:WORDS]], [space + word for word in apart[:WORDS]]


def _vectors(session: Session, readings: Readings, notes: list[str]) -> list[Tried]:
    """The vectors made in the first language: the judged one, its reverse, and others beside them."""
    from tl_ext.dictionaries.reading import BackgroundStatistics
    from tl_ext.steering.vectors import diff_of_means, latent_vector

    plan, dictionary = session.plan, session.dictionaries[session.plan.focus]
    kind = kind_of(dictionary.hook_out)
    if kind in NOT_EDITABLE:
        notes.append(
            f"Nothing is steered: {dictionary.hook_out} cannot be edited ({NOT_EDITABLE[kind]})."
        )
        return []
    background = BackgroundStatistics(
        firing_rate=readings.firing_rate(plan.focus),
        largest=readings.largest(plan.focus),
        mean=torch.full((dictionary.d_latent,), math.nan),
        usual_norm=readings.usual_norm(plan.focus),
        tokens=readings.tokens,
    )
    # Where inputs are normalised one by one, a latent's activation has no fixed length.
    scaled = dictionary.normalisation in ("constant_norm_rescale", "layer_norm")
    found: list[Tried] = []
    judged: Tried | None = None
    said = plan.in_language(plan.languages[0])[:2]
    for concept in said:
        latent = strongest_latent(readings, plan, concept)
        if latent is None:
            notes.append(
                f"No latent of {plan.focus} belongs to {concept.label} beyond its control words."
            )
            continue
        name = f"{concept.name} ({concept.language}, #{latent})"
        vector = latent_vector(
            dictionary,
            latent,
            background,
            unit="usual norm" if scaled else "largest",
            name=name,
        )
        found.append(Tried(name, OTHER, vector, 1.0))
        if concept is said[0]:
            judged = found[0]
    name, positive, negative = _means(session, said)
    if negative:
        means = diff_of_means(
            session.model, dictionary.hook_out, positive, negative, batch_size=session.batch_size
        )
        if found:
            means = means.in_unit(found[0].vector.unit, found[0].vector.unit_name)
        found.append(Tried(name, OTHER, means, 1.0))
        # Where the first concept has no latent of its own, the difference of means is judged.
        judged = judged or found[-1]
    if judged is None:
        notes.append("Nothing is steered: there is neither a latent nor a difference of means.")
        return []
    return [
        Tried(judged.name, JUDGED_ROLE, judged.vector, 1.0),
        Tried(f"{judged.name} reversed", REVERSED, judged.vector.reversed(), 1.0),
        *(one for one in found if one is not judged),
    ]


def _means(session: Session, said: tuple[ConceptLabel, ...]) -> tuple[str, Any, Any]:
    """What the difference of means is taken of: two concepts, or one and its controls."""

    def concept(label: ConceptLabel) -> Concept:
        return next(
            one
            for one in session.concepts
            if (one.name, one.language) == (label.name, label.language)
        )

    first = concept(said[0])
    if len(said) == 2:
        second = concept(said[1])
        name = f"means of {first.name} - {second.name} ({first.language})"
        return name, first.examples, second.examples
    return f"means of {first.label} - its controls", first.examples, first.controls


def strongest_latent(readings: Readings, plan: Plan, concept: ConceptLabel) -> int | None:
    """The latent of the focus dictionary that answers most to a concept beyond its control words.

    Returns:
        The latent with the largest difference among those that belong to the concept and fired on
        background text; None where there is none, or no control words to tell by.
    """
    if min(concept.examples, concept.controls) < 2:
        return None
    table = beyond_controls(
        readings.latents(plan.focus, concept, over_tokens="mean"),
        readings.latents(plan.focus, concept, "controls", over_tokens="mean"),
    )
    able = belongs(table).to_numpy() & (readings.largest(plan.focus).numpy() > 0)
    if not able.any():
        return None
    return int(table["difference"].where(able).argmax())


def notes(tensors: Mapping[str, Tensor]) -> list[str]:
    """What could not be done, and why."""
    return [str(note) for note in json.loads(tensor_text(tensors["notes"]))]


def tabulate(tensors: Mapping[str, Tensor]) -> dict[str, pd.DataFrame]:
    """`steering_samples`, a row per generation; `steering_odds`, a row per vector and strength."""
    samples = pd.DataFrame(json.loads(tensor_text(tensors["samples"])))
    odds = pd.DataFrame(json.loads(tensor_text(tensors["odds"])))
    tables = {} if samples.empty else {"steering_samples": samples}
    if not odds.empty:
        tables |= {"steering_odds": summarise(odds), "steering_odds_by_prompt": odds}
    return tables


def draw(tables: Mapping[str, pd.DataFrame], plan: Plan) -> dict[str, Figure]:
    """Samples side by side, the dose and its response, and the verdicts."""
    figures: dict[str, Figure] = {}
    if "steering_samples" in tables:
        figures["steering_samples"] = _samples_figure(tables["steering_samples"])
    if "steering_odds" not in tables:
        return figures
    table = tables["steering_odds"]
    said = dict(zip(table["language"].unique(), verdicts(table), strict=True))
    for language, rows in table.groupby("language", sort=False):
        figures[f"steering-odds-{language}"] = _odds_figure(str(language), rows, said[language])
    shown = table[table["role"] != RANDOM].drop(columns=["words", "unit", "role"])
    digits = dict.fromkeys(("length", "change", "low", "high"), ".2f")
    figures["steering_odds"] = Figure(
        TableMark(title="Every vector and strength", data=shown, first=len(shown), formats=digits),
        caption=(
            "`random_as_high`: random directions of the same length with at least this mean change; "
            "empty for a vector of another length."
        ),
    )
    return figures


def _samples_figure(samples: pd.DataFrame) -> Figure:
    nats = samples["unsteered_log_probability_per_token"]
    told = [f"{value:.2f} nats per token, unsteered model" for value in nats]
    return Figure(
        Samples.from_table(
            samples.assign(note=told), note="note", title=f"The first {SAMPLES} samples by seed"
        ),
        caption="Sampled at temperature 1 with the same noise under every condition; none left out.",
        may="What text looks like at these strengths.",
        may_not="That it works or does not: a handful of samples shows whatever one looks for.",
    )


def _odds_figure(language: str, rows: pd.DataFrame, verdict: str) -> Figure:
    drawn = rows.loc[rows["role"] == RANDOM, "change"]
    series = [
        Series(str(name), part["strength"], part["change"], part["low"], part["high"])
        for name, part in rows[rows["role"] != RANDOM].groupby("vector", sort=False)
    ]
    # A band of some width, for one of none cannot be seen.
    edges = [JUDGED - 0.1, JUDGED + 0.1]
    series.append(
        Series(
            f"{len(drawn)} random directions, whole range",
            edges,
            [drawn.mean()] * 2,
            [drawn.min()] * 2,
            [drawn.max()] * 2,
        )
    )
    return Figure(
        Lines(
            title=f"Change of log-odds, {language}",
            series=series,
            x=Axis(title="strength", unit=f"{rows['unit'].iloc[0]}"),
            y=Axis(title="change", unit="nats"),
        ),
        caption=(
            f"Words: {rows['words'].iloc[0]}. Mean over prompts with its 95 % interval; for random "
            "directions, as long as the first vector, the whole range of their means."
        ),
        may=verdict,
        may_not=(
            "That a direction steers where its reverse, or the other concept's latent, moves the words "
            "the same way: then any such push does. In the vector's own language it may name the very "
            "word it was found at. Intervals are over prompts, not over other latents, word lists or "
            "seeds, and random directions are a weaker control than other latents would be."
        ),
    )
