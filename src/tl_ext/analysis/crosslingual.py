"""Latents that fire on a concept in several languages, beyond control words and beyond background.

Two questions are kept apart. *Belongs* is about size and asks for no p: the latent fires on at least
half of the concept's texts, on at least twice as many as its background rate would give, and on average
at least twice as strongly as at the control words in the same frames. *Shown* is about chance: of the
latents that belong, those whose p, adjusted for all live latents, is at most the level.

Every p is over texts: it is about these words in frames of this kind. That a latent answers to what
two words mean, and not to something else of these two words, is a question over words, which
`pairing` asks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from scipy.stats import binom, t
from torch import Tensor

from tl_ext.analysis.features import LEAST_SHARE
from tl_ext.analysis.nulls import LEVEL, benjamini_hochberg
from tl_ext.errors import InputError

TWICE = 2.0  # how far beyond background and controls a latent is that belongs to a concept
STRONGEST = 3  # private latents of a language that `sets` gives

SHARED, FRAME, NOT_SHOWN = "shared", "frame", "not shown"


@dataclass(frozen=True, eq=False)
class Said:
    """A concept in one language: latents at its words and at control words in the same frames.

    Attributes:
        concept: Latents at the concept's words, one row a text, means over a word's tokens.
        controls: Latents at control words; row i stands in the frame of the concept's row i. Where
            the two differ in length or share no frames they are paired in the order given, the
            surplus left out, which costs power and keeps the level.
        chance: How probable it is that the latent fires on a text by its background rate alone, see
            `firing_chance`.

    Raises:
        InputError: No pair of texts, or tensors that do not fit together.
    """

    concept: Float[Tensor, "text d_latent"]
    controls: Float[Tensor, "text d_latent"]
    chance: Float[Tensor, "text d_latent"]

    def __post_init__(self) -> None:
        shapes = [tuple(one.shape) for one in (self.concept, self.controls, self.chance)]
        if any(len(shape) != 2 for shape in shapes) or len({shape[1] for shape in shapes}) > 1:
            raise InputError(
                f"Latents of shape {shapes[0]} at the concept's words, {shapes[1]} at control words and "
                f"chances of shape {shapes[2]} were given; [text d_latent] of one dictionary is expected."
            )
        texts = min(shapes[0][0], shapes[1][0])
        if not texts or shapes[2][0] < texts:
            raise InputError(
                f"{shapes[0][0]} texts of the concept, {shapes[1][0]} of control words and "
                f"{shapes[2][0]} chances were given; at least one text with a control word, and a "
                "chance for each, is needed. Give the concept control words."
            )
        for field, one in zip(("concept", "controls", "chance"), self._given(), strict=True):
            object.__setattr__(self, field, one[:texts].double())

    def _given(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.concept, self.controls, self.chance

    def __len__(self) -> int:
        return len(self.concept)

    @cached_property
    def fires(self) -> Float[Tensor, "text d_latent"]:
        """1 where a latent fires at the concept's word."""
        return (self.concept > 0).double()

    @cached_property
    def wins(self) -> Float[Tensor, "text d_latent"]:
        """1 where a latent is higher at the concept's word than at the control word, -1 where lower."""
        return torch.sign(self.concept - self.controls)

    def belongs(
        self, weights: Float[Tensor, "draw text"] | None = None
    ) -> Bool[Tensor, "draw d_latent"]:
        """Whether each latent belongs to the concept, by size alone, in each resample of the texts.

        Args:
            weights: How often each resample holds each text; None: one draw, the texts themselves.
        """
        if weights is None:
            weights = torch.ones(1, len(self), dtype=torch.float64)
        weights = weights / weights.sum(1, keepdim=True)
        share = weights @ self.fires
        # Rounding must not decide for a latent that stands exactly at the mark.
        return (
            (share >= LEAST_SHARE - 1e-9)
            & (share >= TWICE * (weights @ self.chance) - 1e-9)
            & (weights @ self.concept >= TWICE * (weights @ self.controls) * (1 - 1e-9))
        )


def firing_chance(
    firing_rate: Float[Tensor, " d_latent"],
    background_tokens: int,
    tokens: Int[Tensor, " text"],
) -> Float[Tensor, "text d_latent"]:
    """How probable it is that a latent fires somewhere in a word, by its background rate alone.

    A word of several tokens has as many chances; tokens are taken to be independent, and where a
    latent's firings come together the chance is smaller than this. The rate counts one firing more
    than was seen, so that a latent never seen on the background is not taken for impossible.

    Args:
        firing_rate: Share of background tokens on which each latent fires.
        background_tokens: How many tokens that share is of.
        tokens: How many tokens the word of each text has, all its occurrences together.
    """
    rate = (firing_rate.double() * background_tokens + 1) / (background_tokens + 1)
    return 1 - (1 - rate.clamp(max=1)) ** tokens.double()[:, None]


def beyond_controls_p(said: Said) -> NDArray[np.float64]:
    """For each latent, p that it wins as often as it does were control and concept exchangeable.

    The sign test over frames: within a frame the two words change places with probability one half.
    Frames in which both are equal, as where the latent is silent at both, say nothing. One-sided.
    """
    won = (said.wins > 0).sum(0).numpy()
    decided = (said.wins != 0).sum(0).numpy()
    return _in_range(np.asarray(binom.sf(won - 1, decided, 0.5)))


def beyond_background_p(said: Said) -> NDArray[np.float64]:
    """For each latent, p that it fires on as many texts as it does by its background rate alone.

    Binomial, each text with its own chance (its word's number of tokens). One-sided.
    """
    latents = said.concept.shape[1]
    counts = torch.zeros(len(said) + 1, latents, dtype=torch.float64)
    counts[0] = 1
    for chance in said.chance:
        stays = counts * (1 - chance)
        stays[1:] += counts[:-1] * chance
        counts = stays
    tails = counts.flip(0).cumsum(0).flip(0)
    return _in_range(tails.gather(0, said.fires.sum(0, keepdim=True).long())[0].numpy())


def smallest_reachable(said: Said) -> NDArray[np.float64]:
    """For each latent, the smallest p of both tests that this many texts could have given."""
    background = _in_range(said.chance.prod(0).numpy())
    return np.maximum(background, 0.5 ** len(said))


def crosslingual_table(
    said: Mapping[str, Said],
    *,
    firing_rate: Float[Tensor, " d_latent"],
    norms: Float[Tensor, " d_latent"] | None = None,
    level: float = LEVEL,
) -> pd.DataFrame:
    """Which latents fire on a concept in several languages, beyond controls and beyond background.

    A language's p is the larger of two: beyond its control words (sign test over frames) and beyond
    background (binomial). A latent is shared where it is shown in every language: its p is the
    largest of theirs (an intersection-union test, which needs no further correction). A latent that
    does not belong by size has p 1 whatever the tests say. Benjamini-Hochberg over the live latents
    of this dictionary for this concept: those that fire on the background or on any of these texts.

    Args:
        said: By language, at least two; all of one dictionary.
        firing_rate: Share of background tokens on which each latent fires.
        norms: Length of each decoder direction, for contributions; None: 1.
        level: Of the tests.

    Returns:
        A row per latent that fires on any text of the concept, the strongest joint contribution first:
        `latent`, `kind`, `p` and `adjusted` (of being shared), `decision`, `firing_rate`, `live` (how
        many latents it is corrected for), and for each language `share_<l>` (of the texts it fires on),
        `activation_<l>`, `control_<l>` (means), `contribution_<l>` (activation times decoder norm),
        `net_wins_<l>`, `belongs_<l>`, `p_controls_<l>`, `p_background_<l>`, `p_<l>`, `adjusted_<l>`.
        `kind` is "shared"; "private <l>" (shown in one language, and by a 95 % interval less than half
        as far beyond its controls in every other); "shown in <l>, ..." (shown in some, nothing said of
        the others); "frame" (fires on half of the texts in every language, and by 95 % intervals at
        least half as strongly at control words); or "not shown". `decision` is about "shared": "cannot
        decide" where so few texts could not have shown it.

    Raises:
        InputError: Fewer than two languages, or tensors of several dictionaries.

    Source: Berger 1982 for intersection-union tests; Benjamini and Hochberg 1995.
    """
    evidence = _evidence(said, firing_rate)
    live = _live(said, firing_rate)
    columns: dict[str, NDArray[Any]] = {}
    for language, one in said.items():
        columns |= _language_columns(language, one, norms, live)
    p = np.max([columns[f"p_{language}"] for language in said], axis=0)
    adjusted = _adjusted(p, live)
    smallest = np.max([smallest_reachable(one) for one in said.values()], axis=0)
    shown = adjusted <= level
    # With the others as they are, would this latent at its smallest p have been shown?
    needed = level * (int(shown.sum()) + 1) / max(1, int(live.sum()))
    table = pd.DataFrame(
        {
            "latent": np.arange(evidence),
            "kind": _kinds(said, columns, shown, level),
            "p": p,
            "adjusted": adjusted,
            "decision": np.where(
                shown, "shown", np.where(smallest > needed, "cannot decide", "not shown")
            ),
            "firing_rate": firing_rate.double().numpy(),
            "live": int(live.sum()),
            **columns,
        }
    )
    fires = np.any([columns[f"share_{language}"] > 0 for language in said], axis=0)
    joint = np.min([columns[f"contribution_{language}"] for language in said], axis=0)
    order = np.lexsort((table["latent"].to_numpy(), -joint))
    ordered: pd.DataFrame = table.iloc[order[fires[order]]].reset_index(drop=True)
    return ordered


def languages_of(table: pd.DataFrame) -> tuple[str, ...]:
    """The languages of a `crosslingual_table`, in its order."""
    return tuple(
        str(name).removeprefix("share_") for name in table.columns if name.startswith("share_")
    )


def weak_shared(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of latents that fire in every language, and weakly in every one.

    They fire on at least half of the texts; their contribution is below the median of the latents that
    do so at that language's word. Whether they pass the test of being shared is in `kind`.
    """
    weak = pd.Series(True, index=table.index)
    for language in languages_of(table):
        fires = table[f"share_{language}"] >= LEAST_SHARE
        contribution = table[f"contribution_{language}"]
        weak &= fires & (contribution < contribution[fires].median())
    return table[weak]


def sets(table: pd.DataFrame, *, strongest: int = STRONGEST) -> dict[str, list[int]]:
    """Groups of latents whose effect the exploration asked about.

    Args:
        table: What `crosslingual_table` returned, of one dictionary and concept.
        strongest: How many private latents a language gives at most.

    Returns:
        Latents by the name of their group, possibly none: "weak shared" (see `weak_shared`), and for
        each language "private <l>", the strongest private ones by contribution in that language.
    """
    found = {"weak shared": weak_shared(table)["latent"].tolist()}
    for language in languages_of(table):
        private = table[table["kind"] == f"private {language}"]
        best = private.sort_values(
            [f"contribution_{language}", "latent"], ascending=[False, True]
        ).head(strongest)
        found[f"private {language}"] = best["latent"].tolist()
    return found


def _evidence(said: Mapping[str, Said], firing_rate: Tensor) -> int:
    """How many latents the evidence is about."""
    widths = {one.concept.shape[1] for one in said.values()} | {len(firing_rate)}
    if len(said) < 2 or len(widths) > 1:
        raise InputError(
            f"{len(said)} languages with {', '.join(map(str, sorted(widths)))} latents were given; at "
            "least two languages and one dictionary are expected."
        )
    return widths.pop()


def _live(said: Mapping[str, Said], firing_rate: Tensor) -> NDArray[np.bool_]:
    live = firing_rate.numpy() > 0
    for one in said.values():
        # Concept and controls alike: which of them it was must not decide who is counted.
        live = live | (one.concept > 0).any(0).numpy() | (one.controls > 0).any(0).numpy()
    return live


def _language_columns(
    language: str, said: Said, norms: Tensor | None, live: NDArray[np.bool_]
) -> dict[str, NDArray[Any]]:
    activation = said.concept.mean(0)
    belongs = said.belongs()[0].numpy()
    controls, background = beyond_controls_p(said), beyond_background_p(said)
    p = np.where(belongs, np.maximum(controls, background), 1.0)
    columns = {
        "share": said.fires.mean(0).numpy(),
        "activation": activation.numpy(),
        "control": said.controls.mean(0).numpy(),
        "contribution": (activation if norms is None else activation * norms.double()).numpy(),
        "net_wins": said.wins.mean(0).numpy(),
        "belongs": belongs,
        "p_controls": controls,
        "p_background": background,
        "p": p,
        "adjusted": _adjusted(p, live),
    }
    return {f"{name}_{language}": values for name, values in columns.items()}


def _adjusted(p: NDArray[np.float64], live: NDArray[np.bool_]) -> NDArray[np.float64]:
    return benjamini_hochberg(np.where(live, p, np.nan))


def _kinds(
    said: Mapping[str, Said],
    columns: Mapping[str, NDArray[Any]],
    shared: NDArray[np.bool_],
    level: float,
) -> NDArray[np.str_]:
    shown = {language: columns[f"adjusted_{language}"] <= level for language in said}
    kind = np.full(len(shared), NOT_SHOWN, dtype=object)
    frame = np.ones(len(shared), dtype=bool)
    for language, one in said.items():
        at_controls = _above_zero(TWICE * one.controls - one.concept)
        frame &= (columns[f"share_{language}"] >= LEAST_SHARE) & at_controls
    kind[frame] = FRAME
    names = np.array(list(said))
    several = np.stack(list(shown.values()), axis=1)
    for latent in np.flatnonzero(several.any(1)):
        kind[latent] = f"shown in {', '.join(names[several[latent]])}"
    for language, one in said.items():
        alone = shown[language] & (several.sum(1) == 1)
        for other, that in said.items():
            if other != language:
                alone &= _above_zero(
                    one.concept - one.controls, TWICE * (that.concept - that.controls)
                )
        kind[alone] = f"private {language}"
    kind[shared] = SHARED
    return kind.astype(str)


def _above_zero(
    values: Float[Tensor, "text d_latent"], less: Float[Tensor, "text d_latent"] | None = None
) -> NDArray[np.bool_]:
    """Whether the 95 % interval of each mean, less another mean, lies above 0 (Welch's, for two)."""
    sides = [values] if less is None else [values, less]
    if any(len(side) < 2 for side in sides):
        return np.zeros(values.shape[1], dtype=bool)
    errors = [(side.var(0, unbiased=True) / len(side)).numpy() for side in sides]
    mean = values.mean(0).numpy() - (0.0 if less is None else less.mean(0).numpy())
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.sqrt(sum(errors))
        freedom = error**4 / sum(e**2 / (len(s) - 1) for e, s in zip(errors, sides, strict=True))
        # Without any spread the interval is undefined, and nothing lies above it.
        above: NDArray[np.bool_] = (error > 0) & (mean - t.ppf(0.975, freedom) * error > 0)
    return above


def _in_range(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """In (0, 1]: sums round beyond 1, and products of many small chances vanish."""
    return np.clip(p, np.finfo(float).tiny, 1.0)
