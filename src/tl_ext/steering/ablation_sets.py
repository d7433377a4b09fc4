"""Which sets of latents are taken out of which text, the set in question and its random sets.

A set is held against random sets of as many latents, active at the same word and as strong, of two
kinds. *Matched* sets are drawn text by text from latents that are not the set's: the effect is the
difference from their mean, and its interval is over texts. *Relabelled* sets are drawn once for all
texts, the set's own latents among those drawn from: which of these latents is called the set is the
label that is permuted, and the p is the rank of the set's mean effect among theirs. Matched sets could
not give a p: leaving out the set's latents makes them alike, and drawn anew in each text they average
out what one fixed set of latents keeps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool
from numpy.typing import NDArray

from tl_ext.analysis.random_sets import matched_sets
from tl_ext.steering.contributions import WordContributions

Booleans = NDArray[np.bool_]


class Planned(NamedTuple):
    """What is taken out of one text for one set.

    Attributes:
        set: The set's name.
        role: "set", "matched" or "relabelled".
        masks: Which of the text's active latents each draw takes out.
    """

    set: str
    role: str
    masks: Bool[Booleans, "draw active"]


def planned(
    read: Sequence[WordContributions],
    sets: Mapping[str, Sequence[int]],
    without: Sequence[int] = (),
    *,
    random_sets: int,
    relabelled_sets: int,
    least: int,
    seed: int,
) -> list[list[Planned]]:
    """For each text, what is to be taken out of it.

    Args:
        read: The contributions at the word of each text.
        sets: Latents by the name of their set.
        without: Latents that are out anyway.
        random_sets: How many matched sets in each text; fewer where fewer are found.
        relabelled_sets: How many relabelled sets.
        least: A set matched in fewer texts decides nothing, and gets no relabelled sets.
        seed: Of the random sets.
    """
    plans: list[list[Planned]] = [[] for _ in read]
    words = AllWords(read)
    for number, (name, latents) in enumerate(sets.items()):
        # The members of a larger set that includes this one are no strangers to it.
        family = {one for other in sets.values() if set(latents) <= set(other) for one in other}
        matched = 0
        for place, one in enumerate(read):
            mine = one.held(latents)
            plans[place].append(Planned(name, "set", mine[None]))
            if mine.any():
                drawn = matched_in_text(
                    one, latents, {*family, *without}, random_sets, seed=(seed, number, place)
                )
                plans[place].append(Planned(name, "matched", drawn))
                matched += bool(len(drawn))
        if matched < least:
            continue
        barred = {*without, *(family - set(latents))}
        drawn = words.relabelled(latents, barred, relabelled_sets, seed=(seed, number))
        for place, one in enumerate(read):
            plans[place].append(Planned(name, "relabelled", words.in_text(one, drawn)))
    return plans


def matched_in_text(
    one: WordContributions,
    latents: Sequence[int],
    barred: set[int],
    draws: int,
    *,
    seed: tuple[int, ...],
) -> Bool[Booleans, "draw active"]:
    """Sets of other latents of one text, as many and as strong as a set's, and as much at the word's
    last token; those that were found."""
    share = np.sqrt(one.last_square / np.diag(one.products))
    drawn = matched_sets(
        one.products,
        one.held(latents),
        ~one.held([*barred]),
        draws,
        seed=seed,
        features=share[:, None],
    )
    return drawn[drawn.any(1)]


class AllWords:
    """Every latent that is active at the word of any text, averaged over the texts.

    Attributes:
        latents: Which these are.
        active: The share of texts each is active in.
    """

    def __init__(self, read: Sequence[WordContributions]) -> None:
        self.latents = np.unique(np.concatenate([one.latents for one in read]))
        size = len(self.latents)
        self.products = np.zeros((size, size))
        self.active, last = np.zeros(size), np.zeros(size)
        for one in read:
            at = np.searchsorted(self.latents, one.latents)
            self.products[np.ix_(at, at)] += one.products / len(read)
            self.active[at] += 1 / len(read)
            last[at] += one.last_square / len(read)
        share = np.sqrt(last / np.diag(self.products))
        self.features = np.stack([np.log(self.active), share], axis=1)

    def relabelled(
        self, latents: Sequence[int], barred: set[int], draws: int, *, seed: tuple[int, ...]
    ) -> Bool[Booleans, "draw latent"]:
        """Sets as many as a set's latents, over all texts as strong and as often active."""
        mine = np.isin(self.latents, list(latents))
        found = matched_sets(
            self.products,
            mine,
            ~np.isin(self.latents, list(barred)),
            draws,
            seed=seed,
            features=self.features,
            counts=self.active,
        )
        # A draw for which nothing else fits is the set itself, and counts against it.
        found[~found.any(1)] = mine
        return found

    def in_text(
        self, one: WordContributions, sets: Bool[Booleans, "draw latent"]
    ) -> Bool[Booleans, "draw active"]:
        """Which of a text's active latents each set holds."""
        found: Booleans = sets[:, np.searchsorted(self.latents, one.latents)]
        return found
