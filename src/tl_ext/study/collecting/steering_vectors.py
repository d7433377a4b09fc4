"""What the study steers with: directions of concepts in each language, and the words they are to move."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
import yaml

from tl_ext.analysis.features import belongs, beyond_controls
from tl_ext.errors import InputError
from tl_ext.models.hook_points import why_not_editable
from tl_ext.steering.words import as_continuations
from tl_ext.study.analyses.readings import Readings
from tl_ext.study.plan import ConceptLabel, Plan

if TYPE_CHECKING:
    from tl_ext.concepts.concept import Concept
    from tl_ext.steering.vectors import SteeringVector
    from tl_ext.study.session import Session

WORDS = 6  # of each side at most
CANDIDATES = 5  # latents of a concept whose output scores are looked at
LATENT, MEANS = "latent", "difference of means"


@cache
def _texts() -> dict[str, dict[str, list[str]]]:
    text = (files(__package__) / "prompts.yaml").read_text(encoding="utf-8")
    loaded: dict[str, dict[str, list[str]]] = yaml.safe_load(text)
    return loaded


def prompts() -> dict[str, tuple[str, ...]]:
    """What steering is tried on, by language; see `prompts.yaml`."""
    return {language: tuple(one["prompts"]) for language, one in _texts().items()}


def neutral() -> dict[str, tuple[str, ...]]:
    """Texts for side effects, by language; see `prompts.yaml`."""
    return {language: tuple(one["neutral"]) for language, one in _texts().items()}


def beginnings() -> dict[str, tuple[str, ...]]:
    """Neutral beginnings for output scores, by language; see `prompts.yaml`."""
    return {language: tuple(one["beginnings"]) for language, one in _texts().items()}


@dataclass(frozen=True, eq=False)
class Made:
    """A vector, and what it was made from.

    Attributes:
        vector: The vector.
        concept: The concept it is of.
        language: The language it was made in.
        kind: A latent's decoder direction, or a difference of means.
    """

    vector: SteeringVector
    concept: str
    language: str
    kind: str

    @property
    def name(self) -> str:
        """As tables and figures call it."""
        return self.vector.name


@dataclass(frozen=True, eq=False)
class Chosen:
    """The vectors of a study, all in the unit of the first.

    Attributes:
        judged: Those of the first concept, one for each language that has one.
        beside: Those they are compared with.
        candidates: A row per latent that belonged to a concept and was looked at, see `candidates`.
    """

    judged: tuple[Made, ...] = ()
    beside: tuple[Made, ...] = ()
    candidates: pd.DataFrame = field(default_factory=pd.DataFrame)

    def companion(self, one: Made, kind: str, concept: str | None = None) -> str | None:
        """The vector beside a judged one that was made in its language."""
        for other in self.beside:
            if (other.language, other.kind) == (one.language, kind) and other.concept == (
                concept or one.concept
            ):
                return other.name
        return None


def choose_vectors(session: Session, readings: Readings, notes: list[str]) -> Chosen:
    """The vectors of the first two concepts in each language.

    The first concept's latent (see `candidates`) is judged, or, where none belongs to it, the
    difference of means. Beside it stand the difference of means and the second concept's latent. All
    have the unit of the first, so that the same strength is the same length.

    Args:
        session: What is read.
        readings: What the latents did.
        notes: What could not be done is added here.
    """
    at = session.dictionaries[session.plan.focus].hook_out
    if reason := why_not_editable(at):
        notes.append(f"Nothing is steered: {at} cannot be edited ({reason}).")
        return Chosen()
    judged, beside, seen = [], [], []
    for language in session.plan.languages:
        looked_at = [
            candidates(session, readings, concept) for concept in _said(session.plan, language)
        ]
        seen += looked_at
        latents = _latents(session, readings, language, looked_at, notes)
        means = _means(session, language)
        first = [one for one in latents if one.concept == session.plan.names[0]]
        judged += (first or means)[:1]
        beside += [one for one in (*means, *latents) if one not in (first or means)[:1]]
    if not judged:
        notes.append("Nothing is steered: there is neither a latent nor a difference of means.")
        return Chosen()
    unit = judged[0].vector.unit, f"{judged[0].vector.unit_name}, {judged[0].name}"
    return Chosen(
        tuple(_in_unit(judged, *unit)),
        tuple(_in_unit(beside, *unit)),
        pd.concat(seen, ignore_index=True),
    )


def _in_unit(made: Iterable[Made], unit: float, name: str) -> list[Made]:
    return [replace(one, vector=one.vector.in_unit(unit, name)) for one in made]


def _latents(
    session: Session,
    readings: Readings,
    language: str,
    looked_at: Sequence[pd.DataFrame],
    notes: list[str],
) -> list[Made]:
    """The chosen latents of the first two concepts, as vectors."""
    from tl_ext.dictionaries.reading import BackgroundStatistics
    from tl_ext.steering.vectors import latent_vector

    plan, dictionary = session.plan, session.dictionaries[session.plan.focus]
    background = BackgroundStatistics(
        firing_rate=readings.firing_rate(plan.focus),
        largest=readings.largest(plan.focus),
        mean=torch.full((dictionary.d_latent,), math.nan),
        usual_norm=readings.usual_norm(plan.focus),
        tokens=readings.tokens,
    )
    # Where inputs are normalised one by one, a latent's activation has no fixed length.
    scaled = dictionary.normalisation in ("constant_norm_rescale", "layer_norm")
    found = []
    for concept, table in zip(_said(plan, language), looked_at, strict=True):
        if table.empty:
            notes.append(
                f"No latent of {plan.focus} belongs to {concept.label} beyond its control words."
            )
            continue
        latent = int(table.loc[table["chosen"], "latent"].iloc[0])
        vector = latent_vector(
            dictionary,
            latent,
            background,
            unit="usual norm" if scaled else "largest",
            name=f"{concept.name} ({language}, #{latent})",
        )
        found.append(Made(vector, concept.name, language, LATENT))
    return found


def _means(session: Session, language: str) -> list[Made]:
    """The difference of means of two concepts, or of one and its controls; empty where neither is."""
    from tl_ext.steering.vectors import diff_of_means

    said = [_concept(session, label) for label in _said(session.plan, language)]
    if not said or said[0].name != session.plan.names[0]:
        return []
    first = said[0]
    negative: Any = said[1].examples if len(said) == 2 else first.controls
    if not negative:
        return []
    against = said[1].name if len(said) == 2 else "its controls"
    vector = diff_of_means(
        session.model,
        session.dictionaries[session.plan.focus].hook_out,
        first.examples,
        negative,
        batch_size=session.batch_size,
        name=f"means of {first.name} - {against} ({language})",
    )
    return [Made(vector, first.name, language, MEANS)]


def _said(plan: Plan, language: str) -> list[ConceptLabel]:
    """The study's first two concepts, as far as the language says them."""
    return [one for one in plan.in_language(language) if one.name in plan.names[:2]]


def _concept(session: Session, label: ConceptLabel) -> Concept:
    return next(
        one for one in session.concepts if (one.name, one.language) == (label.name, label.language)
    )


def belonging(readings: Readings, plan: Plan, concept: ConceptLabel) -> pd.DataFrame:
    """Latents of the focus dictionary that belong to a concept and fired on background text.

    Returns:
        A row per latent, the one that answers most beyond the control words first: `latent`,
        `difference`. Empty where there are none, or no control words to tell by.
    """
    if min(concept.examples, concept.controls) < 2:
        return pd.DataFrame(columns=["latent", "difference"])
    table = beyond_controls(
        readings.latents(plan.focus, concept, over_tokens="mean"),
        readings.latents(plan.focus, concept, "controls", over_tokens="mean"),
    )
    able = table[belongs(table).to_numpy() & (readings.largest(plan.focus).numpy() > 0)]
    ordered = able.sort_values("difference", ascending=False, kind="stable")
    return ordered[["latent", "difference"]].reset_index(drop=True)


def candidates(session: Session, readings: Readings, concept: ConceptLabel) -> pd.DataFrame:
    """The strongest latents of a concept, how far each can move the output, and which is chosen.

    Chosen before anything is steered: the strongest that makes the model say what its direction points
    at more than the model does by itself (output score above the unsteered score); the strongest
    where none does.

    Returns:
        A row per latent: `concept`, `language`, `latent`, `difference` (beyond the control words),
        `output_score`, `unsteered_score`, `kl`, `top_tokens`, `chosen`.
    """
    from tl_ext.steering.output_scores import PROMPTS, output_scores

    table = belonging(readings, session.plan, concept).head(CANDIDATES)
    if table.empty:
        return table
    scores = output_scores(
        session.model,
        session.dictionaries[session.plan.focus],
        table["latent"].tolist(),
        prompts=beginnings().get(concept.language, PROMPTS),
        batch_size=session.batch_size,
    )
    scores["top_tokens"] = [" ".join(map(repr, tokens)) for tokens in scores["top_tokens"]]
    table = table.merge(scores.drop(columns="length"), on="latent")
    moves = (table["output_score"] > table["unsteered_score"]).to_numpy()
    table["chosen"] = np.arange(len(table)) == (int(moves.argmax()) if moves.any() else 0)
    table.insert(0, "concept", concept.name)
    table.insert(1, "language", concept.language)
    return table


def words_between(session: Session, language: str) -> tuple[list[str], list[str]]:
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
    return (
        as_continuations(positive[:WORDS], language),
        as_continuations(apart[:WORDS], language),
    )
