"""Verdicts on steering in plain words, with the numbers that a reader can check."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

_CLAIMS = {
    "raises": "raises {words}",
    "not shown": "is not shown to raise {words}",
    "not a direction": "is not a direction towards {words}: its reverse raises them too",
    "cannot decide": "cannot be decided on",
}


def sentence(row: Mapping[str, Any]) -> str:
    """What is said of one vector in one language.

    Args:
        row: Of [`verdicts`][tl_ext.analysis.steering.verdicts].
    """
    words = row["words"]
    claim = _CLAIMS[row["verdict"]].format(words=words)
    if row["verdict"] == "raises" and row["specific"] == "no":
        claim += ", but so does the opposite concept's vector, so this is not specific"
    reasons = why(row)
    parts = [
        f"{row['vector']} in {row['language']!r} {claim}" + (f" ({reasons})." if reasons else "."),
        f"At strength {row['strength']:g}, chosen on {row['choosing']} prompts, {words} change by "
        f"{_nats(row, '')} on {row['prompts']} others.",
        _random(row),
        f"Reversed: {_nats(row, 'reverse_')}; difference {_nats(row, 'over_reverse_')}."
        if not math.isnan(row["reverse_change"])
        else "Its reverse was not tried.",
    ]
    if row["against_diffmean"]:
        parts.append(
            f"{row['diffmean']} at its own strength {row['diffmean_strength']:g}: "
            f"{row['diffmean_change']:+.2f}; against it {row['against_diffmean']}, "
            f"{_nats(row, 'over_diffmean_')}."
        )
    if not math.isnan(row["opposite_change"]):
        specific = {
            "yes": ": specific",
            "no": ": not specific",
            "not shown": ": not shown specific",
        }
        parts.append(
            f"{row['opposite']} at equal length: {_nats(row, 'opposite_')}"
            f"{specific.get(row['specific'], '')}."
        )
    if not math.isnan(row["p"]):
        parts.append(
            f"Largest of the three p: {row['p']:.2g}; adjusted for {row['tests']} tests: "
            f"{row['adjusted']:.2g}."
        )
    return " ".join(parts)


def why(row: Mapping[str, Any]) -> str:
    """Which of the conditions did not hold, where the vector is not said to raise the words."""
    if row["verdict"] == "cannot decide":
        if not row["random"]:
            return "no random vectors of equal length"
        if math.isnan(row["reverse_change"]):
            return "its reverse was not tried"
        return (
            f"{row['random']} random vectors allow no adjusted p below {row['reachable']:.2g}"
            if not math.isnan(row["p"])
            else "too few prompts"
        )
    if row["verdict"] != "not shown":
        return ""
    reasons = {
        "the interval is not above 0": not row["low"] > 0,
        f"{row['random_as_high']} of {row['random']} random vectors did as much": row["p_random"]
        > 0.05,
        "no more than its reverse": not row["over_reverse_low"] > 0,
        "its reverse may raise them too": row["reverse_change"] > 0,
    }
    told = [reason for reason, holds in reasons.items() if holds]
    return "; ".join(told) if told else "not after adjusting for several tests"


def _random(row: Mapping[str, Any]) -> str:
    if not row["random"]:
        return "Random vectors of equal length: none."
    at = row["random_strength"]
    where = "" if at == row["strength"] or math.isnan(at) else f", it at strength {at:g}"
    return (
        f"Random vectors of equal length, each at its own best strength{where}: "
        f"{row['random_as_high']} of {row['random']} did as much (p {row['p_random']:.2g})."
    )


def _nats(row: Mapping[str, Any], part: str) -> str:
    return (
        f"{row[part + 'change']:+.2f} nats (95 %: {row[part + 'low']:+.2f} to "
        f"{row[part + 'high']:+.2f})"
    )
