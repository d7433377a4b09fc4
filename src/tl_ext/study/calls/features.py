"""Which latents fire at the words of concepts, and which two concepts share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from tl_ext.analysis import features
from tl_ext.concepts.aggregation import OverTokens
from tl_ext.concepts.concept import Concept
from tl_ext.dictionaries.dictionary import Dictionaries, Dictionary
from tl_ext.dictionaries.neuronpedia import neuronpedia_link
from tl_ext.dictionaries.reading import BackgroundStatistics, word_latents
from tl_ext.errors import InputError
from tl_ext.models.hook_points import layer_of
from tl_ext.report.marks import Mark, Panels
from tl_ext.study.calls.given import concepts_given, dictionaries_given
from tl_ext.study.drawing.latents import latent_stems

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


@dataclass(frozen=True, eq=False, repr=False)
class ConceptActivations:
    """Which latents fire at concepts' words.

    Attributes:
        table: A row per dictionary, concept and latent that fired, the strongest of each first:
            `dictionary`, `hook_point`, `layer`, `concept`, `language`, `latent`, `activation` (mean over
            texts), `share` (of the texts it fired on), `largest`, `texts`.
        dictionaries: The dictionaries read.
    """

    table: pd.DataFrame
    dictionaries: Dictionaries

    def top(self, k: int = 3) -> pd.DataFrame:
        """The `k` strongest latents of each dictionary and concept, with their public pages."""
        best = self.table.groupby(["dictionary", "concept", "language"], sort=False).head(k)
        links = [
            neuronpedia_link(self.dictionaries[id], int(latent)) or ""
            for id, latent in zip(best["dictionary"], best["latent"], strict=True)
        ]
        best = best.reset_index(drop=True)
        return best.assign(page=links) if any(links) else best

    def figure(self, *ids: str, top: int = 3) -> Mark:
        """Activations over latents, a panel per dictionary, a series per concept.

        Args:
            ids: Which dictionaries; none: all.
            top: How many latents of each series are named.
        """
        panels = []
        for id in ids or self.dictionaries:
            mine = self.table[self.table["dictionary"] == self.dictionaries[id].id]
            if len(mine):
                length = self.dictionaries[id].d_latent
                panels.append(latent_stems(mine, length=length, title=id, top=top))
        if not panels:
            raise InputError("No latent of these dictionaries fired, so there is nothing to draw.")
        return panels[0] if len(panels) == 1 else Panels(panels=panels)

    def __repr__(self) -> str:
        return f"<ConceptActivations in {len(self.dictionaries)} dictionaries>\n{self.top(3)}"

    def _repr_html_(self) -> str:
        return self.figure()._repr_html_()


def concept_activations(
    model: TransformerBridge,
    dictionaries: Mapping[str, Dictionary] | Dictionary,
    concepts: Concept | Sequence[Concept],
    *,
    over_tokens: OverTokens = "sum",
    batch_size: int = 32,
    progress: bool = False,
) -> ConceptActivations:
    """Which latents fire at the words of concepts, in one pass over all texts.

    Args:
        model: A hooked model.
        dictionaries: One dictionary or several.
        concepts: One concept or several.
        over_tokens: What is done inside a word of several tokens: "sum", "mean", "max", weights or a
            callable.
        batch_size: Texts in a forward pass.
        progress: Show a bar.

    Raises:
        InputError: No concepts.
        WordNotFoundError: A word that does not stand in its text.
        HookPointError: A hook point the model lacks.
        DictionaryError: A dictionary of another width.

    Example:
        ```python
        happy = emotions.concepts(names=["happy"])
        concept_activations(model, dictionaries, happy).top(3)
        ```
    """
    several, said = dictionaries_given(dictionaries), concepts_given(concepts)
    latents = word_latents(
        model,
        several,
        [example for concept in said for example in concept.examples],
        over_tokens=over_tokens,
        batch_size=batch_size,
        progress="concepts" if progress else None,
    )
    parts = []
    for id, dictionary in several.items():
        start = 0
        for concept in said:
            end = start + len(concept.examples)
            table = features.activation_table(
                latents[id][start:end],
                dictionary=id,
                hook_point=dictionary.hook_in,
                layer=layer_of(dictionary.hook_in),
                concept=concept.name,
                language=concept.language,
            )
            start = end
            parts.append(table)
    return ConceptActivations(pd.concat(parts, ignore_index=True), several)


def shared_features(
    model: TransformerBridge,
    dictionary: Dictionary,
    first: Concept,
    second: Concept,
    *,
    background: BackgroundStatistics | None = None,
    over_tokens: OverTokens = "mean",
    batch_size: int = 32,
) -> pd.DataFrame:
    """Latents that belong to both of two concepts beyond their control words, and to one alone.

    Args:
        model: A hooked model.
        dictionary: One dictionary.
        first: A concept with control words.
        second: Another, or the same in another language.
        background: Where the latents' firing rates come from; None leaves them undefined.
        over_tokens: What is done inside a word of several tokens. The mean, for a sum is larger for a
            word of more tokens than its control word has.
        batch_size: Texts in a forward pass.

    Returns:
        See [`shared_and_private`][tl_ext.analysis.features.shared_and_private].

    Raises:
        InputError: A concept with fewer than two examples or controls.
    """
    groups = [first.examples, first.controls, second.examples, second.controls]
    latents = word_latents(
        model,
        {dictionary.id: dictionary},
        [example for group in groups for example in group],
        over_tokens=over_tokens,
        batch_size=batch_size,
    )[dictionary.id].split([len(group) for group in groups])
    return features.shared_and_private(
        features.beyond_controls(latents[0], latents[1]),
        features.beyond_controls(latents[2], latents[3]),
        None if background is None else background.firing_rate,
    )
