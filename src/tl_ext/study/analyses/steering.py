"""Steer each language with directions found in each, beside controls that tell a direction from a push.

What is judged is how much more probable the first concept's words become than the second's (or than
its own control words), teacher-forced, at a strength chosen on some prompts and reported on others.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd
from torch import Tensor

from tl_ext.activations.store import tensor_text, text_tensor
from tl_ext.analysis.dose import (
    RANDOM,
    Split,
    choose_strength,
    dose_response,
    split_prompts,
)
from tl_ext.analysis.steering import Judged, verdicts
from tl_ext.analysis.transfer import transfer
from tl_ext.errors import InputError
from tl_ext.report.page import Figure
from tl_ext.steering.scoring import harmonic_mean
from tl_ext.study.analyses.readings import NAME as READINGS
from tl_ext.study.analyses.readings import Readings
from tl_ext.study.collecting import steering_vectors
from tl_ext.study.collecting.steering_vectors import (
    LATENT,
    MEANS,
    Chosen,
    beginnings,
    choose_vectors,
    neutral,
    prompts,
    words_between,
)
from tl_ext.study.drawing import steering as figures
from tl_ext.study.plan import Plan

if TYPE_CHECKING:
    from tl_ext.study.session import Session

NAME = "steering"
STRENGTHS = (1.0, 2.0, 4.0, 8.0)
DIRECTIONS = 20  # random ones for each test: one alone can then be shown after adjusting for all
SAMPLES = 2
NEW_TOKENS = 12
CHOSEN_BY = "teacher_forced"
TEACHER_FORCED = ["concept_unit", "side_effect_unit"]  # what random vectors have too

_WRITTEN = ["text", "sample", "fluency", "diversity", "language_kept", "harmonic"]
_KEPT = ["vector", "role", "of", "strength", "unit", "length", "language", "prompt_index", "prompt"]


def split(plan: Plan) -> Split:
    """Which prompts strengths are chosen on, and which are reported on: by the study's seed alone."""
    most = max(len(listed) for listed in prompts().values())
    return split_prompts(range(most), seed=plan.seed)


def settings() -> dict[str, object]:
    """What results depend on besides the session."""
    return {
        "strengths": STRENGTHS,
        "directions": DIRECTIONS,
        "samples": SAMPLES,
        "new_tokens": NEW_TOKENS,
        "words": steering_vectors.WORDS,
        "candidates": steering_vectors.CANDIDATES,
        "prompts": prompts(),
        "neutral": neutral(),
        "beginnings": beginnings(),
    }


def collect(session: Session, needs: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """A sweep in each language, and notes on what could not be done."""
    notes: list[str] = []
    chosen = choose_vectors(session, Readings(needs[READINGS], session.plan), notes)
    rows, sides, words = [], [], {}
    for language in session.plan.languages if chosen.judged else ():
        if language not in prompts():
            notes.append(f"No prompts are known in {language!r}, so it is not steered.")
            continue
        try:
            positive, negative = words_between(session, language)
            found = _sweep(session, chosen, language, positive, negative)
        except InputError as error:
            notes.append(f"Nothing is measured in {language!r}: {error}")
            continue
        rows.append(found[0])
        sides.append(found[1])
        words[language] = f"{_listed(positive)} over {_listed(negative)}"
    stored = {
        "rows": _columns(rows),
        "side_effects": _columns(sides),
        "vectors": _vectors(chosen, session.plan),
        "candidates": _columns([chosen.candidates]),
        "words": words,
        "notes": notes,
    }
    return {name: text_tensor(json.dumps(value)) for name, value in stored.items()}


def _sweep(
    session: Session, chosen: Chosen, language: str, positive: list[str], negative: list[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    from tl_ext.steering.scores import LANGUAGES
    from tl_ext.steering.sweep import steering_sweep

    known = [one for one in session.plan.languages if one in prompts()]
    found = steering_sweep(
        session.model,
        [one.vector for one in chosen.judged],
        STRENGTHS,
        prompts()[language],
        words=positive,
        against=negative,
        neutral_texts=neutral()[language],
        language=language,
        among=tuple(dict.fromkeys((*known, *LANGUAGES))),
        samples=SAMPLES,
        max_new_tokens=NEW_TOKENS,
        random=DIRECTIONS * len(chosen.judged) * len(known),
        random_written=1,
        baselines=[one.vector for one in chosen.beside],
        seed=session.plan.seed,
        batch_size=8 * session.batch_size,
        progress=session.bar(f"steering {language}"),
    )
    kept = [*_KEPT, *_WRITTEN, "concept", "side_effect", "odds", *TEACHER_FORCED]
    return found.rows[kept], found.side_effects.assign(language=language)


def _listed(words: list[str]) -> str:
    return ", ".join(word.strip() for word in words)


def _vectors(chosen: Chosen, plan: Plan) -> list[dict[str, Any]]:
    """What the tables are told of each vector."""
    opposite = plan.names[1] if len(plan.names) > 1 else None
    return [
        {
            "vector": one.name,
            "concept": one.concept,
            "made_in": one.language,
            "kind": one.kind,
            "judged": one in chosen.judged,
            "baseline": chosen.companion(one, MEANS) if one in chosen.judged else None,
            "opposite": chosen.companion(one, LATENT, opposite)
            if one in chosen.judged and opposite
            else None,
        }
        for one in (*chosen.judged, *chosen.beside)
    ]


def _columns(parts: list[pd.DataFrame]) -> dict[str, list[Any]]:
    """Tables, one below the other, as JSON values."""
    if not sum(map(len, parts)):
        return {}
    table = pd.concat(parts, ignore_index=True).astype(object)
    table = table.where(table.notna(), None)
    return {str(name): table[name].tolist() for name in table}


def _read(tensors: Mapping[str, Tensor], name: str) -> Any:
    return json.loads(tensor_text(tensors[name]))


def _table(tensors: Mapping[str, Tensor], name: str) -> pd.DataFrame:
    table = pd.DataFrame(_read(tensors, name))
    numbers = [
        name for name in ("fluency", "diversity", "language_kept", "harmonic") if name in table
    ]
    return table.astype(dict.fromkeys(numbers, float))


def tabulate(tensors: Mapping[str, Mapping[str, Tensor]], plan: Plan) -> dict[str, pd.DataFrame]:
    """The tables.

    `steering_verdicts`, a row per judged vector and language; `steering_transfer`, a row per vector in
    another language than its own; `steering_candidates`, a row per latent that was looked at before;
    `steering_dose`, a row per vector, strength, language and measure;
    `steering_random`, the same of random vectors; `steering_texts`, a row per generated text;
    `steering_vectors`, what was tried; `steering_notes`, what could not be done.
    """
    mine = tensors[NAME]
    notes = pd.DataFrame({"note": _read(mine, "notes")}, dtype=object)
    tables = {"steering_notes": notes} if len(notes) else {}
    rows = _table(mine, "rows")
    candidates = _table(mine, "candidates")
    if len(candidates):
        tables["steering_candidates"] = candidates
    if rows.empty:
        return tables
    rows[CHOSEN_BY] = harmonic_mean(rows[TEACHER_FORCED])
    vectors = pd.DataFrame(_read(mine, "vectors"))
    words, halves = _read(mine, "words"), split(plan)
    judged = [
        Judged(one["vector"], one["baseline"], one["opposite"])
        for one in vectors.to_dict("records")
        if one["judged"]
    ]
    dose = dose_response(rows, _table(mine, "side_effects"))
    # All have one unit: a vector beside the second judged one is the vector beside the first.
    dose = dose[
        dose["role"].eq("reversed") | dose["of"].eq(judged[0].vector) | dose["role"].eq("tried")
    ]
    choice = choose_strength(rows, halves.choosing, by=CHOSEN_BY)
    drawn = dose["role"] == RANDOM
    return {
        "steering_verdicts": verdicts(rows, halves, judged, by=CHOSEN_BY, words=words),
        "steering_transfer": transfer(rows, halves, _sets(vectors), by=CHOSEN_BY),
        "steering_dose": dose[~drawn].reset_index(drop=True),
        "steering_random": dose[drawn].reset_index(drop=True),
        "steering_strengths": choice[~choice["vector"].str.startswith("random direction")],
        "steering_texts": rows[rows["sample"].notna()].reset_index(drop=True),
        "steering_vectors": vectors,
        **tables,
    }


def _sets(vectors: pd.DataFrame) -> list[dict[str, str]]:
    """The first concept's vectors by the language they were made in: the judged, and the means."""
    first = vectors["concept"] == vectors["concept"].iloc[0]
    means = ~vectors["judged"] & (vectors["kind"] == MEANS)
    parts = (vectors[vectors["judged"] & first], vectors[means & first])
    return [dict(zip(part["vector"], part["made_in"], strict=True)) for part in parts]


def draw(tables: Mapping[str, pd.DataFrame], plan: Plan) -> dict[str, Figure]:
    """Verdicts, dose and response, side effects, transfer, and the first texts by seed."""
    return figures.draw(tables, split(plan))
