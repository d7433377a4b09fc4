"""The counterpart of latents in every other layer, as a call for a notebook."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd
import torch
from jaxtyping import Int
from torch import Tensor

from tl_ext.analysis.counterparts import percentile
from tl_ext.analysis.nulls import benjamini_hochberg, decision, rank_p, smallest_p
from tl_ext.analysis.selection import matched_on_rate
from tl_ext.dictionaries.dictionary import Dictionaries, Dictionary, by_id
from tl_ext.dictionaries.reading import background_statistics
from tl_ext.errors import InputError
from tl_ext.models.hook_points import layer_of
from tl_ext.report.marks import Panels
from tl_ext.study.collecting.layer_search import (
    Family,
    Found,
    Reader,
    by_correlation,
    by_cosine,
    families,
)
from tl_ext.study.drawing.latents import counterpart_lines

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

MATCHES = 150
DRAWS = 99


@dataclass(frozen=True, eq=False, repr=False)
class Counterparts:
    """The counterparts of some latents.

    Attributes:
        table: A row per latent, measure and other dictionary: `dictionary`, `hook_point`, `layer`,
            `latent`, `measure` ("cosine" of directions in the residual stream, "correlation" of
            activations), `other`, `other_layer`, `counterpart` (-1 where there is none), `similarity`,
            `null_99_firing_rate` (the 99th percentile of the same maximum for latents of the same layer
            that fire as often), `null_99_chance` (for the latent itself when nothing corresponds), `p`
            (of a similarity at least as high among the latents that fire as often), `p_adjusted`
            (Benjamini-Hochberg over the other dictionaries), `smallest_p` (that so many latents could
            give), `decision`.
    """

    table: pd.DataFrame

    def figure(self) -> Panels:
        """For each latent and measure a line over layers, with the nulls' 99th percentiles."""
        panels = [
            counterpart_lines(rows, title=f"{dictionary}:{latent}, {measure}")
            for (dictionary, latent, measure), rows in self.table.groupby(
                ["dictionary", "latent", "measure"], sort=False
            )
        ]
        return Panels(title="Counterparts in other layers", panels=panels, columns=2, share_y="all")

    def __repr__(self) -> str:
        latents = len(self.table.drop_duplicates(["dictionary", "latent"]))
        return f"<Counterparts of {latents} latents>\n{self.table.head(6)}"

    def _repr_html_(self) -> str:
        return self.figure()._repr_html_()


def counterparts(
    model: TransformerBridge,
    dictionaries: Mapping[str, Dictionary] | Dictionary,
    latents: Mapping[str, Sequence[int]],
    texts: Sequence[str],
    *,
    seed: int = 0,
    batch_size: int = 32,
    max_tokens: int | None = None,
    progress: bool = False,
) -> Counterparts:
    """For each latent the most similar latent of every other layer, and whether that is much.

    Dictionaries of one kind of hook point are compared layer by layer. A correlation's counterpart is
    chosen on every other text and its correlation measured on the rest; otherwise the largest of many
    would look like a finding.

    Args:
        model: A hooked model.
        dictionaries: Several, of which some read the same kind of hook point in different layers.
        latents: By dictionary id, which of its latents.
        texts: Background text, at least two.
        seed: Of the nulls.
        batch_size: Texts in a forward pass.
        max_tokens: Cut texts to this many tokens; None: too long a text is an error.
        progress: Show bars.

    Raises:
        InputError: No latents, one that a dictionary lacks, or a dictionary without another layer of
            its kind beside it.

    Example:
        ```python
        found = counterparts(model, dictionaries, {"blocks.3.hook_resid_pre": [17]}, texts)
        found.table
        ```
    """
    several = Dictionaries(by_id(dictionaries).values())
    chosen = _checked(several, latents)
    every = families({id: one.hook_in for id, one in several.items()})
    concerned = [family for family in every if set(family.ids) & set(chosen)]
    alone = set(chosen) - {id for family in concerned for id in family.ids}
    if alone:
        raise InputError(
            f"{', '.join(sorted(alone))}: no other layer has a dictionary of the same kind of hook "
            "point here, so there is nothing to compare with. Load dictionaries of several layers."
        )
    reader = Reader(model, several, batch_size, max_tokens, "counterparts" if progress else None)
    rates = background_statistics(
        model,
        several.choose(ids=list(chosen)),
        texts,
        batch_size=batch_size,
        max_tokens=max_tokens,
        progress="firing rates" if progress else None,
    )
    matched = {
        id: matched_on_rate(rates[id].firing_rate, which, MATCHES, seed=seed)
        for id, which in chosen.items()
    }
    tables = []
    for family in concerned:
        none = torch.empty(0, dtype=torch.long)
        tested = {id: chosen.get(id, none) for id in family.ids}
        sought = {
            id: torch.cat([tested[id], matched[id].flatten()]).unique() if id in matched else none
            for id in family.ids
        }
        sought = {id: one[one >= 0] for id, one in sought.items()}
        for measure, found in (
            ("cosine", by_cosine(model, several, family, sought, tested, draws=DRAWS, seed=seed)),
            (
                "correlation",
                by_correlation(
                    reader,
                    family,
                    sought,
                    tested,
                    dict.fromkeys(family.ids, none),
                    texts,
                    draws=DRAWS,
                    seed=seed,
                )[0],
            ),
        ):
            for id in family.ids:
                if id in chosen:
                    rows = _rows(
                        several[id], family, sought[id], tested[id], matched[id], found[id]
                    )
                    tables.append(pd.DataFrame(rows).assign(measure=measure))
    table = pd.concat(tables, ignore_index=True)
    table.insert(4, "measure", table.pop("measure"))
    table["p_adjusted"] = table.groupby(["dictionary", "latent", "measure"])["p"].transform(
        benjamini_hochberg
    )
    table["decision"] = [
        decision(p, smallest)
        for p, smallest in zip(table["p_adjusted"], table["smallest_p"], strict=True)
    ]
    return Counterparts(table)


def _rows(
    dictionary: Dictionary,
    family: Family,
    sought: Int[Tensor, " n"],
    tested: Int[Tensor, " t"],
    matched: Int[Tensor, "t match"],
    found: Found,
) -> Iterator[dict[str, object]]:
    for place, latent in enumerate(tested.tolist()):
        at = int(torch.searchsorted(sought, latent))
        others = matched[place][matched[place] >= 0]
        like = found.similarity[torch.searchsorted(sought, others)].numpy()
        for other in family.others(dictionary.id):
            similarity = float(found.similarity[at, other])
            yield {
                "dictionary": dictionary.id,
                "hook_point": dictionary.hook_in,
                "layer": layer_of(dictionary.hook_in),
                "latent": latent,
                "other": family.ids[other],
                "other_layer": family.layers[other],
                "counterpart": int(found.latent[at, other]),
                "similarity": similarity,
                "null_99_firing_rate": percentile(like[:, other]),
                "null_99_chance": percentile(found.chance[:, place, other].numpy()),
                "p": rank_p(similarity, like[:, other]),
                "smallest_p": smallest_p(len(like)),
            }


def _checked(
    dictionaries: Dictionaries, latents: Mapping[str, Sequence[int]]
) -> dict[str, Int[Tensor, " n"]]:
    chosen = {}
    for id, which in latents.items():
        size = dictionaries[id].d_latent
        wanted = sorted(set(which))
        if wanted and not 0 <= wanted[0] <= wanted[-1] < size:
            raise InputError(
                f"{id} has {size} latents, 0 to {size - 1}; {list(which)} were asked for."
            )
        if wanted:
            chosen[id] = torch.tensor(wanted)
    if not chosen:
        raise InputError("There are no latents to find counterparts of.")
    return chosen
