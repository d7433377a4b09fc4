"""Steering measured: vectors over strengths, with the controls that judge them beside.

A push may raise a concept's words for reasons that are none of the direction's, and may cost more than
it brings. So every vector stands beside its reverse, random directions and baselines of the same
length, and every text is scored for the concept, fluency, diversity, language and side effects at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from tl_ext.errors import InputError
from tl_ext.interventions.edits import Add
from tl_ext.plugins import ScorerSpec
from tl_ext.steering.decoding import Positions
from tl_ext.steering.divergence import divergence_each
from tl_ext.steering.generation import steer_each
from tl_ext.steering.generations import Generations
from tl_ext.steering.scores import LANGUAGES
from tl_ext.steering.scoring import harmonic_mean, scored, scorers_named
from tl_ext.steering.sweeps import CONDITION, Sweep, score_columns
from tl_ext.steering.trials import UNSTEERED, Trial, trials
from tl_ext.steering.vectors import SteeringVector
from tl_ext.steering.words import check_apart, odds_between, word_log_probabilities_each

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

SCORERS = ("concept", "fluency", "diversity", "language_kept", "side_effect")
"""What every sweep scores; the last only where there are neutral texts."""
_OF_THE_EDIT = ("concept", "side_effect")  # known without a generated text


def steering_sweep(
    model: TransformerBridge,
    vectors: Sequence[SteeringVector],
    strengths: Sequence[float],
    prompts: Sequence[str],
    *,
    words: Sequence[str],
    against: Sequence[str] = (),
    neutral_texts: Sequence[str],
    language: str | None = None,
    among: Sequence[str] = LANGUAGES,
    samples: int = 2,
    max_new_tokens: int = 24,
    random: int = 3,
    random_written: int = 1,
    baselines: Sequence[SteeringVector] = (),
    scorers: Sequence[str] = (),
    seed: int = 0,
    positions: Positions = "all",
    batch_size: int = 256,
    progress: str | None = None,
) -> Sweep:
    """Try vectors at strengths, each beside its reverse, random directions and baselines of its length.

    A prompt's sample has the same noise under every vector and strength, so differences are paired;
    results do not depend on the batch size.

    Args:
        model: A hooked model.
        vectors: What is tried, each of a name of its own.
        strengths: In units of each vector. The unsteered model is always there, once.
        prompts: Texts to continue.
        words: Words that say the concept, each with its leading space: `" happy"`. Their
            log-probability after each prompt is taken over all tokens of each word.
        against: Words of the opposite, for log-odds; none of them among `words`.
        neutral_texts: Texts that have nothing to do with the concept and that no vector was made from,
            for the side effects; `()` leaves these out of the harmonic mean too.
        language: The prompts' language, which continuations are to keep: an ISO 639-1 code in `among`.
            None: each prompt's own, as it is identified.
        among: The languages in play, two or more.
        samples: Continuations of each prompt.
        max_new_tokens: How many tokens to write at most.
        random: Random directions beside each vector, all of them measured on words and neutral texts.
        random_written: Of how many of these, at most, texts are generated and scored too.
        baselines: Vectors to compare with, such as a difference of means; each is brought to the unit
            of every vector tried.
        scorers: Further registered scorers by name; they are offered `words` (without spaces around),
            `expected`, `among`, `word_log_probs` and `divergence`.
        seed: Of the noise and of the random directions.
        positions: Which tokens are edited, as for `steer`.
        batch_size: Rows in a forward pass.
        progress: The label of progress bars; None: no bars.

    Returns:
        The tables.

    Raises:
        InputError: Nothing to try, lists that are empty or share words, options out of range, or an
            unknown scorer or language.
        HookPointError: A hook point the model lacks or that cannot be edited.

    Source: Wu et al. 2025, AxBench (arXiv 2501.17148), for the harmonic mean of scores of concept and
    fluency.
    """
    tried = trials(
        vectors,
        strengths,
        random=random,
        random_written=random_written,
        baselines=baselines,
        seed=seed,
    )
    for option, given in (("words", words), ("against", against), ("neutral_texts", neutral_texts)):
        if isinstance(given, str):
            raise InputError(f"{option} is one string; a list is expected: {option}=[{given!r}].")
    words, against, neutral = list(words), list(against), list(neutral_texts)
    if not words:
        raise InputError("There are no words that say the concept: an empty list was given.")
    check_apart(words, against)
    names = [name for name in SCORERS if neutral or name != "side_effect"]
    specs = scorers_named([*names, *scorers])
    conditions = _Conditions(tried)
    measured = _measured(
        model,
        prompts,
        conditions,
        (words, against, neutral),
        {"samples": samples, "max_new_tokens": max_new_tokens, "seed": seed},
        {"positions": positions, "batch_size": batch_size},
        progress,
    )
    offered = {
        "words": [word.strip() for word in words],
        "expected": language,
        "among": tuple(among),
    }
    tables = _tables(conditions, measured, specs, offered)
    rows = _rows([None, *tried], [tables[number] for number in (0, *conditions.of_trial)], language)
    rows = rows[[*CONDITION, *_TEXT, *score_columns([one.name for one in specs]), "odds"]]
    mapped = rows[[f"{spec.name}_unit" for spec in specs]]
    rows["harmonic"] = harmonic_mean(mapped).where(rows["sample"].notna())
    return Sweep(
        rows,
        _side_effects(tried, measured.divergence[conditions.of_trial]),
        {
            "vectors": [vector.name for vector in vectors],
            "strengths": sorted({trial.strength for trial in tried}),
            "prompts": len(prompts),
            "words": words,
            "against": against,
            "language": language,
            "among": list(among),
            "samples": samples,
            "max_new_tokens": max_new_tokens,
            "random": random,
            "random_written": random_written,
            "baselines": [vector.name for vector in baselines],
            "scorers": [spec.name for spec in specs],
            "neutral_texts": len(neutral),
            "seed": seed,
            "positions": positions,
        },
    )


_TEXT = ["prompt_index", "prompt", "sample", "text"]


class _Conditions:
    """What really differs among trials: a vector of one length at one hook point is read once.

    Attributes:
        edits: The unsteered model, then each edit.
        of_trial: For each trial the place of its edit.
        written: Places under which texts are generated.
    """

    def __init__(self, tried: Sequence[Trial]) -> None:
        self.edits: list[Add | tuple[()]] = [()]
        self.of_trial: list[int] = []
        places: dict[tuple[str, bytes], int] = {}
        written = {0}
        for trial in tried:
            edit = trial.vector.at(trial.strength)
            key = edit.hook_point, edit.vector.cpu().double().numpy().tobytes()
            place = places.setdefault(key, len(self.edits))
            if place == len(self.edits):
                self.edits.append(edit)
            self.of_trial.append(place)
            if trial.written:
                written.add(place)
        self.written = sorted(written)


@dataclass(frozen=True, eq=False)
class _Measured:
    """What the model was asked, condition by condition; the first is the model as it is."""

    log_probs: Float[Tensor, "condition prompt word"]
    odds: Float[Tensor, "condition prompt"] | None
    divergence: Float[Tensor, "condition text"]
    texts: dict[int, Generations]


def _measured(
    model: TransformerBridge,
    prompts: Sequence[str],
    conditions: _Conditions,
    given: tuple[list[str], list[str], list[str]],
    writing: dict[str, Any],
    options: dict[str, Any],
    progress: str | None,
) -> _Measured:
    words, against, neutral = given

    def label(part: str) -> str | None:
        return None if progress is None else f"{progress}, {part}"

    log_probs = word_log_probabilities_each(
        model, prompts, [*words, *against], conditions.edits, progress=label("words"), **options
    )
    divergence = torch.zeros(len(conditions.edits), len(neutral))
    if neutral:
        divergence[1:] = divergence_each(
            model, neutral, conditions.edits[1:], progress=label("side effects"), **options
        )
    written = [conditions.edits[number] for number in conditions.written]
    texts = steer_each(model, prompts, written, progress=label("texts"), **writing, **options)
    return _Measured(
        log_probs[..., : len(words)],
        odds_between(log_probs, len(words)) if against else None,
        divergence,
        dict(zip(conditions.written, texts, strict=True)),
    )


def _tables(
    conditions: _Conditions,
    measured: _Measured,
    specs: Sequence[ScorerSpec],
    offered: dict[str, Any],
) -> list[pd.DataFrame]:
    """Texts and scores under each condition."""
    blank = _blank(measured.texts[0])
    of_the_edit = [spec for spec in specs if spec.name in _OF_THE_EDIT]
    tables = []
    for number in range(len(conditions.edits)):
        written = number in measured.texts
        made = measured.texts.get(number, blank)
        more = {
            "word_log_probs": measured.log_probs[number],
            "divergence": measured.divergence[number],
        }
        scores = scored(made, specs if written else of_the_edit, {**offered, **more})
        odds = measured.odds
        scores["odds"] = np.nan if odds is None else odds[number][made.prompt].numpy()
        tables.append(pd.DataFrame({**_texts(made, written), **scores}))
    return tables


def _rows(
    tried: Sequence[Trial | None], tables: Sequence[pd.DataFrame], language: str | None
) -> pd.DataFrame:
    """The tables of trials one below the other, and before each row what its trial is."""
    rows = pd.concat(tables, ignore_index=True)
    trial = pd.DataFrame([_columns(one, language) for one in tried])
    shared = trial.iloc[np.repeat(np.arange(len(tables)), [len(table) for table in tables])]
    return pd.concat([shared.reset_index(drop=True), rows], axis=1)


def _columns(trial: Trial | None, language: str | None) -> dict[str, Any]:
    """What the rows of a trial share; None: the model as it is."""
    said = "" if language is None else language
    if trial is None:
        shared = (UNSTEERED, UNSTEERED, "", 0.0, "", 0.0, said)
    else:
        vector, strength = trial.vector, trial.strength
        length = vector.unit * abs(strength)
        shared = (vector.name, trial.role, trial.of, strength, vector.unit_name, length, said)
    return dict(zip(CONDITION, shared, strict=True))


def _texts(made: Generations, written: bool) -> dict[str, Any]:
    return {
        "prompt_index": made.prompt.numpy(),
        "prompt": [made.prompts[number] for number in made.prompt.tolist()],
        "sample": pd.array(made.sample.tolist() if written else [None] * len(made), dtype="Int64"),
        "text": list(made.texts) if written else [None] * len(made),
    }


def _blank(made: Generations) -> Generations:
    """A row per prompt where nothing was generated."""
    count = len(made.prompts)
    ids = made.ids.new_zeros(count, 0)
    return Generations(
        prompts=made.prompts,
        prompt=torch.arange(count),
        sample=torch.zeros(count, dtype=torch.long),
        texts=("",) * count,
        ids=ids,
        mask=ids.bool(),
        prompt_width=0,
        steered_log_probs=torch.zeros(count, 0),
    )


def _side_effects(tried: Sequence[Trial], divergence: Float[Tensor, "trial text"]) -> pd.DataFrame:
    texts = divergence.shape[1]
    trial = np.arange(len(tried)).repeat(texts)
    table = pd.DataFrame(
        {
            "vector": [one.vector.name for one in tried],
            "role": [one.role for one in tried],
            "of": [one.of for one in tried],
            "strength": [one.strength for one in tried],
        }
    ).iloc[trial]
    table["text_index"] = np.tile(np.arange(texts), len(tried))
    table["kl"] = divergence.flatten().numpy()
    return table.reset_index(drop=True)
