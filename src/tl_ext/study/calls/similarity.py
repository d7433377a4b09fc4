"""How alike latents are, within a dictionary and across dictionaries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd
import torch

from tl_ext.analysis import similarity
from tl_ext.dictionaries.dictionary import Dictionary
from tl_ext.dictionaries.reading import chosen_latents
from tl_ext.errors import InputError, nearest
from tl_ext.models.hook_points import layer_of, to_residual
from tl_ext.report.marks import Heatmap
from tl_ext.study.calls.given import dictionaries_given
from tl_ext.study.drawing.latents import similarity_heatmap

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


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
