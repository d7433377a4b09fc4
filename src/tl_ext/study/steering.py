"""Steer each language with features found in the first, beside the controls that tell a direction from
a push: the same vector reversed, random directions of equal length, and the difference of means.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from scipy.stats import t
from torch import Tensor
from tqdm.auto import tqdm

from tl_ext.activations.store import tensor_text, text_tensor
from tl_ext.analysis.features import belongs, beyond_controls
from tl_ext.report.marks import Axis, Lines, Samples, Series, TableMark
from tl_ext.report.page import Figure
from tl_ext.study.analyses.readings import NAME as READINGS
from tl_ext.study.analyses.readings import Readings
from tl_ext.study.plan import ConceptLabel, Plan

if TYPE_CHECKING:
    from tl_ext.steering.vectors import SteeringVector
    from tl_ext.study.session import Session

STRENGTHS = (1.0, 2.0, 4.0)
JUDGED = 2.0  # fixed beforehand: the strength the verdict is about
RANDOM = 20  # so that "above all of them" has p = 1/21 < 0.05
SAMPLES = 3
NEW_TOKENS = 16
LEAD = (
    "A latent's direction is added at every token but the first positions. Strength 1 is the latent's "
    "largest activation on background text; controls are as long."
)


@dataclass(frozen=True)
class Language:
    """What steering is tried on in one language: prompts that end before an adjective, and words."""

    sample: str
    prompts: tuple[str, ...]
    positive: tuple[str, ...]
    negative: tuple[str, ...]


LANGUAGES = {
    "en": Language(
        sample="Today is Tuesday and I am",
        prompts=(
            "Today is Tuesday and I am",
            "I think that I am",
            "This morning I am",
            "He says that he is",
            "At work I am",
            "They told me that he was",
            "I know that you are",
            "We know that he is",
            "Yesterday I was",
            "My brother is",
        ),
        positive=(" happy", " glad", " lucky"),
        negative=(" sad", " unhappy", " alone"),
    ),
    "fr": Language(
        sample="C'est mardi et je suis",
        prompts=(
            "C'est mardi et je suis",
            "Je pense que je suis",
            "Ce matin je suis",
            "Il dit qu'il est",
            "Au travail je suis",
            "On m'a dit qu'il était",
            "Je sais que tu es",
            "Nous savons qu'il est",
            "Hier j'étais",
            "Mon frère est",
        ),
        positive=(" heureux", " content", " ravi"),
        negative=(" triste", " malheureux", " seul"),
    ),
    "zh": Language(
        sample="今天是星期二，我很",
        prompts=(
            "今天是星期二，我很",
            "我觉得我很",
            "今天早上我很",
            "他说他很",
            "工作的时候我很",
            "我哥哥很",
        ),
        positive=("高兴", "快乐", "开心"),
        negative=("难过", "伤心", "孤独"),
    ),
}


def collect(session: Session, tensors: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Samples and log-odds under each vector; nothing where there is no such pair of concepts."""
    from tl_ext.steering.generation import steer
    from tl_ext.steering.words import log_odds

    plan, model = session.plan, session.model
    vectors = _vectors(session, Readings(tensors[READINGS], plan))
    languages = {name: LANGUAGES[name] for name in plan.languages if name in LANGUAGES}
    if not vectors or not languages:
        return {"samples": text_tensor("[]"), "odds": text_tensor("[]")}
    main = next(iter(vectors.values()))
    samples: list[dict[str, Any]] = []
    conditions = {"unsteered": ()} | {
        f"{name}, strength {strength:g}": (vector.at(strength),)
        for name, vector in vectors.items()
        if "reversed" not in name
        for strength in STRENGTHS[:2]
    }
    prompts = [language.sample for language in languages.values()]
    for condition, edits in tqdm(
        conditions.items(), desc="steering", unit="condition", disable=not session.progress
    ):
        written = steer(
            model,
            prompts,
            edits,
            max_new_tokens=NEW_TOKENS,
            samples=SAMPLES,
            seed=plan.seed,
            batch_size=session.batch_size,
        )
        for index, text in enumerate(written.texts):
            log_probs = written.unsteered_log_probs
            nats = math.nan if log_probs is None else float(log_probs[index].nanmean())
            samples.append(
                {
                    "prompt": prompts[int(written.prompt[index])],
                    "condition": condition,
                    "sample": int(written.sample[index]),
                    "continuation": text,
                    "unsteered_log_probability_per_token": nats,
                }
            )
    tried = [
        (name, strength, vector) for name, vector in vectors.items() for strength in STRENGTHS
    ] + [(f"random {seed}", JUDGED, main.random_like(plan.seed + seed)) for seed in range(RANDOM)]
    odds: list[dict[str, Any]] = []
    for name, language in languages.items():
        lists = (language.prompts, language.positive, language.negative)
        plain = log_odds(model, *lists, batch_size=session.batch_size * 2)
        for vector_name, strength, vector in tqdm(
            tried, desc=f"log-odds {name}", unit="vector", disable=not session.progress
        ):
            steered = log_odds(
                model, *lists, vector.at(strength), batch_size=session.batch_size * 2
            )
            odds += [
                {
                    "language": name,
                    "vector": vector_name,
                    "strength": strength,
                    "prompt": prompt,
                    "change": float(change),
                }
                for prompt, change in zip(language.prompts, steered - plain, strict=True)
            ]
    return {"samples": text_tensor(json.dumps(samples)), "odds": text_tensor(json.dumps(odds))}


def _vectors(session: Session, readings: Readings) -> dict[str, SteeringVector]:
    """The vectors made in the first language, the first being the one that is judged."""
    from tl_ext.dictionaries.reading import BackgroundStatistics
    from tl_ext.steering.vectors import diff_of_means, latent_vector

    plan = session.plan
    dictionary = session.dictionaries[plan.focus]
    background = BackgroundStatistics(
        firing_rate=readings.firing_rate(plan.focus),
        largest=readings.largest(plan.focus),
        mean=torch.full((dictionary.d_latent,), math.nan),
        usual_norm=readings.usual_norm(plan.focus),
        tokens=readings.tokens,
    )
    said = plan.in_language(plan.languages[0])[:2]
    scaled = dictionary.normalisation in ("constant_norm_rescale", "layer_norm")
    unit = "usual norm" if scaled else "largest"
    vectors: dict[str, SteeringVector] = {}
    for concept in said:
        latent = strongest_latent(readings, plan, concept)
        if latent is None:
            continue
        name = f"{concept.name} ({concept.language}, #{latent})"
        vectors[name] = latent_vector(dictionary, latent, background, unit=unit, name=name)  # type: ignore[arg-type]
    if len(said) == 2:
        one, other = (
            next(c for c in session.concepts if (c.name, c.language) == (each.name, each.language))
            for each in said
        )
        difference = diff_of_means(
            session.model, dictionary.hook_out, one, other, batch_size=session.batch_size
        )
        like = next(iter(vectors.values()), difference)
        vectors[f"means of {one.name} - {other.name} ({one.language})"] = difference.in_unit(
            like.unit, like.unit_name
        )
    if not vectors:
        return {}
    # Where no latent belongs to the concept, the difference of means is what is judged.
    name, main = next(iter(vectors.items()))
    return {name: main, f"{name} reversed": main.reversed()} | vectors


def strongest_latent(readings: Readings, plan: Plan, concept: ConceptLabel) -> int | None:
    """The latent of the focus dictionary that answers most to a concept beyond its control words.

    Returns:
        The latent with the largest difference among those that belong to the concept and fired on
        background text; None where there is none, or no control words to tell by.
    """
    if min(concept.examples, concept.controls) < 2:
        return None
    table = beyond_controls(
        readings.latents(plan.focus, concept), readings.latents(plan.focus, concept, "controls")
    )
    able = belongs(table).to_numpy() & (readings.largest(plan.focus).numpy() > 0)
    if not able.any():
        return None
    return int(table["difference"].where(able).argmax())


def tabulate(tensors: Mapping[str, Tensor]) -> dict[str, pd.DataFrame]:
    """`steering_samples`, a row per generation; `steering_odds`, a row per vector and strength."""
    samples = pd.DataFrame(json.loads(tensor_text(tensors["samples"])))
    odds = pd.DataFrame(json.loads(tensor_text(tensors["odds"])))
    if odds.empty:
        return {}
    return {
        "steering_samples": samples,
        "steering_odds": summarise(odds),
        "steering_odds_by_prompt": odds,
    }


def summarise(odds: pd.DataFrame) -> pd.DataFrame:
    """Changes of log-odds over prompts, and how many random directions change them as much.

    Args:
        odds: `language`, `vector`, `strength`, `prompt`, `change`, a row per prompt.

    Returns:
        A row per language, vector and strength: `change` (mean over prompts, in nats), `low`, `high`
        (95 % interval over prompts, Student's t), `prompts`; at the judged strength `random_as_high`, how
        many of the random directions have at least this mean change.
    """
    grouped = odds.groupby(["language", "vector", "strength"], sort=False)["change"]
    table = grouped.agg(change="mean", error="sem", prompts="size").reset_index()
    half = t.ppf(0.975, table["prompts"] - 1) * table["error"]
    table["low"], table["high"] = table["change"] - half, table["change"] + half
    random = table[table["vector"].str.startswith("random ")]
    table["random_as_high"] = [
        int((random.loc[random["language"] == language, "change"] >= change).sum())
        if strength == JUDGED and not vector.startswith("random ")
        else None
        for language, vector, strength, change in table[
            ["language", "vector", "strength", "change"]
        ].to_numpy()
    ]
    table["random_as_high"] = table["random_as_high"].astype("Int64")
    return table.drop(columns="error")


def verdicts(table: pd.DataFrame) -> list[str]:
    """What the numbers allow to be said of the judged vector, a sentence for each language."""
    judged = next(iter(table["vector"]))
    said = []
    for language, rows in table[table["strength"] == JUDGED].groupby("language", sort=False):
        of = rows.set_index("vector").to_dict("index")
        main, back = of[judged], of[f"{judged} reversed"]
        count = int(rows["vector"].str.startswith("random ").sum())
        numbers = (
            f"{main['change']:+.2f} nats (95 % over {int(main['prompts'])} prompts: {main['low']:+.2f} "
            f"to {main['high']:+.2f}); {int(main['random_as_high'])} of {count} random directions of "
            f"equal length did as much; reversed: {back['change']:+.2f}"
        )
        works = main["low"] > 0 and main["random_as_high"] == 0 and back["change"] <= 0
        said.append(
            f"In {language!r}, {judged} at strength {JUDGED:g} "
            + ("raises" if works else "is not shown to raise")
            + f" positive over negative words: {numbers}."
        )
    return said


def draw(tables: Mapping[str, pd.DataFrame], plan: Plan) -> dict[str, Figure]:
    """Samples side by side, the dose and its response, and the verdicts."""
    if "steering_odds" not in tables:
        return {}
    table = tables["steering_odds"]
    figures = {
        "steering-samples": Figure(
            Samples.from_table(
                tables["steering_samples"].assign(
                    note=[
                        f"{value:.2f} nats per token, unsteered model"
                        for value in tables["steering_samples"][
                            "unsteered_log_probability_per_token"
                        ]
                    ]
                ),
                note="note",
                title=f"The first {SAMPLES} samples by seed",
            ),
            caption="Sampled at temperature 1 with the same noise under every condition; none left out.",
            may="What text looks like at these strengths.",
            may_not="That it works or does not: a handful of samples shows whatever one looks for.",
        )
    }
    shown = table[~table["vector"].str.startswith("random ")]
    random = table[table["vector"].str.startswith("random ")]
    for language, rows in shown.groupby("language", sort=False):
        drawn = random.loc[random["language"] == language, "change"]
        series = [
            Series(str(name), part["strength"], part["change"], part["low"], part["high"])
            for name, part in rows.groupby("vector", sort=False)
        ]
        series.append(
            Series(
                f"{len(drawn)} random directions (all)",
                [JUDGED],
                [drawn.mean()],
                [drawn.min()],
                [drawn.max()],
            )
        )
        figures[f"steering-odds-{language}"] = Figure(
            Lines(
                title=f"Change of the log-odds of positive over negative words, {language}",
                series=series,
                x=Axis(title="strength", unit="the latent's largest activations"),
                y=Axis(title="change", unit="nats"),
            ),
            caption="Mean over prompts with its 95 % interval; for random directions the whole range.",
            may=[one for one in verdicts(table) if one.startswith(f"In {language!r}")],
            may_not=(
                "That a direction steers where its reverse moves the words the same way: then any push "
                "does. In the vector's own language it may name the very word it was found at. Intervals "
                "are over prompts and not over other latents, word lists or seeds."
            ),
        )
    figures["steering_odds"] = Figure(
        TableMark(title="Every vector and strength", data=shown, first=len(shown)),
        caption="`random_as_high`: random directions of equal length with at least this mean change.",
    )
    return figures
