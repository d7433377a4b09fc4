"""The parts of the study as calls for a notebook: each gives a table and a figure.

`concept_activations`, `shared_features`, `feature_similarity` and `token_probabilities` take a model
and dictionaries as `load_model` and `load_dictionaries` give them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd
import torch

from tl_ext.analysis import features, similarity
from tl_ext.analysis.tokens import probability_table
from tl_ext.concepts.aggregation import OverTokens
from tl_ext.concepts.concept import Concept
from tl_ext.dictionaries.dictionary import Dictionaries, Dictionary
from tl_ext.dictionaries.neuronpedia import neuronpedia_link
from tl_ext.dictionaries.reading import BackgroundStatistics, chosen_latents, word_latents
from tl_ext.errors import InputError, nearest
from tl_ext.models.hook_points import layer_of, to_residual
from tl_ext.models.tokens import batch, token_strings
from tl_ext.report.marks import Heatmap, Mark, Panels, TokenText
from tl_ext.study.figures import latent_stems, similarity_heatmap

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


@dataclass(frozen=True, eq=False, repr=False)
class FeatureSimilarity:
    """How alike latents are.

    Attributes:
        latents: A row per latent, in the order of the matrices: `dictionary`, `hook_point`, `layer`,
            `latent`.
        matrices: By measure, `[latent latent]`, NaN where undefined: "cosine" of decoder directions in
            the residual stream, and where texts were given "correlation" of activations and
            "contributions".
    """

    latents: pd.DataFrame
    matrices: Mapping[str, torch.Tensor]

    @property
    def table(self) -> pd.DataFrame:
        """A row per pair of latents."""
        return similarity.pair_table(self.latents, dict(self.matrices))

    def figure(self, measure: str = "cosine") -> Heatmap:
        """The heatmap of one measure.

        Raises:
            InputError: The measure was not taken.
        """
        if measure not in self.matrices:
            raise InputError(
                f"There is no {measure!r} here; there is {', '.join(self.matrices)}."
                f"{nearest(measure, self.matrices)} Activations are compared where texts are given."
            )
        return similarity_heatmap(
            self.matrices[measure].tolist(),
            self.latents,
            measure,
            title=measure,
            groups=self.latents["dictionary"].tolist(),
        )

    def __repr__(self) -> str:
        return (
            f"<FeatureSimilarity of {len(self.latents)} latents: {', '.join(self.matrices)}>\n"
            f"{self.table.head(6)}"
        )

    def _repr_html_(self) -> str:
        return self.figure()._repr_html_()


def feature_similarity(
    model: TransformerBridge,
    dictionaries: Mapping[str, Dictionary] | Dictionary,
    latents: Mapping[str, Sequence[int]],
    texts: Sequence[str] = (),
    *,
    batch_size: int = 32,
) -> FeatureSimilarity:
    """Compare latents within a dictionary and across dictionaries.

    Args:
        model: A hooked model; directions are compared in its residual stream.
        dictionaries: One dictionary or several.
        latents: By dictionary id, which of its latents.
        texts: Background text to compare activations on; empty: only directions are compared.
        batch_size: Texts in a forward pass.

    Raises:
        InputError: No latents, or one that a dictionary lacks.
        HookPointError: A hook point that shares no space with the residual stream.
    """
    several = dictionaries_given(dictionaries)
    chosen = {id: torch.tensor(list(which), dtype=torch.long) for id, which in latents.items()}
    if not any(len(which) for which in chosen.values()):
        raise InputError("There are no latents to compare.")
    rows, directions = [], []
    for id, which in chosen.items():
        dictionary = several[id]
        if len(which) and not 0 <= int(which.min()) <= int(which.max()) < dictionary.d_latent:
            raise InputError(
                f"{id} has {dictionary.d_latent} latents, 0 to {dictionary.d_latent - 1}; "
                f"{which.tolist()} were asked for."
            )
        directions.append(
            to_residual(model, dictionary.hook_out, dictionary.directions[which].float()).cpu()
        )
        rows += [
            {
                "dictionary": id,
                "hook_point": dictionary.hook_in,
                "layer": layer_of(dictionary.hook_in),
                "latent": int(latent),
            }
            for latent in which
        ]
    joined = torch.cat(directions)
    activations = None
    if texts:
        read = chosen_latents(
            model, several, texts, chosen, batch_size=batch_size, max_tokens=int(model.cfg.n_ctx)
        )
        activations = torch.cat([read[id] for id in chosen], dim=1)
    matrices = similarity.measures(joined, activations)
    return FeatureSimilarity(pd.DataFrame(rows), matrices)


@dataclass(frozen=True, eq=False, repr=False)
class TokenProbabilities:
    """How probable a text's tokens are to the model.

    Attributes:
        text: The text.
        table: A row per token: `token`, `id`, `string`, `probability`, `rank`.
    """

    text: str
    table: pd.DataFrame

    def figure(self) -> TokenText:
        """The text, coloured by probability."""
        return TokenText(
            title=self.text, tokens=self.table["string"], values=self.table["probability"]
        )

    def __repr__(self) -> str:
        return f"<TokenProbabilities of {self.text!r}>\n{self.table}"

    def _repr_html_(self) -> str:
        return self.figure()._repr_html_()


def token_probabilities(model: TransformerBridge, text: str) -> TokenProbabilities:
    """The probability of each token of a text given those before it.

    Args:
        model: A hooked model.
        text: One text that fits its context.

    Raises:
        InputError: The text is empty for a model without a prefix, or too long.
    """
    tokens = batch(model, [text])
    with torch.no_grad():
        logits = model(tokens.ids, **tokens.forward_arguments())[0].float().cpu()
    ids = tokens.ids[0].cpu()
    strings = token_strings(model.tokenizer, ids.tolist())
    return TokenProbabilities(
        text, probability_table(logits, ids, strings, skip=int(tokens.offset[0]))
    )


def dictionaries_given(dictionaries: Mapping[str, Dictionary] | Dictionary) -> Dictionaries:
    """One dictionary or several, as several.

    Raises:
        InputError: Something else.
    """
    several = dictionaries.values() if isinstance(dictionaries, Mapping) else [dictionaries]
    for one in several:
        if not isinstance(one, Dictionary):
            raise InputError(
                f"A dictionary is expected, or several as load_dictionaries gives them; this is "
                f"{one!r:.80}."
            )
    return Dictionaries(several)


def concepts_given(concepts: Concept | Sequence[Concept]) -> list[Concept]:
    """One concept or several, as several.

    Raises:
        InputError: None, or something else.
    """
    several = [concepts] if isinstance(concepts, Concept) else list(concepts)
    if not several:
        raise InputError("There are no concepts to read: an empty list was given.")
    for one in several:
        if not isinstance(one, Concept):
            raise InputError(
                f"A Concept is expected, such as emotions.concepts() gives; this is {one!r:.80}."
            )
    return several
