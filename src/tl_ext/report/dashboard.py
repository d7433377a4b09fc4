"""One latent at a glance: when it fires, how strongly, on what texts, towards which tokens.

The mark follows what readers know from dashboards of dictionaries. It is HTML and one small drawing,
so it needs neither script nor network.

Source: Bricken et al. 2023, Towards Monosemanticity; McDougall 2024, SAE-Vis; Lin 2023, Neuronpedia.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

from tl_ext.errors import InputError
from tl_ext.report import _coerce, palette
from tl_ext.report.marks import Mark, Marker
from tl_ext.report.wording import short, visible

_FAINT, _STRONG = 0.1, 0.62
"""The part of the colour scale that is used, so that dark text reads on all of it."""
BARS = 32
"""The most bars a histogram is drawn with."""


@dataclass(frozen=True)
class ShownContext:
    """A text around a token, with an activation per token.

    Attributes:
        tokens: In order, with their own spaces.
        values: One per token; undefined where there is none.
        peak: Which token the latent is highest at.
        note: Where the text comes from.
    """

    tokens: Any
    values: Any
    peak: int
    note: str = ""

    def __post_init__(self) -> None:
        tokens = _coerce.texts(self.tokens, "ShownContext.tokens")
        values = _coerce.numbers(self.values, "ShownContext.values")
        _coerce.same_length("ShownContext", tokens=tokens, values=values)
        if not 0 <= self.peak < len(tokens):
            raise InputError(
                f"ShownContext.peak: got {self.peak}; expected the place of one of the "
                f"{len(tokens)} tokens."
            )
        for name, value in (("tokens", tokens), ("values", values)):
            object.__setattr__(self, name, value)


@dataclass(frozen=True)
class TokenWeights:
    """A list of tokens with a number each, such as one end of a logit lens.

    Attributes:
        name: What the list is of.
        tokens: In order.
        values: One per token.
    """

    name: str
    tokens: Any
    values: Any

    def __post_init__(self) -> None:
        tokens = _coerce.texts(self.tokens, "TokenWeights.tokens")
        values = _coerce.defined(self.values, "TokenWeights.values")
        _coerce.same_length("TokenWeights", tokens=tokens, values=values)
        object.__setattr__(self, "tokens", tokens)
        object.__setattr__(self, "values", values)


@dataclass(frozen=True, kw_only=True)
class Dashboard(Mark):
    """One latent.

    Attributes:
        facts: What is said of it in numbers: names and values, in order.
        edges: Edges of the histogram's bins, ascending and above 0 [bin + 1]; drawn on a logarithmic
            axis, the empty bins at both ends left out.
        counts: How often the activation fell in each [bin].
        markers: Values marked in the histogram, such as quantiles.
        weights: Lists of tokens, such as those a logit lens raises and lowers.
        contexts: Texts on which it is high, the highest first.
        link: Its public page; empty: none.
        note: Said under the title.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".html",)

    facts: Any = ()
    edges: Any = ()
    counts: Any = ()
    markers: tuple[Marker, ...] = ()
    weights: tuple[TokenWeights, ...] = ()
    contexts: tuple[ShownContext, ...] = ()
    link: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        edges = _coerce.defined(self.edges, "Dashboard.edges")
        counts = _coerce.defined(self.counts, "Dashboard.counts")
        if (edges or counts) and len(edges) != len(counts) + 1:
            raise InputError(
                f"Dashboard.edges: got {len(edges)} for {len(counts)} bins; expected one more than bins."
            )
        if any(low >= high for low, high in pairwise((0.0, *edges))):
            raise InputError(
                "Dashboard.edges: expected numbers above 0, each above the one before."
            )
        facts = tuple((_coerce.text(name), _coerce.text(value)) for name, value in self.facts)
        self._set(facts=facts, edges=edges, counts=counts, markers=tuple(self.markers))
        self._set(weights=tuple(self.weights), contexts=tuple(self.contexts))
        self._set(link=_coerce.text(self.link), note=_coerce.text(self.note))

    @property
    def largest(self) -> float:
        """The highest activation shown, at the dark end of the colours."""
        shown = [value for one in self.contexts for value in one.values if value is not None]
        return max(shown, default=0.0)

    @property
    def peaks(self) -> tuple[str, ...]:
        """The tokens it is highest at, each once, the highest first."""
        tokens = (visible(one.tokens[one.peak].strip()) for one in self.contexts)
        return tuple(dict.fromkeys(token for token in tokens if token))

    def describe(self) -> str:
        """Its facts, and how many texts are shown."""
        told = "; ".join(f"{name} {value}" for name, value in self.facts)
        return ". ".join(part for part in (self.title, told, f"{len(self.contexts)} texts") if part)

    def __repr__(self) -> str:
        return f"<Dashboard: {self.describe()}>"


@dataclass(frozen=True, kw_only=True)
class Dashboards(Mark):
    """Several latents under each other; all but the first are folded.

    Attributes:
        latents: A `Dashboard` each.
        groups: A heading for each, said where it changes; empty: none.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".html",)

    latents: Any
    groups: Any = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        latents = tuple(self.latents)
        if not latents or not all(isinstance(one, Dashboard) for one in latents):
            raise InputError(
                f"Dashboards.latents: got {len(latents)} things; expected at least one Dashboard, and "
                "nothing else."
            )
        groups = _coerce.texts(self.groups, "Dashboards.groups")
        _coerce.same_length("Dashboards", latents=latents, groups=groups or None)
        self._set(latents=latents, groups=groups)

    def describe(self) -> str:
        """Which latents."""
        return f"{self.title or 'Dashboards'}: {', '.join(one.title for one in self.latents)}"


@dataclass(frozen=True)
class _Bar:
    """A bar of a histogram, in shares of its box."""

    x: float
    width: float
    height: float
    told: str


def values_of(mark: Dashboard) -> dict[str, Any]:
    """What the template needs besides the mark itself."""
    return {
        "contexts": [_context(one, mark.largest) for one in mark.contexts],
        "weights": [_weights(one, number) for number, one in enumerate(mark.weights)],
        "histogram": histogram(mark),
        "ramp": ", ".join(shade(share) for share in (0.0, 0.5, 1.0)),
        "most": digits(mark.largest),
    }


def histogram(mark: Dashboard) -> dict[str, Any] | None:
    """Bars, ticks and markers in shares of the box; None where nothing was counted."""
    filled = [place for place, count in enumerate(mark.counts) if count]
    if not filled:
        return None
    start, end = filled[0], filled[-1] + 1
    step = math.ceil((end - start) / BARS)
    groups = [(low, min(low + step, end)) for low in range(start, end, step)]
    counts = [sum(mark.counts[low:high]) for low, high in groups]
    first, last = mark.edges[start], mark.edges[groups[-1][1]]

    def place(value: float) -> float:
        share = math.log(value / first) / math.log(last / first)
        return min(max(share, 0.0), 1.0)

    bars = [
        _Bar(
            x=place(mark.edges[low]),
            width=place(mark.edges[high]) - place(mark.edges[low]),
            height=count / max(counts),
            told=f"{short(mark.edges[low])} to {short(mark.edges[high])}: {short(count)} tokens",
        )
        for (low, high), count in zip(groups, counts, strict=True)
    ]
    return {
        "bars": bars,
        "markers": [
            {"x": place(one.value), "told": f"{one.label}: {short(one.value)}", "label": one.label}
            for one in mark.markers
            if one.value > 0
        ],
        "ticks": _ticks(first, last, place),
        "told": (
            f"Histogram of the activation where it fires, {short(sum(counts))} tokens, from "
            f"{short(first)} to {short(last)}, most often {bars[counts.index(max(counts))].told}"
        ),
    }


def _ticks(first: float, last: float, place: Any) -> list[dict[str, Any]]:
    """Round numbers 1, 2 and 5 in each decade, thinned until they stand apart."""
    decades = range(math.floor(math.log10(first)), math.ceil(math.log10(last)) + 1)
    for factors in ((1, 2, 5), (1, 3), (1,)):
        values = [factor * 10.0**decade for decade in decades for factor in factors]
        values = [value for value in values if first <= value <= last]
        places = [place(value) for value in values]
        if all(after - before >= 0.12 for before, after in pairwise(places)):
            break
    return [{"x": x, "text": short(value)} for x, value in zip(places, values, strict=True)]


def _context(context: ShownContext, largest: float) -> dict[str, Any]:
    tokens: list[dict[str, Any]] = []
    parts: list[tuple[float | None, bool]] = []
    for place, (token, value) in enumerate(zip(context.tokens, context.values, strict=True)):
        parts.append((value, place == context.peak))
        if token or place == len(context.tokens) - 1:
            tokens.append(_token(token, parts, largest))
            parts = []
    return {"tokens": tokens, "note": context.note, "peak": digits(context.values[context.peak])}


def _token(token: str, parts: list[tuple[float | None, bool]], largest: float) -> dict[str, Any]:
    """A token that shows something, with the pieces of its character that came before it."""
    known = [value for value, _ in parts if value is not None]
    highest = max(known, default=0.0)
    fill = shade(highest / largest) if highest > 0 and largest else None
    return {
        "shown": visible(token) or "∅",
        "fill": fill,
        "ink": palette.text_on(fill) if fill else None,
        "told": ", ".join("not read" if value is None else digits(value) for value, _ in parts),
        "peak": any(peak for _, peak in parts),
    }


def digits(value: float | None) -> str:
    """A number in three digits, zeros at its end kept, so that a column of them lines up."""
    if value is None or not 0.01 <= abs(value) < 1000:
        return short(value)
    return f"{value:#.3g}".rstrip(".")


def _weights(weights: TokenWeights, number: int) -> dict[str, Any]:
    most = max((abs(value) for value in weights.values), default=0.0)
    return {
        "name": weights.name,
        "number": number,
        "rows": [
            {
                "shown": visible(token, space="\u00b7") or "∅",
                "value": f"{value:+.2f}",
                "share": abs(value) / most if most else 0.0,
            }
            for token, value in zip(weights.tokens, weights.values, strict=True)
        ],
    }


def shade(share: float) -> str:
    """The colour of a token whose activation is this share of the largest shown."""
    return palette.colour_at(palette.SEQUENTIAL, _FAINT + (_STRONG - _FAINT) * min(share, 1.0))
