"""Steering measured: vectors over strengths, with the controls that judge them beside.

A push may raise a concept's words for reasons that are none of the direction's, and may cost more than
it brings. So every vector stands beside its reverse, random directions and baselines of the same
length, and every text is scored for the concept, fluency, diversity, language and side effects at once.
"""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from tl_ext.activations.store import replacing, save_table
from tl_ext.errors import InputError, OutputError
from tl_ext.interventions.edits import Add
from tl_ext.steering.decoding import Positions
from tl_ext.steering.divergence import divergence_each
from tl_ext.steering.generation import steer_each
from tl_ext.steering.generations import Generations
from tl_ext.steering.scores import LANGUAGES
from tl_ext.steering.scoring import harmonic_mean, scored, scorers_named
from tl_ext.steering.trials import UNSTEERED, Trial, trials
from tl_ext.steering.vectors import SteeringVector
from tl_ext.steering.words import check_apart, odds_between, word_log_probabilities_each

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

SCORERS = ("concept", "fluency", "diversity", "language_kept", "side_effect")
"""What every sweep scores; the last only where there are neutral texts."""
_OF_THE_EDIT = ("concept", "side_effect")  # known without a generated text

_CONDITION = ["vector", "role", "of", "strength", "unit", "length", "language"]
_TEXT_COLUMNS = ("vector", "role", "of", "unit", "language", "prompt", "text")


@dataclass(frozen=True, eq=False, repr=False)
class Sweep:
    """What a sweep measured.

    Attributes:
        rows: A row per vector, strength, prompt and sample: `vector` (name), `role` ("tried",
            "reversed", "random", "baseline", "unsteered"), `of` (the tried vector it stands beside),
            `strength`, `unit` (its name), `length` (norm of what is added), `language` (of the
            prompts), `prompt_index`, `prompt`, `sample`, `text`; for each scorer its column and
            `<scorer>_unit`, mapped to [0, 1]; `odds` (log-odds of the words over the opposite words, in
            nats; NaN without opposite words); `harmonic` (mean of the mapped scores; 0 where any is 0,
            else NaN where any is undefined). Where no text was generated there is a row per prompt,
            without sample and text, with the scores that need none.
        side_effects: A row per vector, strength and neutral text: `vector`, `role`, `of`, `strength`,
            `text_index`, `kl` (mean over the text's tokens, nats).
        settings: What it was made with, fit for JSON.
    """

    rows: pd.DataFrame
    side_effects: pd.DataFrame
    settings: dict[str, Any] = field(default_factory=dict)

    def summary(self) -> pd.DataFrame:
        """A row per vector and strength: means over prompts of means over samples.

        Returns:
            The columns of the condition; each score, raw and mapped; `odds`, `odds_change` and
            `concept_change` (from the unsteered model, paired by prompt, in nats); `harmonic`;
            `undefined`, how many texts have no harmonic mean and are left out of it; `prompts`.
        """
        scores = [*_score_columns(self.settings["scorers"]), "odds", "harmonic"]
        keys = [*_CONDITION, "prompt_index"]
        by_prompt = self.rows.groupby(keys, sort=False, dropna=False)[scores].mean().reset_index()
        plain = by_prompt[by_prompt["role"] == UNSTEERED].set_index("prompt_index")
        for column in ("odds", "concept"):
            before = by_prompt["prompt_index"].map(plain[column])
            by_prompt[f"{column}_change"] = by_prompt[column] - before
        changes = ["odds_change", "concept_change"]
        grouped = by_prompt.groupby(_CONDITION, sort=False, dropna=False)
        table = grouped[[*scores, *changes]].mean()
        table["prompts"] = grouped.size()
        texts = self.rows[self.rows["sample"].notna()]
        missing = texts["harmonic"].isna().groupby([texts[key] for key in _CONDITION], dropna=False)
        table["undefined"] = missing.sum().reindex(table.index).fillna(0).astype(int)
        return table.reset_index()

    def samples(self, count: int) -> pd.DataFrame:
        """The first texts of each vector and strength by seed: never chosen by how they score.

        Args:
            count: How many of each; the first sample of every prompt comes before any second one.

        Raises:
            InputError: `count` is below 1.
        """
        if count < 1:
            raise InputError(f"{count} samples were asked for; 1 or more is expected.")
        texts = self.rows[self.rows["sample"].notna()]
        ordered = texts.sort_values(["sample", "prompt_index"], kind="stable")
        first = ordered.groupby(["vector", "of", "strength"], sort=False).head(count)
        columns = ["vector", "role", "of", "strength", "prompt", "sample", "text", "harmonic"]
        return first.sort_index(kind="stable")[columns].reset_index(drop=True)

    def save(self, folder: Path | str) -> None:
        """Write both tables as CSV, and the settings, into a folder.

        Raises:
            OutputError: The folder cannot be written to.
        """
        folder = Path(folder)
        save_table(folder / "rows.csv", self.rows)
        save_table(folder / "side_effects.csv", self.side_effects)
        with replacing(folder / "sweep.json") as temporary:
            temporary.write_text(json.dumps(self.settings, ensure_ascii=False), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path | str) -> Sweep:
        """Read back what `save` wrote.

        Raises:
            OutputError: There is no sweep in the folder.
        """
        folder = Path(folder)
        try:
            settings = json.loads((folder / "sweep.json").read_text(encoding="utf-8"))
            rows, side_effects = (
                pd.read_csv(
                    folder / f"{name}.csv",
                    keep_default_na=False,
                    na_values=[""],
                    dtype={"sample": "Int64", **dict.fromkeys(_TEXT_COLUMNS, "object")},
                )
                for name in ("rows", "side_effects")
            )
        except (OSError, ValueError) as error:
            raise OutputError(f"{folder} holds no sweep that can be read: {error}.") from error
        return cls(_without_gaps(rows), _without_gaps(side_effects), settings)

    def __repr__(self) -> str:
        tried = self.settings["vectors"]
        return (
            f"<Sweep: {len(tried)} vectors ({', '.join(tried)}) at strengths "
            f"{', '.join(f'{one:g}' for one in self.settings['strengths'])}; "
            f"{self.settings['prompts']} prompts, {self.settings['samples']} samples; "
            f"{len(self.rows)} rows, {len(self.side_effects)} of side effects>"
        )

    def _repr_html_(self) -> str:
        """The summary for notebooks; names are escaped."""
        table = self.summary().to_html(index=False, float_format="{:.3f}".format, na_rep="")
        return f"<p>{html.escape(repr(self))}</p>{table}"


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
    words, against, neutral = list(words), list(against), list(neutral_texts)
    if not words:
        raise InputError("There are no words that say the concept: an empty list was given.")
    check_apart(words, against)
    names = [name for name in SCORERS if neutral or name != "side_effect"]
    specs = scorers_named([*names, *scorers])
    conditions = _Conditions(tried)
    options: dict[str, Any] = {"positions": positions, "batch_size": batch_size}

    def label(part: str) -> str | None:
        return None if progress is None else f"{progress}, {part}"

    log_probs = word_log_probabilities_each(
        model, prompts, [*words, *against], conditions.edits, progress=label("words"), **options
    )
    divergence = torch.zeros(len(conditions.edits), 0)
    if neutral:
        steered = divergence_each(
            model, neutral, conditions.edits[1:], progress=label("side effects"), **options
        )
        divergence = torch.cat([torch.zeros(1, len(neutral)), steered])
    texts = steer_each(
        model,
        prompts,
        [conditions.edits[number] for number in conditions.written],
        max_new_tokens=max_new_tokens,
        samples=samples,
        seed=seed,
        progress=label("texts"),
        **options,
    )
    written = dict(zip(conditions.written, texts, strict=True))
    blank = _blank(texts[0])
    offered = {
        "words": [word.strip() for word in words],
        "expected": language,
        "among": tuple(among),
    }
    odds = odds_between(log_probs, len(words)) if against else None
    tables = {}
    for number in range(len(conditions.edits)):
        made = written.get(number, blank)
        known = specs if number in written else [one for one in specs if one.name in _OF_THE_EDIT]
        measured = {
            "word_log_probs": log_probs[number][:, : len(words)],
            "divergence": divergence[number],
        }
        table = _texts(made, number in written).join(scored(made, known, {**offered, **measured}))
        table["odds"] = np.nan if odds is None else odds[number][made.prompt].numpy()
        tables[number] = table
    units = [f"{spec.name}_unit" for spec in specs]
    parts = [
        tables[number].assign(**_columns(trial, language))
        for number, trial in zip([0, *conditions.of_trial], [None, *tried], strict=True)
    ]
    rows = pd.concat(parts, ignore_index=True).reindex(
        columns=[*_CONDITION, *_TEXT, *_score_columns([spec.name for spec in specs]), "odds"]
    )
    rows["harmonic"] = harmonic_mean(rows[units]).where(rows["sample"].notna())
    return Sweep(
        rows,
        _side_effects(tried, divergence[conditions.of_trial]),
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
            key = edit.hook_point, edit.vector.double().cpu().numpy().tobytes()
            place = places.setdefault(key, len(self.edits))
            if place == len(self.edits):
                self.edits.append(edit)
            self.of_trial.append(place)
            if trial.written:
                written.add(place)
        self.written = sorted(written)


def _columns(trial: Trial | None, language: str | None) -> dict[str, Any]:
    """What the rows of a trial share; None: the model as it is."""
    said = "" if language is None else language
    if trial is None:
        shared = (UNSTEERED, UNSTEERED, "", 0.0, "", 0.0, said)
    else:
        vector, strength = trial.vector, trial.strength
        length = vector.unit * abs(strength)
        shared = (vector.name, trial.role, trial.of, strength, vector.unit_name, length, said)
    return dict(zip(_CONDITION, shared, strict=True))


def _texts(made: Generations, written: bool) -> pd.DataFrame:
    sample = pd.array(made.sample.tolist() if written else [None] * len(made), dtype="Int64")
    return pd.DataFrame(
        {
            "prompt_index": made.prompt.tolist(),
            "prompt": [made.prompts[number] for number in made.prompt.tolist()],
            "sample": sample,
            "text": list(made.texts) if written else [None] * len(made),
        }
    )


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


def _score_columns(names: Sequence[str]) -> list[str]:
    return [column for name in names for column in (name, f"{name}_unit")]


def _without_gaps(table: pd.DataFrame) -> pd.DataFrame:
    """Empty text is text; where there is no sample there is no text either."""
    for column in table.columns.intersection(list(_TEXT_COLUMNS)):
        table[column] = table[column].fillna("")
    if "text" in table:
        table["text"] = table["text"].where(table["sample"].notna(), None)
    return table
