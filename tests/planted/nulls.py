"""The null of similarity: latents chosen at a random vector are alike, and no more than at others.

Decoders are random and encoders their transpose, so nothing is planted; yet latents that fire most at
one vector all point its way, and so are more alike than random ones.
"""

from __future__ import annotations

from functools import cache

import torch
from jaxtyping import Float
from tests.planted.worlds import (
    PlantedDictionary,
    directions,
    generator,
    near,
    random_dictionary,
    sparse_activations,
    texts_at,
)
from torch import Tensor

from tl_ext.analysis import similarity_null as nulls
from tl_ext.analysis.nulls import rank_p
from tl_ext.analysis.selection import candidates, matched_on_rate
from tl_ext.analysis.similarity import cosine

WIDTH, LATENTS, K = 48, 300, 3
WORDS, FRAMES, TOKENS, BLOCKS = 40, 6, 120, 4


def groups_at(
    dictionary: PlantedDictionary, words: Float[Tensor, "word width"], *, seed: int
) -> nulls.WordGroups:
    """The candidates of each word, what they do in its frames and on random background tokens."""
    frames = torch.stack(
        [texts_at(word, FRAMES, noise=0.7, seed=seed + i) for i, word in enumerate(words)]
    )
    found = [candidates(one, 2 * K) for one in dictionary.encode(frames)]
    latents = torch.stack([one for one, _ in found])
    rows = dictionary.encode(torch.randn(TOKENS, WIDTH, generator=generator(seed)))
    row, latent = rows.nonzero(as_tuple=True)
    block = torch.arange(TOKENS) % BLOCKS
    products, sums = nulls.background_products(
        latents,
        nulls.Firings(row, latent, rows[row, latent]),
        block,
        blocks=BLOCKS,
        d_latent=len(dictionary.directions),
    )
    return nulls.WordGroups(
        latents,
        torch.stack([values for _, values in found]),
        torch.stack([cosine(dictionary.directions[one]) for one in latents]).float(),
        products,
        sums,
        torch.bincount(block).float(),
    )


def alike(
    seed: int, axis: Float[Tensor, " width"] | None = None
) -> dict[str, Float[Tensor, " word"]]:
    """How alike the strongest latents are at random words; with an axis, latents are planted at the first."""
    words = directions(WORDS, WIDTH, seed=1000 + seed)
    dictionary = random_dictionary(LATENTS, WIDTH, seed=seed)
    if axis is not None:
        words = torch.cat([axis[None], words[1:]])
        planted = near(axis, 35.0, K, seed=seed)
        dictionary = PlantedDictionary(torch.cat([planted, dictionary.directions[K:]]))
    found = nulls.group_similarity(groups_at(dictionary, words, seed=seed), K)
    return {measure: values[0] for measure, values in found.items()}


@cache
def _null_world(seed: int) -> dict[str, Float[Tensor, " word"]]:
    return alike(seed)


def _p(values: Float[Tensor, " word"]) -> float:
    return rank_p(float(values[0]), values[1:].numpy())


def chosen_alike_by_direction(seed: int) -> float:
    """Top-k at a random vector, random decoder, against the top-k at others."""
    return _p(_null_world(seed)["cosine"])


def chosen_alike_by_activation(seed: int) -> float:
    return _p(_null_world(seed)["correlation"])


def chosen_alike_by_contribution(seed: int) -> float:
    return _p(_null_world(seed)["contributions"])


def pooled_over_dictionaries(seed: int) -> float:
    """Three dictionaries of which one is more alike throughout: its level must not count."""
    several = []
    for one in range(3):
        dictionary = random_dictionary(LATENTS, WIDTH, seed=3 * seed + one)
        latents = dictionary.encode(directions(WORDS, WIDTH, seed=9000 + 3 * seed + one))
        groups = torch.stack([candidates(word[None], K)[0] for word in latents])
        several.append(nulls.mean_over_pairs(cosine(dictionary.directions), groups))
    several[0] = several[0] + 0.5
    return _p(nulls.pooled_ranks(several, 0, torch.arange(1, WORDS)))


def chosen_against_random(seed: int) -> float:
    """The test nobody should use: the top-k at a random vector against random groups of latents.

    In the size of the shipped model's dictionaries.
    """
    dictionary = random_dictionary(1536, 192, seed=seed)
    word = directions(1, 192, seed=1000 + seed)
    chosen, _ = candidates(dictionary.encode(word), K)
    drawn = nulls.random_groups(torch.arange(1536).expand(K, -1), 99, seed=seed)
    members = torch.cat([chosen[None], drawn])
    matrix = cosine(dictionary.directions[members.flatten()])
    alike = nulls.mean_over_pairs(matrix, torch.arange(members.numel()).reshape(members.shape))
    return _p(alike)


def random_alike_in_rate(seed: int) -> float:
    """A group that nobody chose, against latents with the same firing rates: the weaker null's level."""
    rows = sparse_activations(300, 60, rate=0.2, seed=seed)
    chosen = torch.randperm(60, generator=generator(seed))[:K].tolist()
    pool = matched_on_rate((rows > 0).float().mean(0), torch.tensor(chosen), 20, seed=seed)
    drawn = nulls.random_groups(pool, 99, seed=seed)
    matrix = cosine((rows - rows.mean(0)).T)
    observed = nulls.mean_over_pairs(matrix, torch.tensor([chosen]))
    return rank_p(float(observed[0]), nulls.mean_over_pairs(matrix, drawn).numpy())


@cache
def _planted_world(seed: int) -> dict[str, Float[Tensor, " word"]]:
    return alike(seed, directions(1, WIDTH, seed=5000 + seed)[0])


def planted_alike(seed: int) -> float:
    """Latents of a concept at 35 degrees from its own direction: more alike than choosing makes them."""
    return _p(_planted_world(seed)["cosine"])


def planted_alike_by_activation(seed: int) -> float:
    """Latents of a concept at 35 degrees from its direction, compared by their activations."""
    return _p(_planted_world(seed)["correlation"])


def planted_alike_by_contribution(seed: int) -> float:
    """Latents of a concept at 35 degrees from its direction, by their contributions."""
    return _p(_planted_world(seed)["contributions"])


def planted_over_dictionaries(seed: int) -> float:
    """A word whose three latents lie at 50 degrees from it, in each of three dictionaries."""
    several = []
    for one in range(3):
        words = directions(WORDS, WIDTH, seed=9000 + 3 * seed + one)
        random = directions(LATENTS - K, WIDTH, seed=3 * seed + one)
        planted = near(words[0], 50.0, K, seed=3 * seed + one)
        dictionary = PlantedDictionary(torch.cat([planted, random]))
        groups = torch.stack([candidates(word[None], K)[0] for word in dictionary.encode(words)])
        several.append(nulls.mean_over_pairs(cosine(dictionary.directions), groups))
    return _p(nulls.pooled_ranks(several, 0, torch.arange(1, WORDS)))


def planted_together(seed: int) -> float:
    """Latents of which each does on three in ten tokens what the first of them does."""
    rows = sparse_activations(300, 60, rate=0.2, seed=seed)
    kept = torch.rand(300, K, generator=generator(seed + 10**6)) < 0.3
    rows[:, :K] = torch.where(kept, rows[:, :1], rows[:, :K])
    pool = matched_on_rate((rows > 0).float().mean(0), torch.arange(K), 20, seed=seed)
    drawn = nulls.random_groups(pool, 99, seed=seed)
    matrix = cosine((rows - rows.mean(0)).T)
    observed = nulls.mean_over_pairs(matrix, torch.arange(K)[None])
    return rank_p(float(observed[0]), nulls.mean_over_pairs(matrix, drawn).numpy())
