"""Worlds in which taking latents out does something known.

At the word of each text some latents are active, with contributions of a constant direction and a
varying length. What taking a set out does is the squared length of its contribution as a reader sees
it, much as KL is for small changes. In a null world the set is any of the latents; where a set is
planted the reader sees its directions better than others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tl_ext.analysis.nulls import rank_p, sign_flip
from tl_ext.concepts.concept import Example
from tl_ext.steering.ablation_sets import AllWords, matched_in_text
from tl_ext.steering.contributions import WordContributions

LATENTS, WIDTH, TEXTS, SIZE = 48, 40, 30, 6
EXAMPLE = Example("the word", "word")


@dataclass(frozen=True)
class World:
    """Texts, a set of latents, and the eyes that read them."""

    texts: list[WordContributions]
    set: list[int]
    reader: Tensor

    def effects(self, one: WordContributions, masks: np.ndarray) -> np.ndarray:
        """What taking each set out of a text does."""
        seen = one.summed(masks)[:, 0] @ self.reader
        return seen.square().sum(-1).double().numpy()


def world(seed: int, *, planted: float = 0.0) -> World:
    """A world where the set's directions are seen `planted` times better (0: as all others are)."""
    random = torch.Generator().manual_seed(seed)
    directions = torch.nn.functional.normalize(
        torch.randn(LATENTS, WIDTH, generator=random), dim=-1
    )
    rate = 0.3 + 0.7 * torch.rand(LATENTS, generator=random)
    strength = torch.randn(LATENTS, generator=random).mul(0.6).exp()
    mine = torch.randperm(LATENTS, generator=random)[:SIZE]
    # A few directions matter to the reader, so that latents differ and keep their difference.
    reader = torch.randn(WIDTH, 3, generator=random)
    if planted:
        reader = torch.cat([0.3 * reader, planted * directions[mine].T], dim=1)
    texts = []
    for _ in range(TEXTS):
        active = (torch.rand(LATENTS, generator=random) < rate).nonzero().flatten()
        lengths = strength[active] * (0.3 * torch.randn(len(active), generator=random)).exp()
        texts.append(
            WordContributions(
                example=EXAMPLE,
                ids=torch.tensor([0, 1]),
                columns=torch.tensor([1]),
                latents=active.numpy(),
                pieces=(lengths[:, None] * directions[active])[None],
            )
        )
    return World(texts, mine.tolist(), reader)


def rank(given: World, *, draws: int = 39) -> float:
    """The p of the study: the set's mean effect among relabelled sets'."""
    words = AllWords(given.texts)
    drawn = words.relabelled(given.set, set(), draws, seed=(0, 0))
    own = np.mean([given.effects(one, one.held(given.set)[None]) for one in given.texts])
    others = np.mean([given.effects(one, words.in_text(one, drawn)) for one in given.texts], axis=0)
    return rank_p(float(own), others)


def relabelled(seed: int) -> float:
    return rank(world(seed))


def _matched(given: World) -> tuple[np.ndarray, np.ndarray]:
    """The set's effect in each text, and that of 19 matched sets."""
    own, others = [], []
    for place, one in enumerate(given.texts):
        if not one.held(given.set).any():
            continue
        drawn = matched_in_text(one, given.set, set(given.set), 19, seed=(0, place))
        if len(drawn) == 19:
            own.append(given.effects(one, one.held(given.set)[None])[0])
            others.append(given.effects(one, drawn))
    return np.array(own), np.array(others)


def sign_over_texts(seed: int) -> float:
    """Not to be used: every fixed set differs from the mean of its neighbours in text after text."""
    own, others = _matched(world(seed))
    return sign_flip(own - others.mean(1), most=999).p


def rank_among_matched(seed: int) -> float:
    """Not to be used: sets drawn anew in each text average out what one fixed set keeps."""
    own, others = _matched(world(seed))
    return rank_p(float(own.mean()), others.mean(0))
