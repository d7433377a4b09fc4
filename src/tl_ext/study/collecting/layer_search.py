"""Find the counterparts of latents in other layers: one pass to choose them, one to measure them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tl_ext.activations.capture import iterate
from tl_ext.analysis.counterparts import best
from tl_ext.analysis.moments import CrossMoments, PairedMoments
from tl_ext.analysis.neighbours import nearest
from tl_ext.analysis.reflections import principal_axes, reflected, unit
from tl_ext.dictionaries.dictionary import Dictionary
from tl_ext.dictionaries.reading import encode_together, residual_directions
from tl_ext.errors import InputError
from tl_ext.models.hook_points import kind_of, layer_of

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

MEMORY = 2 * 1024**3
"""Bytes that sums over whole dictionaries may take at a time."""

Latents = Mapping[str, Int[Tensor, " n"]]


@dataclass(frozen=True)
class Family:
    """Dictionaries of one kind of hook point, each of another layer.

    Attributes:
        name: The kind: "resid_pre".
        ids: The dictionaries, in the order of their layers.
        layers: The layer of each.
    """

    name: str
    ids: tuple[str, ...]
    layers: tuple[int, ...]

    def others(self, id: str) -> list[int]:
        """The places of all but one."""
        return [place for place, other in enumerate(self.ids) if other != id]


def families(points: Mapping[str, str]) -> tuple[Family, ...]:
    """Which dictionaries can be compared layer by layer: those of one kind, where there are several.

    Args:
        points: The hook point that each dictionary reads, by id. Of several dictionaries of one layer
            the first ones make a family, the second ones another.
    """
    members: dict[str, list[tuple[int, str]]] = {}
    for id, point in points.items():
        layer = layer_of(point)
        if layer is None:
            continue
        name, again = kind_of(point), 1
        while any(layer == taken for taken, _ in members.get(name, [])):
            again += 1
            name = f"{kind_of(point)} {again}"
        members.setdefault(name, []).append((layer, id))
    return tuple(
        Family(name, tuple(id for _, id in sorted(several)), tuple(sorted(dict(several))))
        for name, several in members.items()
        if len(several) > 1
    )


@dataclass(frozen=True, eq=False)
class Found:
    """Counterparts of a dictionary's latents in the others of its family.

    Attributes:
        latent: The counterpart, -1 where there is none, as in the dictionary itself.
        similarity: To it; NaN there.
        chance: Of the tested latents to their counterparts when nothing corresponds.
    """

    latent: Int[Tensor, "n other"]
    similarity: Float[Tensor, "n other"]
    chance: Float[Tensor, "draw tested other"]


def halves(texts: Sequence[str]) -> tuple[list[str], list[str]]:
    """Every other text: the first half chooses, the second measures.

    Raises:
        InputError: Fewer than two texts.
    """
    if len(texts) < 2:
        raise InputError(
            f"{len(texts)} background text was given; one half of the texts chooses a counterpart and "
            "the other measures it, so at least two are needed."
        )
    return list(texts[::2]), list(texts[1::2])


def by_cosine(
    model: TransformerBridge,
    dictionaries: Mapping[str, Dictionary],
    family: Family,
    latents: Latents,
    tested: Latents,
    *,
    draws: int,
    seed: int,
) -> dict[str, Found]:
    """Counterparts by the cosine of decoder directions in the residual stream.

    Args:
        model: A hooked model.
        dictionaries: By id, the family's among them.
        family: Which are compared.
        latents: By id, whose counterparts are sought.
        tested: By id, the latents that chance is drawn for.
        draws: How many times directions are reflected.
        seed: Of the reflections.
    """
    whole = {id: unit(residual_directions(model, dictionaries[id])) for id in family.ids}
    own = {id: whole[id][latents[id].to(whole[id].device)] for id in family.ids}
    moved = {
        id: reflected(
            rows[tested[id].to(rows.device)], principal_axes(rows), draws=draws, seed=seed
        )
        for id, rows in whole.items()
    }
    found = {id: _empty(len(latents[id]), len(tested[id]), family, draws) for id in family.ids}
    for id, mine in found.items():
        rows = torch.cat([own[id], moved[id].flatten(0, 1)])
        for place in family.others(id):
            near = nearest(rows, whole[family.ids[place]])
            cosines, count = near.cosine[:, 0].double(), len(own[id])
            mine.latent[:, place], mine.similarity[:, place] = (
                near.index[:count, 0],
                cosines[:count],
            )
            mine.chance[:, :, place] = cosines[count:].reshape(draws, -1)
    return found


def _empty(latents: int, tested: int, family: Family, draws: int) -> Found:
    size = len(family.ids)
    return Found(
        torch.full((latents, size), -1),
        torch.full((latents, size), float("nan"), dtype=torch.float64),
        torch.full((draws, tested, size), float("nan"), dtype=torch.float64),
    )


@dataclass(frozen=True, eq=False)
class Reader:
    """Reads texts with a model, all dictionaries at the same tokens.

    Attributes:
        model: A hooked model.
        dictionaries: By id.
        batch_size: Texts in a forward pass.
        max_tokens: Cut texts to this many tokens.
        progress: The label of a progress bar; None: no bar.
    """

    model: TransformerBridge
    dictionaries: Mapping[str, Dictionary]
    batch_size: int = 32
    max_tokens: int | None = None
    progress: str | None = None

    def read(
        self, texts: Sequence[str], ids: Sequence[str]
    ) -> Iterator[dict[str, Float[Tensor, "row d_latent"]]]:
        """Latents of some dictionaries at every content token, some rows at a time."""
        several = {id: self.dictionaries[id] for id in ids}
        for part in iterate(
            self.model,
            texts,
            [one.hook_in for one in several.values()],
            batch_size=self.batch_size,
            max_tokens=self.max_tokens,
            progress=self.progress,
        ):
            yield from encode_together(several, part)


def chosen_by_correlation(
    reader: Reader,
    family: Family,
    latents: Latents,
    texts: Sequence[str],
    *,
    memory: int = MEMORY,
) -> dict[str, Int[Tensor, "n other"]]:
    """The counterpart of each latent by correlation over texts, among all latents of each dictionary.

    Args:
        reader: Of the texts.
        family: Which dictionaries are compared.
        latents: By id, whose counterparts are sought.
        texts: The half that chooses.
        memory: Bytes that sums of products may take at a time. With less the texts are read more
            often.
    """
    chosen = {id: torch.full((len(latents[id]), len(family.ids)), -1) for id in family.ids}
    for places in _passes(reader.dictionaries, family, latents, memory):
        sizes = {
            place: [len(latents[family.ids[one]]) for one in family.others(family.ids[place])]
            for place in places
        }
        moments = {
            place: CrossMoments(sum(sizes[place]), reader.dictionaries[family.ids[place]].d_latent)
            for place in places
        }
        for rows in reader.read(texts, family.ids):
            few = {id: rows[id][:, latents[id].to(rows[id].device)] for id in family.ids}
            for place, each in moments.items():
                id = family.ids[place]
                each.add(
                    torch.cat([few[family.ids[one]] for one in family.others(id)], 1), rows[id]
                )
        for place, each in moments.items():
            parts = best(each.correlation()).latent.cpu().split(sizes[place])
            for one, part in zip(family.others(family.ids[place]), parts, strict=True):
                chosen[family.ids[one]][:, place] = part
    return chosen


def _passes(
    dictionaries: Mapping[str, Dictionary], family: Family, latents: Latents, memory: int
) -> Iterator[list[int]]:
    """The dictionaries searched in each pass over the texts, so that their sums fit."""
    together: list[int] = []
    used = 0
    for place, id in enumerate(family.ids):
        rows = sum(len(latents[family.ids[one]]) for one in family.others(id))
        # The sums, and as much again while the correlations are made of them.
        needed = 2 * 8 * rows * dictionaries[id].d_latent
        if together and used + needed > memory:
            yield together
            together, used = [], 0
        together.append(place)
        used += needed
    yield together


def by_correlation(
    reader: Reader,
    family: Family,
    latents: Latents,
    tested: Latents,
    compared: Latents,
    texts: Sequence[str],
    *,
    draws: int,
    seed: int,
    memory: int = MEMORY,
) -> tuple[dict[str, Found], dict[tuple[str, str], Float[Tensor, "a b"]]]:
    """Counterparts by correlation, chosen on one half of the texts and measured on the other.

    Args:
        reader: Of the texts.
        family: Which dictionaries are compared.
        latents: By id, whose counterparts are sought.
        tested: By id, the latents among them that chance is drawn for.
        compared: By id, latents to be correlated with one another.
        texts: Background text.
        draws: How many times activations are moved along the text.
        seed: Of the moves.
        memory: See `chosen_by_correlation`.

    Returns:
        The counterparts by id, and the correlations of the compared latents for every two
        dictionaries, over the half that measures.
    """
    choose, measure = halves(texts)
    chosen = chosen_by_correlation(reader, family, latents, choose, memory=memory)
    found = {id: _empty(len(latents[id]), len(tested[id]), family, draws) for id in family.ids}
    at = {id: torch.searchsorted(latents[id], tested[id]) for id in family.ids}
    size = len(family.ids) - 1
    measured = {id: PairedMoments(len(latents[id]) * size) for id in family.ids}
    chance = {
        id: PairedMoments(len(tested[id]) * size, draws=draws, seed=seed) for id in family.ids
    }
    pairs = [(a, b) for place, a in enumerate(family.ids) for b in family.ids[place + 1 :]]
    among = {(a, b): CrossMoments(len(compared[a]), len(compared[b])) for a, b in pairs}
    for rows in reader.read(measure, family.ids):
        for id in family.ids:
            places = family.others(id)
            mine = rows[id][:, latents[id].to(rows[id].device)]
            theirs = [
                rows[family.ids[place]][:, chosen[id][:, place].clamp(min=0).to(mine.device)]
                for place in places
            ]
            measured[id].add(torch.cat([mine] * size, 1), torch.cat(theirs, 1))
            where = at[id].to(mine.device)
            chance[id].add(
                torch.cat([mine[:, where]] * size, 1),
                torch.cat([each[:, where] for each in theirs], 1),
            )
        for (a, b), each in among.items():
            each.add(*(rows[id][:, compared[id].to(rows[id].device)] for id in (a, b)))
    for id, result in found.items():
        places = family.others(id)
        partner = chosen[id][:, places]
        result.latent[:, places] = partner
        values = measured[id].correlation().cpu().reshape(size, -1).T
        result.similarity[:, places] = values.where(partner >= 0, float("nan"))
        moved = chance[id].by_chance().cpu().reshape(draws, size, -1).transpose(1, 2)
        result.chance[:, :, places] = moved.where(partner[at[id]] >= 0, float("nan"))
    return found, {pair: each.correlation().cpu() for pair, each in among.items()}
