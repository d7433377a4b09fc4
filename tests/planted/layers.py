"""Null draws for counterparts across layers and for what layer distance does."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from tests.planted.worlds import directions, generator, sparse_activations, texts_at, turned
from torch import Tensor

from tl_ext.analysis.claims import exist
from tl_ext.analysis.counterparts import (
    Share,
    best,
    share_above,
    share_above_matched,
    simes,
)
from tl_ext.analysis.layers import distance_trend, first_layer_test, first_less_alike
from tl_ext.analysis.moments import CrossMoments, PairedMoments
from tl_ext.analysis.nulls import rank_p
from tl_ext.analysis.reflections import principal_axes, reflected, unit
from tl_ext.analysis.selection import resampled_top

WIDTH, LATENTS, TOP, LAYERS, DEEP = 16, 80, 3, 6, 24


def reflected_directions(seed: int) -> float:
    """Latents of one random decoder sought in another: the other holds no counterpart."""
    first, second = decoders(2, seed=seed)
    return chance_p(first[:TOP], first, second, seed=seed)


def reflected_about_a_mean(seed: int) -> float:
    """The same where directions share a strong mean, and spread more along some axes than others."""
    first, second = about_a_mean(seed)
    return chance_p(first[:TOP], first, second, seed=seed)


def turned_about_a_mean(seed: int) -> float:
    """Counterparts at 15 degrees, where all directions share a strong mean."""
    first, second = about_a_mean(seed)
    planted = torch.cat([second, turned(first[:TOP], 15, seed=seed)])
    return chance_p(first[:TOP], first, planted, seed=seed)


def turned_directions(seed: int) -> float:
    """Counterparts at 25 degrees in a random decoder."""
    first, second = decoders(2, seed=seed)
    planted = torch.cat([second, turned(first[:TOP], 25, seed=seed)])
    return chance_p(first[:TOP], first, planted, seed=seed)


def about_a_mean(seed: int) -> tuple[Tensor, Tensor]:
    """Two sets of directions with one strong mean, that spread more along some axes than others."""
    shape = torch.linspace(2.5, 0.3, WIDTH)
    first, second = (
        unit((torch.randn(LATENTS, WIDTH, generator=generator(2 * seed + one)) + 1) * shape)
        for one in range(2)
    )
    return first, second


def chance_p(mine: Tensor, first: Tensor, second: Tensor, *, seed: int, draws: int = 99) -> float:
    """The p of some directions' counterparts in another decoder, against reflected directions."""
    # Not the numbers the world was made of.
    drawn = reflected(mine, principal_axes(first), draws=draws, seed=seed + 10**7)
    moved = unit(drawn.flatten(0, 1))
    observed = closest(mine, second)[None]
    return share_above(observed, closest(moved, second).reshape(draws, 1, len(mine))).p


def top_at_random_vectors(seed: int) -> float:
    """Top-k at a random vector, random decoder: the top latents at one word beside those at others."""
    values = values_at_words(seed)
    return share_above(values[0], values[1:]).p


def three_concepts(seed: int) -> float:
    """The same of three words, each beside the same others, as one claim."""
    values = values_at_words(seed)
    return exist([share_above(values[one], values[3:]) for one in range(3)], "words")["p"]


def carried_word(seed: int) -> float:
    """One word's latents have copies at 20 degrees in every layer, the other words' have none.

    The dictionaries are large, as they must be: where more than one in a hundred of the words' latents
    are the concept's own, these stand above nothing.
    """
    return _carried(seed).p


def three_carried_words(seed: int) -> float:
    """Three words with copies at 20 degrees in every layer, each beside others, as one claim."""
    return exist([_carried(3 * seed + one) for one in range(3)], "words")["p"]


@lru_cache(maxsize=64)
def _carried(seed: int) -> Share:
    words = directions(40, 64, seed=seed + 5000)
    carried = torch.stack([turned(words[0], 20, seed=seed + one) for one in range(TOP)])
    layers = [torch.cat([one, carried]) for one in decoders(3, seed=seed, latents=800, width=64)]
    pairs = [(a, b) for a in range(3) for b in range(3) if a != b]
    groups = [[top_at(word, layer, seed=seed) for layer in layers] for word in words]
    values = np.stack(
        [[closest(layers[a][group[a]], layers[b]) for a, b in pairs] for group in groups]
    )
    return share_above(values[0], values[1:])


def values_at_words(seed: int, *, words: int = 33) -> np.ndarray:
    """For random words and decoders how similar the counterparts of each word's latents are
    [word pair k]."""
    vectors = directions(words, WIDTH, seed=seed + 5000)
    layers = decoders(2, seed=seed)
    pairs = ((0, 1), (1, 0))
    groups = [[top_at(word, layer, seed=seed) for layer in layers] for word in vectors]
    return np.stack(
        [[closest(layers[a][group[a]], layers[b]) for a, b in pairs] for group in groups]
    )


def matched_latents(seed: int) -> float:
    """Latents no different from those that fire as often."""
    values = np.random.default_rng(seed).beta(2, 3, size=(TOP, 41))
    return share_above_matched(values[:, 0], values[:, 1:], draws=199, seed=seed).p


def better_than_matched(seed: int) -> float:
    """Latents whose counterparts lie at 0.9, where those that fire as often reach it once in 270."""
    values = np.random.default_rng(seed).beta(2, 3, size=(TOP, 41))
    values[:, 0] = 0.9
    return share_above_matched(values[:, 0], values[:, 1:], draws=199, seed=seed).p


def better_over_pairs(seed: int) -> float:
    """Counterparts at 0.9 in two of six pairs of layers."""
    values = np.random.default_rng(seed).beta(2, 3, size=(6, TOP, 41))
    values[:2, :, 0] = 0.9
    return simes([share_above_matched(one[:, 0], one[:, 1:], draws=199) for one in values]).p


def matched_over_pairs(seed: int) -> float:
    """The same over six pairs of layers, the pairs of one layer alike, as one test."""
    random = np.random.default_rng(seed)
    values = random.beta(2, 3, size=(6, TOP, 41)) + random.beta(2, 3, size=(1, TOP, 41))
    return simes([share_above_matched(one[:, 0], one[:, 1:], draws=199) for one in values]).p


def moved_activations(seed: int) -> float:
    """Latents of two layers that fire in runs, independently: chosen on one half, measured on the other."""
    first, second = (runs(seed + 7000 * layer, latents=LATENTS // 2) for layer in (0, 1))
    return moved_p(first[:, :TOP], second, seed=seed)


def copied_activations(seed: int) -> float:
    """Latents that fire wherever others do, but for three tokens in ten."""
    mine = runs(seed, latents=TOP)
    return moved_p(mine, noisy_copies(mine, missing=0.3, seed=seed), seed=seed)


def moved_p(mine: Tensor, theirs: Tensor, *, seed: int, draws: int = 99) -> float:
    """The p of some latents' counterparts by correlation, against activations moved along the text."""
    half = len(mine) // 2
    chosen = best(correlations(mine[:half], theirs[:half])).latent
    moments = PairedMoments(mine.shape[1], draws=draws, seed=seed)
    moments.add(mine[half:], theirs[half:, chosen.clamp(min=0)])
    observed = moments.correlation().numpy()[None]
    return share_above(observed, moments.by_chance().numpy()[:, None]).p


def trend_absent(seed: int) -> float:
    """Layers that differ, but not by distance; all orders are tried."""
    return distance_trend(layer_effects(seed, LAYERS), range(LAYERS)).p


def trend_absent_deep(seed: int) -> float:
    """The same of a deep model; orders are drawn."""
    return distance_trend(layer_effects(seed, DEEP), range(DEEP), draws=199, seed=seed).p


def trend_planted(seed: int) -> float:
    """Similarity that falls by its noise for each layer further apart, over 6 layers."""
    return distance_trend(trending(np.random.default_rng(seed), slope=-0.05), range(LAYERS)).p


def trend_planted_deep(seed: int) -> float:
    """Similarity that falls by a tenth of what layers differ by, over 24 layers."""
    at = np.arange(DEEP)
    values = layer_effects(seed, DEEP) - 0.1 * abs(at[:, None] - at[None])
    return distance_trend(values, range(DEEP), draws=199, seed=seed).p


def trend_by_cells(seed: int) -> float:
    """The same world with cells permuted instead of layers, as nobody should."""
    random = np.random.default_rng(seed + 1)
    rows, columns = np.triu_indices(DEEP, k=1)
    apart, cells = columns - rows, layer_effects(seed, DEEP)[rows, columns]
    drawn = random.permuted(np.tile(cells, (199, 1)), axis=1) @ (apart - apart.mean())
    return rank_p(float(cells @ (apart - apart.mean())), drawn, alternative="less")


def first_alike(seed: int) -> float:
    """A trend with distance over eight concepts, and a first layer like any other."""
    random = np.random.default_rng(seed)
    return first_layer_test(
        [first_less_alike(trending(random, slope=-0.05), range(LAYERS)) for _ in range(8)]
    ).p


def first_unlike(seed: int) -> float:
    """A first layer that is less alike by twice the noise of a pair of layers, for 8 concepts."""
    random = np.random.default_rng(seed)
    worlds = [trending(random, slope=-0.05, first=-0.1) for _ in range(8)]
    return first_layer_test([first_less_alike(one, range(LAYERS)) for one in worlds]).p


def first_of_many_unlike(seed: int) -> float:
    """Every layer is unlike the others in a way of its own, for all concepts alike, the first no more
    than any other. The test is about this first layer, and says nothing of why."""
    random, own = np.random.default_rng(seed), 0.3 * layer_effects(seed, LAYERS)
    worlds = [trending(random, slope=-0.05) + own for _ in range(8)]
    return first_layer_test([first_less_alike(one, range(LAYERS)) for one in worlds]).p


def decoders(count: int, *, seed: int, latents: int = LATENTS, width: int = WIDTH) -> list[Tensor]:
    """Random decoders, each of its own."""
    return [directions(latents, width, seed=seed + 1000 * layer) for layer in range(count)]


def top_at(word: Tensor, decoder: Tensor, *, seed: int) -> Tensor:
    """The latents of a decoder that answer most to a word over a few texts."""
    latents = torch.relu(texts_at(word, 4, noise=0.5, seed=seed) @ decoder.T)
    return resampled_top(latents, TOP, draws=0, seed=0)[0]


def closest(rows: Tensor, others: Tensor) -> np.ndarray:
    """The cosine of each row of length 1 to the nearest of others."""
    return best(rows @ others.T).similarity.double().numpy()


def correlations(first: Tensor, second: Tensor) -> Tensor:
    moments = CrossMoments(first.shape[1], second.shape[1])
    moments.add(first, second)
    return moments.correlation()


def runs(seed: int, *, latents: int, rows: int = 600, length: int = 3) -> Tensor:
    """Latents that stay on for a few tokens, each from tokens of its own, as those of a topic do."""
    begins = sparse_activations(rows, latents, rate=0.05 / length, seed=seed)
    return torch.stack([begins.roll(later, 0) for later in range(length)]).amax(0)


def layer_effects(seed: int, layers: int) -> np.ndarray:
    """How alike layers are where each has its own tendency to be like others."""
    random = np.random.default_rng(seed)
    own = random.normal(size=layers)
    noise = np.triu(random.normal(scale=0.3, size=(layers, layers)), k=1)
    return own[:, None] + own[None] + noise + noise.T


def trending(random: np.random.Generator, *, slope: float, first: float = 0.0) -> np.ndarray:
    """How alike layers are where that depends on their distance, and on whether one is the first."""
    at = np.arange(LAYERS)
    noise = np.triu(random.normal(scale=0.05, size=(LAYERS, LAYERS)), k=1)
    values = 0.5 + slope * abs(at[:, None] - at[None]) + noise + noise.T
    values[0, 1:] += first
    values[1:, 0] += first
    return values


def noisy_copies(mine: Tensor, *, missing: float, seed: int) -> Tensor:
    """Latents of another layer that fire where these do, but for a share of the tokens."""
    kept = torch.rand(mine.shape, generator=generator(seed)) >= missing
    others = runs(seed + 1, latents=LATENTS // 2, rows=len(mine))
    return torch.cat([others, mine * kept], dim=1)
