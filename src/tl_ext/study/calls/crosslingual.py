"""One concept in several languages, as a call for a notebook."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from tl_ext.analysis import crosslingual
from tl_ext.analysis.crosslingual import Said, crosslingual_table, firing_chance
from tl_ext.analysis.overlap import overlap, pooled
from tl_ext.concepts.concept import Concept
from tl_ext.dictionaries.dictionary import Dictionaries, Dictionary
from tl_ext.dictionaries.reading import BackgroundStatistics, word_latents
from tl_ext.errors import InputError
from tl_ext.models.hook_points import layer_of
from tl_ext.report.marks import Bars, Series
from tl_ext.study.calls.given import dictionaries_given
from tl_ext.study.collecting.word_members import frame_pairs, word_tokens

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


@dataclass(frozen=True, eq=False, repr=False)
class CrosslingualFeatures:
    """Which latents belong to a concept in several languages, and which to one.

    Attributes:
        table: For each dictionary (`dictionary`, `hook_point`, `layer`) the rows of
            [`crosslingual_table`][tl_ext.analysis.crosslingual.crosslingual_table].
        shares: A row per dictionary: how many latents belong to `both` (all) languages, to `either`
            (any), their `share`, and its 95 % interval over texts, `low` and `high`.
        concepts: The concept in each language.
    """

    table: pd.DataFrame
    shares: pd.DataFrame
    concepts: tuple[Concept, ...]

    def shown(self) -> pd.DataFrame:
        """The latents that belong to a language, those of several languages first."""
        belongs = self.table["kind"].ne(crosslingual.NOT_SHOWN)
        belongs &= self.table["kind"].ne(crosslingual.FRAME)
        order = self.table["kind"].ne(crosslingual.SHARED)
        rows = self.table.assign(_order=order)[belongs]
        rows = rows.sort_values(["_order", "adjusted"], kind="stable").drop(columns="_order")
        return rows.reset_index(drop=True)

    def sets(self, dictionary: str) -> dict[str, list[int]]:
        """Groups of latents to look at together, see [`sets`][tl_ext.analysis.crosslingual.sets].

        Args:
            dictionary: Its id.

        Raises:
            InputError: No latent of such a dictionary was read.
        """
        mine = self.table[self.table["dictionary"] == dictionary]
        if mine.empty:
            read = ", ".join(self.shares["dictionary"])
            raise InputError(f"No latent of {dictionary!r} fires here; these were read: {read}.")
        return crosslingual.sets(mine)

    def figure(self) -> Bars:
        """How many latents belong to any and to all of the languages, by dictionary."""
        places = range(len(self.shares))
        languages = [one.language for one in self.concepts]
        return Bars(
            title=f"Latents that belong to {self.concepts[0].name} in {', '.join(languages)}",
            labels=self.shares["dictionary"],
            series=[
                Series(" or ".join(languages), places, self.shares["either"]),
                Series(" and ".join(languages), places, self.shares["both"]),
            ],
            y="latents",
            orientation="horizontal",
        )

    def __repr__(self) -> str:
        said = ", ".join(one.label for one in self.concepts)
        table = self.shares.drop(columns=["hook_point", "layer"]).to_string(index=False)
        return f"<CrosslingualFeatures of {said}>\n{table}"

    def _repr_html_(self) -> str:
        return self.figure()._repr_html_()


def crosslingual_features(
    model: TransformerBridge,
    dictionaries: Mapping[str, Dictionary] | Dictionary,
    concept: Sequence[Concept],
    *,
    background: Mapping[str, BackgroundStatistics],
    batch_size: int = 32,
    seed: int = 0,
    progress: bool = False,
) -> CrosslingualFeatures:
    """Latents that fire on a concept in several languages, beyond control words and beyond background.

    Args:
        model: A hooked model.
        dictionaries: One dictionary or several.
        concept: One concept in two languages or more, each with control words, best in the same frames.
        background: By dictionary id what latents do on ordinary text, from
            [`background_statistics`][tl_ext.dictionaries.reading.background_statistics].
        batch_size: Texts in a forward pass.
        seed: Of the resampled texts.
        progress: Show a bar.

    Raises:
        InputError: Fewer than two languages, one that is given twice, a concept without control words,
            or a dictionary without background statistics.

    Example:
        ```python
        background = background_statistics(model, dictionaries, texts)
        happy = emotions.concepts(names=["happy"])
        crosslingual_features(model, dictionaries, happy, background=background).shown()
        ```
    """
    several = dictionaries_given(dictionaries)
    _check(concept, several, background)
    groups = [examples for one in concept for examples in (one.examples, one.controls)]
    read = word_latents(
        model,
        several,
        [example for group in groups for example in group],
        over_tokens="mean",
        batch_size=batch_size,
        progress="languages" if progress else None,
    )
    pairs = [frame_pairs(one) for one in concept]
    tokens = [word_tokens(model, one.examples) for one in concept]
    tables, shares = [], []
    for id, dictionary in several.items():
        parts = read[id].split([len(group) for group in groups])
        known = background[id]
        said = {
            one.language: Said(
                parts[2 * place][pairs[place][:, 0]],
                parts[2 * place + 1][pairs[place][:, 1]],
                firing_chance(known.firing_rate, known.tokens, tokens[place][pairs[place][:, 0]]),
            )
            for place, one in enumerate(concept)
        }
        norms = dictionary.directions.detach().float().norm(dim=-1).cpu()
        labels = {
            "dictionary": id,
            "hook_point": dictionary.hook_in,
            "layer": layer_of(dictionary.hook_in),
        }
        table = crosslingual_table(said, firing_rate=known.firing_rate, norms=norms)
        tables.append(pd.DataFrame([labels]).merge(table, how="cross"))
        share = pooled([overlap(said, seed=seed)])
        shares.append(
            {
                **labels,
                "both": share.both,
                "either": share.either,
                "share": share.value,
                "low": share.interval.low,
                "high": share.interval.high,
            }
        )
    return CrosslingualFeatures(
        pd.concat(tables, ignore_index=True), pd.DataFrame(shares), tuple(concept)
    )


def _check(
    concept: Sequence[Concept],
    dictionaries: Dictionaries,
    background: Mapping[str, BackgroundStatistics],
) -> None:
    if isinstance(concept, Concept) or not all(isinstance(one, Concept) for one in concept):
        raise InputError(
            f"One concept in several languages is expected, such as "
            f"emotions.concepts(names=['happy']); this is {concept!r:.80}."
        )
    languages = [one.language for one in concept]
    if len(languages) < 2 or len(set(languages)) < len(languages):
        raise InputError(
            f"The concept is given in {', '.join(languages) or 'no language'}; two languages or more, "
            "each once, are expected."
        )
    for one in concept:
        if not one.controls:
            raise InputError(f"{one.label} has no control words; give it some, in the same frames.")
    missing = [id for id in dictionaries if id not in background]
    if missing:
        raise InputError(
            f"There are no background statistics for {', '.join(missing)}; take them with "
            "background_statistics(model, dictionaries, texts)."
        )
