"""The record of a sweep: its tables, means over prompts, the first samples, and a folder to keep it in."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from tl_ext.activations.store import replacing, save_table
from tl_ext.errors import InputError, OutputError
from tl_ext.steering.trials import UNSTEERED

# What a sweep's rows of one vector and strength share.
CONDITION = ["vector", "role", "of", "strength", "unit", "length", "language"]
TEXT_COLUMNS = ("vector", "role", "of", "unit", "language", "prompt", "text")


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
        scores = [*score_columns(self.settings["scorers"]), "odds", "harmonic"]
        keys = [*CONDITION, "prompt_index"]
        by_prompt = self.rows.groupby(keys, sort=False, dropna=False)[scores].mean().reset_index()
        plain = by_prompt[by_prompt["role"] == UNSTEERED].set_index("prompt_index")
        for column in ("odds", "concept"):
            before = by_prompt["prompt_index"].map(plain[column])
            by_prompt[f"{column}_change"] = by_prompt[column] - before
        changes = ["odds_change", "concept_change"]
        grouped = by_prompt.groupby(CONDITION, sort=False, dropna=False)
        table = grouped[[*scores, *changes]].mean()
        table["prompts"] = grouped.size()
        texts = self.rows[self.rows["sample"].notna()]
        missing = texts["harmonic"].isna().groupby([texts[key] for key in CONDITION], dropna=False)
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
                    dtype={"sample": "Int64", **dict.fromkeys(TEXT_COLUMNS, "object")},
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


def score_columns(names: Sequence[str]) -> list[str]:
    """The columns of scorers, raw and mapped."""
    return [column for name in names for column in (name, f"{name}_unit")]


def _without_gaps(table: pd.DataFrame) -> pd.DataFrame:
    """Empty text is text; where there is no sample there is no text either."""
    for column in table.columns.intersection(list(TEXT_COLUMNS)):
        table[column] = table[column].fillna("")
    if "text" in table:
        table["text"] = table["text"].where(table["sample"].notna(), None)
    return table
