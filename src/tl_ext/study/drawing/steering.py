"""The figures of steering: verdicts, dose and response, side effects, transfer, texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from tl_ext.analysis.dose import BASELINE, RANDOM, REVERSED, SIDE_EFFECT, TRIED, UNSTEERED, Split
from tl_ext.report.marks import Axis, Bars, Lines, Panels, Samples, Scatter, Series, TableMark
from tl_ext.report.page import Figure

TEXTS = 4  # of each condition

_CHANGE = Axis(title="change of log-odds", unit="nats")
_STRENGTH = Axis(title="strength", scale="log")
_QUALITIES = {
    "fluency": "fluency, nats per token",
    "diversity": "diversity, distinct-2",
    "language_kept": "language kept, probability",
    "harmonic": "harmonic mean of all scores",
}


def draw(tables: Mapping[str, pd.DataFrame], halves: Split) -> dict[str, Figure]:
    """Everything there is a table for.

    Args:
        tables: As [`tabulate`][tl_ext.study.analyses.steering.tabulate] made them.
        halves: Which prompts were chosen on, and which were reported on.
    """
    figures: dict[str, Figure] = {}
    if "steering_candidates" in tables:
        figures["steering_candidates"] = _candidates(tables["steering_candidates"])
    if "steering_verdicts" in tables:
        known = _Tables(tables, halves)
        figures["steering_verdicts"] = known.verdicts()
        for language in known.languages:
            figures[f"steering-dose-{language}"] = known.dose(language)
            figures[f"steering-side-effects-{language}"] = known.side_effects(language)
            figures[f"steering-qualities-{language}"] = known.qualities(language)
        if len(tables["steering_transfer"]):
            figures["steering_transfer"] = known.transfer()
        for language in known.languages:
            figures[f"steering-texts-{language}"] = known.texts(language)
        figures["steering_vectors"] = known.vectors()
    if "steering_notes" in tables:
        figures["steering_notes"] = Figure(
            TableMark(title="What could not be done", data=tables["steering_notes"], first=20)
        )
    return figures


def _candidates(table: pd.DataFrame) -> Figure:
    """The latents looked at before any was steered with."""
    formats = dict.fromkeys(("difference", "output_score", "unsteered_score", "kl"), ".3f")
    return Figure(
        TableMark(
            title="Which latent is steered with", data=table, first=len(table), formats=formats
        ),
        caption=(
            "The strongest latents that belong to each concept, and how far each can move the output "
            "after neutral beginnings (Arad et al. 2025): the score of the tokens its direction points "
            "at with the latent amplified, and without. Chosen is the strongest whose score is higher "
            "with it; where none is, the strongest."
        ),
        may="Whether a latent that answers to the word can also make the model say something.",
        may_not="That what it makes the model say is the concept: that is measured below.",
    )


class _Tables:
    """The tables of a sweep, drawn."""

    def __init__(self, tables: Mapping[str, pd.DataFrame], halves: Split) -> None:
        self.verdict = tables["steering_verdicts"]
        self.transferred = tables["steering_transfer"]
        self.response = tables["steering_dose"]
        self.random = tables["steering_random"]
        self.strengths = tables["steering_strengths"]
        self.written = tables["steering_texts"]
        self.tried = tables["steering_vectors"]
        self.halves = halves
        self.languages = list(dict.fromkeys(self.verdict["language"]))

    def verdicts(self) -> Figure:
        """What may be said of each judged vector in each language."""
        columns = ["language", "vector", "verdict", "specific", "strength", "change", "low", "high"]
        columns += ["random_as_high", "random", "reverse_change", "diffmean_change"]
        columns += ["against_diffmean", "opposite_change", "p", "adjusted"]
        formats = dict.fromkeys(
            ("change", "low", "high", "reverse_change", "diffmean_change", "opposite_change"),
            "+.2f",
        )
        mark = TableMark(
            title="Does it raise the words, and more than its controls?",
            data=self.verdict,
            columns=columns,
            first=len(self.verdict),
            formats=formats | dict.fromkeys(("p", "adjusted"), ".3f"),
        )
        return Figure(
            mark,
            caption=(
                "Change of the log-odds of the first concept's words, in nats, on "
                f"{len(self.halves.reporting)} prompts ({_numbers(self.halves.reporting)}); the strength "
                f"was chosen on the {len(self.halves.choosing)} others, a split by seed made before "
                "anything was measured. Chosen is what has the largest harmonic mean of the words' "
                "probability and exp(-side effect), the mapped scores that need no text: random vectors "
                "have them too, and the choice is repeated for each of them. All vectors are equally "
                "long at equal strength. "
                "`p` is the largest of three (the change, random vectors, the reverse), `adjusted` is "
                "over all rows (Benjamini-Hochberg)."
            ),
            may=self.verdict["sentence"].tolist(),
            may_not=(
                "That the direction means the concept: the words are a short list, prompts are of one "
                "kind, and in its own language a vector may name the very word it was found at. "
                "Random directions are a weaker control than other latents would be."
            ),
        )

    def dose(self, language: str) -> Figure:
        """The change of log-odds over strengths."""
        table = self._of(self.response, language, "odds")
        series = [
            Series(str(name), part["strength"], part["change"], part["low"], part["high"])
            for name, part in table.groupby("vector", sort=False)
        ]
        drawn = self._of(self.random, language, "odds").groupby("strength")["change"]
        if len(drawn):
            ends = drawn.agg(["mean", "min", "max"])
            count = int(drawn.size().max())
            name = f"{count} random directions, whole range"
            series.append(Series(name, list(ends.index), ends["mean"], ends["min"], ends["max"]))
        words = self.verdict.loc[self.verdict["language"] == language, "words"].iloc[0]
        return Figure(
            Lines(
                title=f"Dose and response, {language}", series=series, x=self._strength, y=_CHANGE
            ),
            caption=(
                f"Words: {words}. Mean over all prompts with its 95 % interval (Student's t over "
                "prompts); of random directions the whole range of their means."
            ),
            may="Whether more of a direction does more, and what its reverse and other directions do.",
            may_not="Which strength is best: that was chosen on half of these prompts.",
        )

    def side_effects(self, language: str) -> Figure:
        """What it costs on neutral texts."""
        both = pd.concat([self.response, self.random])
        both = both[both["language"] == language]
        keys = ["vector", "role", "strength"]
        side = both[both["measure"] == SIDE_EFFECT].set_index(keys)["change"].rename("side")
        odds = both[both["measure"] == "odds"].set_index(keys)["change"]
        joined = pd.concat([side, odds], axis=1, join="inner").reset_index()
        joined["series"] = [
            "random directions" if role == RANDOM else str(name)
            for name, role in zip(joined["vector"], joined["role"], strict=True)
        ]
        series = [
            Series(str(name), part["side"], part["change"], labels=_strengths(part["strength"]))
            for name, part in joined.groupby("series", sort=False)
        ]
        return Figure(
            Scatter(
                title=f"Effect against side effect, {language}",
                series=series,
                x=Axis(title="side effect", unit="KL per token, nats"),
                y=_CHANGE,
            ),
            caption=(
                "A point is a vector at a strength. Across: the mean divergence per token on neutral "
                "sentences under the same edit."
            ),
            may="What a change of the words costs elsewhere, beside random directions as long.",
            may_not="What it costs on other text than these short sentences.",
        )

    def qualities(self, language: str) -> Figure:
        """What became of the texts."""
        panels = []
        for measure, title in _QUALITIES.items():
            table = self._of(self.response, language, measure)
            table = table[table["role"].isin([TRIED, REVERSED])]
            series = [
                Series(str(name), part["strength"], part["change"], part["low"], part["high"])
                for name, part in table.groupby("vector", sort=False)
            ]
            if series:
                panels.append(Lines(title=title, series=series, x=self._strength, y="change"))
        return Figure(
            Panels(title=f"What the texts lose, {language}", panels=panels, columns=2),
            caption=(
                "Change against the unsteered model, mean over prompts with its 95 % interval; the "
                "samples of a prompt are averaged first. Below 0: worse."
            ),
            may="From which strength on texts become less likely, repeat themselves or change language.",
            may_not="How good they are: these scores are blunt.",
        )

    def transfer(self) -> Figure:
        """Vectors of one language in another."""
        table = self.transferred
        labels = [f"{row['vector']} in {row['language']}" for row in table.to_dict("records")]
        places = list(range(len(table)))
        series = [
            Series(name, places, table[part], table[f"{part}_low"], table[f"{part}_high"])
            for name, part in (
                ("made in another language", "transferred"),
                ("made in this language", "own_effect"),
                ("difference", "difference"),
            )
        ]
        return Figure(
            Bars(title="From one language to another", labels=labels, series=series, y=_CHANGE),
            caption=(
                "On the reporting prompts, both vectors at the strength best for the two together on "
                "the choosing prompts; 95 % intervals, the difference paired over prompts."
            ),
            may=table["sentence"].tolist(),
            may_not="That the languages share a concept: a vector may carry a word, a register, a frame.",
        )

    def texts(self, language: str) -> Figure:
        """The first texts by seed, at the chosen strengths."""
        table = self.written[self.written["language"] == language]
        judged = self.verdict[self.verdict["language"] == language].to_dict("records")
        parts = [table[table["role"] == UNSTEERED].assign(condition="unsteered")]
        for row in judged:
            at = table[(table["of"] == row["vector"]) & (table["strength"] == row["strength"])]
            roles = (TRIED, REVERSED, RANDOM) if row is judged[0] else (TRIED,)
            parts += [
                at[at["role"] == role].assign(
                    condition=f"{row['vector']}{'' if role == TRIED else f' {role}'}, "
                    f"{row['strength']:g}"
                    if role != RANDOM
                    else f"random direction, {row['strength']:g}"
                )
                for role in roles
            ]
        first = judged[0]
        means = table[
            (table["role"] == BASELINE)
            & (table["vector"] == first["diffmean"])
            & (table["of"] == first["vector"])
            & (table["strength"] == first["diffmean_strength"])
        ]
        parts.append(means.assign(condition=f"{first['diffmean']}, {first['diffmean_strength']:g}"))
        shown = pd.concat([_first(part) for part in parts if len(part)])
        told = [f"{value:.2f} nats per token, unsteered model" for value in shown["fluency"]]
        return Figure(
            Samples.from_table(
                shown.assign(note=told),
                continuation="text",
                note="note",
                title=f"The first {TEXTS} texts by seed, {language}",
            ),
            caption=(
                "The first sample of the first prompts, at the strengths chosen; the same noise under "
                "every condition, none left out."
            ),
            may="What text looks like at these strengths.",
            may_not="That it works or does not: a handful of texts shows whatever one looks for.",
        )

    def vectors(self) -> Figure:
        """What was tried."""
        table = self.tried.merge(
            self.response.groupby("vector", sort=False)["unit"].first(), on="vector", how="left"
        )
        return Figure(
            TableMark(title="The vectors", data=table, first=len(table)),
            caption="Strength is counted in the unit of the first, for all of them.",
        )

    @property
    def _strength(self) -> Axis:
        unit = self.response["unit"].iloc[0] if len(self.response) else ""
        return Axis(title=_STRENGTH.title, unit=str(unit), scale="log")

    @staticmethod
    def _of(table: pd.DataFrame, language: str, measure: str) -> pd.DataFrame:
        return table[(table["language"] == language) & (table["measure"] == measure)]


def _first(part: pd.DataFrame) -> pd.DataFrame:
    return part.sort_values(["sample", "prompt_index"], kind="stable").head(TEXTS)


def _strengths(strengths: pd.Series[float]) -> list[str]:
    return [f"strength {strength:g}" for strength in strengths]


def _numbers(indices: Sequence[int]) -> str:
    return "numbers " + ", ".join(str(one + 1) for one in indices)
