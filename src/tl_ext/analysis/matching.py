"""Which latents of two whole dictionaries belong together: nearest neighbours, mutual ones, the best
one-to-one assignment, and how much of it chance would give."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from tqdm.auto import tqdm

from tl_ext.analysis.assignment import MEMORY, Assignment, assign
from tl_ext.analysis.neighbours import Directions, Neighbours, nearest, nearest_both
from tl_ext.analysis.nulls import decision, rank_p, smallest_p
from tl_ext.analysis.reflections import parts, principal_axes, signs
from tl_ext.errors import InputError
from tl_ext.errors import nearest as nearest_names

__all__ = [
    "MEMORY",
    "AgainstNull",
    "Assignment",
    "Mutual",
    "Neighbours",
    "against_null",
    "assign",
    "mutual",
    "nearest",
    "nearest_both",
    "pairs_verdict",
    "statistics_table",
    "verdict",
]

Null = Literal["reflected", "rotated"]
"""What is done to the second set so that no row of it has anything to do with a row of the first."""

DRAWS = 99
"""Draws of a null where no other number is named."""
TAIL = 0.01
"""The share of nearest cosines that chance puts above its threshold, the 99th percentile."""
STATISTICS = {
    "mutual_share": "share of mutual neighbours",
    "mean_cosine": "mean nearest cosine",
    "above_share": "share above chance's 99th percentile",
}


@dataclass(frozen=True, eq=False)
class Mutual:
    """Pairs of directions each of which is the other's nearest.

    Attributes:
        table: A row per pair, by `latent_a`: `latent_a`, `latent_b`, `cosine`.
        forward: The nearest of each row of the first set.
        backward: The nearest of each row of the second.
    """

    table: pd.DataFrame
    forward: Neighbours
    backward: Neighbours

    @property
    def share(self) -> float:
        """Pairs as a share of the directions of the smaller set; NaN where one has none."""
        smaller = min(int((one.index[:, 0] >= 0).sum()) for one in (self.forward, self.backward))
        return len(self.table) / smaller if smaller else float("nan")


def mutual(
    first: Float[Tensor, "a d"], second: Float[Tensor, "b d"], *, progress: str | None = None
) -> Mutual:
    """Pairs that are each other's nearest.

    About half of all random directions are: of n and n, n / (2n - 1) where cosines are independent. So
    the share says nothing beside no null.

    Args:
        first: Directions, one a row.
        second: Directions in the same space, on the same device.
        progress: The label of a progress bar; None shows none.

    Raises:
        InputError: Widths or devices differ.
    """
    forward, backward = nearest_both(first, second, progress=progress)
    there, back = forward.index[:, 0], backward.index[:, 0]
    a = torch.nonzero(there >= 0).flatten()
    a = a[back[there[a]] == a]
    table = pd.DataFrame(
        {"latent_a": a, "latent_b": there[a], "cosine": forward.cosine[a, 0].double()}
    )
    return Mutual(table, forward, backward)


@dataclass(frozen=True, eq=False)
class AgainstNull:
    """Nearest neighbours beside those that chance gives.

    Attributes:
        null: Which chance.
        observed: The mutual neighbours of the two sets as they are.
        threshold: The 99th percentile of the nearest cosine under the null.
        statistics: A row per set, the observed one first, then the draws of the null: `mutual_share`,
            `mean_cosine`, `above_share`.
    """

    null: Null
    observed: Mutual
    threshold: float
    statistics: pd.DataFrame

    @property
    def table(self) -> pd.DataFrame:
        """A row per statistic: `null`, `statistic` (a column of `statistics`), `observed`, `null_mean`,
        `null_low` and `null_high` (the middle 95 % of draws), `draws`, `p`, `smallest_p`, `decision`."""
        return statistics_table(self.null, self.statistics)


@torch.no_grad()
def against_null(
    first: Float[Tensor, "a d"],
    second: Float[Tensor, "b d"],
    *,
    null: Null = "reflected",
    draws: int = DRAWS,
    seed: int = 0,
    progress: str | None = None,
) -> AgainstNull:
    """Whether directions have nearer neighbours in another set than chance gives.

    Two dictionaries of one model share a mean direction and a few wide axes, which alone bring their
    latents near to one another. The primary null keeps that. It says what "no latent has a counterpart"
    would look like:

    - "reflected": the rows of `second` at unit length, with the signs of their principal coordinates
      drawn anew, one sign an axis for all rows, apart from what goes along with the mean. The draws
      have exactly the mean and covariance of `second`, and nearly the same distances among its rows, so
      clusters and repeated rows stay too. All three statistics are valid under it. It does not keep what
      lies beyond covariance, such as a liking of both dictionaries for the same few coordinates; and
      where most rows come in near-identical pairs and the covariance is uneven, the mean nearest cosine
      rejected in about a seventh of small worlds without counterparts, not a twentieth. (Rows drawn
      from a Gaussian of the sample's mean and covariance are no such null: they add a second sampling
      error to the first, so chance looks farther than it is: they rejected in a third of them.)
    - "rotated": `second` turned as a whole by random rotations. It keeps `second` and its clusters
      exactly, and its level is exact, but for another question: whether the two sets lie in relation
      to one another at all. A shared mean is enough to reject it, in every statistic, so it is no
      evidence of counterparts.

    Statistics: the share of mutual neighbours, the mean cosine of a row of `first` with its nearest, and
    the share of rows of `first` whose nearest cosine exceeds the 99th percentile of all other sets of
    draws, the observed one taking its turn among them. Each is tested for being large.

    Args:
        first: Directions, one a row.
        second: Directions in the same space, on the same device.
        null: Which chance.
        draws: How many draws; with fewer than 19 nothing can be decided at 0.05.
        seed: Of the draws.
        progress: The label of a progress bar; None shows none.

    Raises:
        InputError: Widths or devices differ, an unknown null, or no draws.
    """
    if null not in get_args(Null):
        raise InputError(
            f"There is no null {null!r}.{nearest_names(null, get_args(Null))} There are "
            f"{', '.join(get_args(Null))}."
        )
    if draws < 1:
        raise InputError(f"{draws} draws of a null; at least 1 is expected, 19 to decide at 0.05.")
    observed = mutual(first, second)
    shares, cosines = [observed.share], [_nearest_cosines(observed)]
    with tqdm(total=draws, desc=progress, disable=progress is None, unit="draw") as bar:
        for drawn in _drawn(second, null, draws, seed):
            found = mutual(first, drawn)
            shares.append(found.share)
            cosines.append(_nearest_cosines(found))
            bar.update()
    above, threshold = _above(np.stack(cosines))
    told = pd.DataFrame(
        {
            "mutual_share": shares,
            "mean_cosine": [float(one.mean()) if one.size else np.nan for one in cosines],
            "above_share": above,
        }
    )
    return AgainstNull(null, observed, threshold, told)


def verdict(found: AgainstNull, first: str = "the first", second: str = "the second") -> str:
    """What the comparison says, in words with the numbers to check them by.

    Args:
        found: The comparison.
        first: What the first set is called.
        second: What the second set is called.
    """
    rows = found.table.set_index("statistic")
    if rows["p"].isna().any():
        return f"{first} or {second} has no direction to compare: cannot decide."
    latents = int((found.observed.forward.index[:, 0] >= 0).sum())
    said = f"{latents} latents of {first} against {second}."
    for name, what in (
        ("above_share", "nearer a latent there than 99 % of latents come by chance"),
        ("mutual_share", "mutual nearest neighbours"),
    ):
        row = rows.loc[name]
        said += (
            f" {row.observed:.1%} {what} (chance {row.null_mean:.1%}, {row.null_low:.1%} to "
            f"{row.null_high:.1%}; p = {row.p:.2g}: {row.decision})."
        )
    row = rows.loc["mean_cosine"]
    return said + (
        f" Nearest cosine {row.observed:.3f} on average (chance {row.null_mean:.3f}, "
        f"{row.null_low:.3f} to {row.null_high:.3f}; p = {row.p:.2g}: {row.decision})."
    )


def pairs_verdict(table: pd.DataFrame) -> str:
    """What comparisons of several pairs say together, in words.

    Args:
        table: A row per pair and statistic, with `statistic`, `observed`, `null_mean`, `p_adjusted` and
            `decision`.
    """
    said = []
    for name, what in (
        ("above_share", "more latents with a near counterpart than chance gives"),
        ("mutual_share", "more mutual neighbours than chance gives"),
    ):
        mine = table[table["statistic"] == name]
        open_ = int((mine["decision"] == "cannot decide").sum())
        said.append(
            f"{int((mine['decision'] == 'shown').sum())} of {len(mine)} pairs have {what} "
            f"({mine['observed'].min():.0%} to {mine['observed'].max():.0%}, by chance "
            f"{mine['null_mean'].min():.1%} to {mine['null_mean'].max():.1%}"
            + (f"; {open_} cannot be decided)." if open_ else ").")
        )
    return " ".join(said)


def _nearest_cosines(found: Mutual) -> NDArray[np.float64]:
    told: NDArray[np.float64] = found.forward.cosine[:, 0].double().numpy()
    return told[~np.isnan(told)]


def statistics_table(null: Null, statistics: pd.DataFrame) -> pd.DataFrame:
    """Each statistic beside what chance gives.

    Args:
        null: Which chance.
        statistics: A row per set, the observed one first; a column per statistic.

    Returns:
        See `AgainstNull.table`.
    """
    rows = []
    smallest = smallest_p(len(statistics) - 1)
    for name in STATISTICS:
        observed, drawn = float(statistics[name].iloc[0]), statistics[name].iloc[1:].to_numpy()
        p = rank_p(observed, drawn)
        low, high = np.quantile(drawn, [0.025, 0.975])
        rows.append(
            {
                "null": null,
                "statistic": name,
                "observed": observed,
                "null_mean": float(drawn.mean()),
                "null_low": float(low),
                "null_high": float(high),
                "draws": len(drawn),
                "p": p,
                "smallest_p": smallest,
                "decision": decision(p, smallest),
            }
        )
    return pd.DataFrame(rows)


def _above(cosines: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """The share of each set above the 99th percentile of all other sets.

    Args:
        cosines: `[set row]`.

    Returns:
        A share per set, and the threshold of the first.
    """
    sets, size = cosines.shape
    if not size:
        return np.full(sets, np.nan), float("nan")
    place = int(TAIL * (sets - 1) * size)
    # Of the largest of all, at most `size` belong to the set that is left out.
    most = min(place + size + 1, cosines.size)
    flat = cosines.ravel()
    top = np.argpartition(-flat, most - 1)[:most]
    top = top[np.argsort(-flat[top], kind="stable")]
    thresholds = np.array([flat[top[top // size != one]][place] for one in range(sets)])
    return (cosines > thresholds[:, None]).mean(1), float(thresholds[0])


def _drawn(
    second: Float[Tensor, "b d"], null: Null, draws: int, seed: int
) -> Iterator[Float[Tensor, "kept d"]]:
    """Sets of directions under the null, in float32."""
    known = Directions(second)
    unit = known.unit[: len(known)]
    width = unit.shape[1]
    if null == "rotated":
        source = torch.Generator(unit.device).manual_seed(seed)
        for _ in range(draws):
            gaussian = torch.randn(width, width, generator=source, device=unit.device)
            turn, upper = torch.linalg.qr(gaussian)
            # The signs of R's diagonal make Q uniform over all rotations (Mezzadri, math-ph/0609050).
            yield unit @ (turn * upper.diagonal().sign())
        return
    axes = principal_axes(unit)
    kept, rest = parts(unit, axes)
    for coins in signs(draws, width, seed=seed).to(unit.device):
        yield kept + (rest * coins) @ axes.axes.T
