"""Two whole dictionaries beside each other, as a call for a notebook."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from tl_ext.analysis.matching import (
    DRAWS,
    MEMORY,
    AgainstNull,
    Assignment,
    Null,
    against_null,
    assign,
    verdict,
)
from tl_ext.dictionaries.dictionary import Dictionary
from tl_ext.errors import InputError
from tl_ext.models.hook_points import RESIDUAL_KINDS, kind_of, to_residual
from tl_ext.report.marks import Histogram, Marker

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


@dataclass(frozen=True, eq=False, repr=False)
class DictionaryMatch:
    """Which latents of one dictionary have a counterpart in another, and how much of it is chance.

    Attributes:
        first: The id of the dictionary whose latents are looked at.
        second: The id of the dictionary they are looked for in.
        chance: The comparison with a null.
        assignment: The best one-to-one assignment, by the cosines' sum.
    """

    first: str
    second: str
    chance: AgainstNull
    assignment: Assignment

    @property
    def table(self) -> pd.DataFrame:
        """A row per latent of `first` that points somewhere: `latent_a`, `latent_b` (its nearest),
        `cosine`, `mutual` (whether it is that one's nearest too), `above_chance` (whether the cosine
        exceeds the null's 99th percentile), `assigned_b` and `assigned_cosine`."""
        forward, pairs = self.chance.observed.forward, self.chance.observed.table
        table = pd.DataFrame(
            {
                "latent_a": range(len(forward.index)),
                "latent_b": forward.index[:, 0],
                "cosine": forward.cosine[:, 0].double(),
                "assigned_b": self.assignment.index,
                "assigned_cosine": self.assignment.cosine,
            }
        )
        table.insert(3, "mutual", table["latent_a"].isin(pairs["latent_a"]))
        table.insert(4, "above_chance", table["cosine"] > self.chance.threshold)
        return table[table["latent_b"] >= 0].reset_index(drop=True)

    @property
    def verdict(self) -> str:
        """What the comparison says, in words with its numbers."""
        found = self.assignment
        exact = "" if found.method == "exact" else f", within {found.gap:.2%} of the largest"
        return (
            f"{verdict(self.chance, self.first, self.second)} Best one-to-one assignment: the "
            f"cosines' sum is {found.total:.1f} ({found.method}{exact})."
        )

    def figure(self) -> Histogram:
        """The nearest cosines, beside the null's 99th percentile.

        Raises:
            InputError: Neither dictionary has a direction to compare.
        """
        return Histogram(
            title=f"Nearest in {self.second}, for each latent of {self.first}",
            values=self.chance.observed.forward.cosine[:, 0].tolist(),
            bins=60,
            markers=(Marker(value=self.chance.threshold, label="99th percentile by chance"),),
            x="cosine of the decoder directions",
            y="latents",
        )

    def __repr__(self) -> str:
        return f"<DictionaryMatch of {self.first} and {self.second}>\n{self.verdict}"

    def _repr_html_(self) -> str:
        from html import escape

        return f"<p>{escape(self.verdict)}</p>{self.figure()._repr_html_()}"


def match_dictionaries(
    model: TransformerBridge | None,
    first: Dictionary,
    second: Dictionary,
    *,
    null: Null = "reflected",
    draws: int = DRAWS,
    seed: int = 0,
    memory: int = MEMORY,
    progress: bool = False,
) -> DictionaryMatch:
    """Compare two whole dictionaries by their decoder directions in the residual stream.

    Args:
        model: The model they read; None for dictionaries that lie in the residual stream already.
        first: The dictionary whose latents are looked at.
        second: The dictionary they are looked for in.
        null: What chance is, see [`against_null`][tl_ext.analysis.matching.against_null].
        draws: Draws of the null; each costs as much as the comparison itself.
        seed: Of the draws.
        memory: Bytes the exact assignment may take; above it, one among nearest neighbours.
        progress: Show a bar.

    Raises:
        InputError: No model for dictionaries outside the residual stream, dictionaries of different
            widths, an unknown null.
        HookPointError: A hook point that shares no space with the residual stream.

    Example:
        ```python
        found = match_dictionaries(model, dictionaries["blocks.2.hook_resid_pre"],
                                   dictionaries["blocks.3.hook_resid_pre"])
        found.verdict
        ```
    """
    a, b = (_directions(model, one) for one in (first, second))
    label = f"{first.id} and {second.id}" if progress else None
    chance = against_null(a, b, null=null, draws=draws, seed=seed, progress=label)
    return DictionaryMatch(first.id, second.id, chance, assign(a, b, memory))


def _directions(
    model: TransformerBridge | None, dictionary: Dictionary
) -> Float[Tensor, "d_latent d_model"]:
    """All decoder directions in the residual stream, or an error: a whole dictionary without an image
    there has nothing to be matched by."""
    with torch.no_grad():
        rows = dictionary.directions.detach().float()
        if model is not None:
            return to_residual(model, dictionary.hook_out, rows)
    if kind_of(dictionary.hook_out) not in RESIDUAL_KINDS:
        raise InputError(
            f"{dictionary.id} writes to {dictionary.hook_out}; its directions reach the residual "
            "stream through the model's weights. Give the model as well."
        )
    return rows
