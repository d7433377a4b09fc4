"""The exploration's three claims about layers, each as one row with a verdict a reader can check.

1. A latent often has a counterpart in another layer.
2. A latent is more like latents of nearby layers.
3. The first layer is less like the others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypedDict

import numpy as np
import pandas as pd
from jaxtyping import Float

from tl_ext.analysis.counterparts import Share, simes
from tl_ext.analysis.intervals import Interval, share_interval
from tl_ext.analysis.layers import (
    distance_slope,
    distance_trend,
    first_layer_test,
    mean_defined,
)
from tl_ext.analysis.nulls import Decision, benjamini_hochberg, decision

EXIST = "counterparts exist"
NEARBY = "nearby layers are more alike"
FIRST = "the first layer is less alike"

AGAINST = {
    "chance": "chance",
    "firing rate": "latents that fire as often (weaker)",
    "words": "other words' top latents",
}


EVERYWHERE = {
    "shown": "shown everywhere",
    "not shown": "shown nowhere",
    "cannot decide": "cannot be decided anywhere",
}


class Claim(TypedDict):
    """A claim before its p is adjusted.

    Attributes:
        claim: Which.
        against: The null.
        value: What was measured: a share, a slope, a difference.
        low: Lower end of its 95 % interval.
        high: Upper end.
        null: What the null gives on average.
        p: Not adjusted.
        smallest: The smallest p there could be.
        units: How many of what the interval is over.
    """

    claim: str
    against: str
    value: float
    low: float
    high: float
    null: float
    p: float
    smallest: float
    units: str


def exist(tests: Sequence[Share], against: str) -> Claim:
    """Counterparts exist: the mean share over concepts, and Simes' p over their tests.

    Args:
        tests: A concept's latents over all pairs of layers, one a concept.
        against: The null: a key of `AGAINST`.
    """
    together = simes(list(tests))
    _, interval = share_interval([one.share for one in tests])
    return Claim(
        claim=EXIST,
        against=AGAINST[against],
        value=together.share,
        low=interval.low,
        high=interval.high,
        null=together.null_share,
        p=together.p,
        smallest=together.smallest,
        units=_count(tests, "concept"),
    )


def nearby(
    similarity: Float[np.ndarray, "concept draw layer layer"], layers: Sequence[int]
) -> Claim:
    """Nearby layers are more alike: the slope over distance of the mean over concepts.

    Args:
        similarity: Of the concepts' latents; the first draw is of all texts, the others of texts drawn
            again with the latents selected anew.
        layers: The layer of each row.
    """
    means = mean_defined(similarity, axis=0)
    trend = distance_trend(means[0], layers)
    slopes = np.array([distance_slope(one, layers) for one in means[1:]])
    slopes = slopes[~np.isnan(slopes)]
    # Texts drawn again are fewer distinct ones, and what is selected on them is noisier and less alike:
    # the spread of the draws is used and not their place.
    half = 1.96 * float(slopes.std(ddof=1)) if len(slopes) > 1 else math.nan
    return Claim(
        claim=NEARBY,
        against="layers in any other order",
        value=trend.slope,
        low=trend.slope - half,
        high=trend.slope + half,
        null=0.0,
        p=trend.p,
        smallest=trend.smallest,
        units="redrawn texts",
    )


def first(differences: Sequence[float], unit: str) -> Claim:
    """The first layer is less alike: the mean over units of `first_less_alike`.

    Args:
        differences: One a unit.
        unit: What a unit is: "concept", or "word" for the secondary test.
    """
    found = first_layer_test(differences)
    return Claim(
        claim=FIRST,
        against=f"no difference, over {unit}s",
        value=found.difference,
        low=found.interval.low,
        high=found.interval.high,
        null=0.0,
        p=found.p,
        smallest=found.smallest,
        units=_count(range(found.units), unit),
    )


def claims_table(claims: Sequence[Claim], labels: Sequence[dict[str, str]]) -> pd.DataFrame:
    """All claims, adjusted for how often each was tested, with what may be said.

    Args:
        claims: In any order.
        labels: For each what it is about, such as its hook points and measure; put after the claim.

    Returns:
        A row per claim: its fields, `p_adjusted` (Benjamini-Hochberg over the rows that ask one
        question), `decision`, `says`.
    """
    table = pd.DataFrame(claims, columns=list(Claim.__annotations__))
    if table.empty:
        return table
    for place, name in enumerate(labels[0], start=1):
        table.insert(place, name, [one[name] for one in labels])
    # Sign flips over words and over concepts ask of different things, so they are not one family.
    table["p_adjusted"] = table.groupby(["claim", "against"])["p"].transform(benjamini_hochberg)
    table["decision"] = [
        decision(p, smallest)
        for p, smallest in zip(table["p_adjusted"], table["smallest"], strict=True)
    ]
    table["says"] = [
        verdict(**{str(name): value for name, value in row.items()})
        for row in table[_SAID].to_dict("records")
    ]
    return table


_SAID = [*Claim.__annotations__, "p_adjusted", "decision"]
_SAID.remove("p")


def summary(table: pd.DataFrame, about: Sequence[str]) -> list[str]:
    """For each claim and null, where it was shown and where not, a sentence each.

    Args:
        table: What `claims_table` gives.
        about: Its columns that say what a row is about.
    """
    sentences = []
    for (claim, against), rows in table.groupby(["claim", "against"], sort=False):
        told = []
        for found in ("shown", "not shown", "cannot decide"):
            these = rows[rows["decision"] == found][list(about)]
            if len(these) == len(rows):
                told.append(EVERYWHERE[found])
            elif len(these):
                names = ", ".join(" by ".join(one) for one in these.itertuples(index=False))
                told.append(f"{found} for {names}")
        sentences.append(f"{str(claim).capitalize()}, against {against}: {'; '.join(told)}.")
    return sentences


def verdict(
    *,
    claim: str,
    against: str,
    value: float,
    low: float,
    high: float,
    null: float,
    p_adjusted: float,
    smallest: float,
    units: str,
    decision: Decision,
) -> str:
    """A claim's row in words."""
    if math.isnan(value):
        return f"{claim.capitalize()}: cannot decide, nothing could be measured."
    interval = "" if math.isnan(low) else f", 95 % interval over {units} {Interval(low, high)}"
    measured = {
        EXIST: f"{value:.0%} of the latents lie above the 99th percentile of {against}, {null:.1%} "
        f"under that null",
        NEARBY: f"similarity changes by {value:+.3g} for each layer further apart",
        FIRST: f"the first layer's similarity differs by {value:+.3g} from pairs as far apart",
    }[claim]
    return (
        f"{claim.capitalize()}: {decision}. {measured.capitalize()}{interval}; p {p_adjusted:.2g}, "
        f"smallest reachable {smallest:.2g}."
    )


def _count(units: Sequence[object], name: str) -> str:
    return f"{len(units)} {name}{'' if len(units) == 1 else 's'}"
