"""Latents as dashboards: what was found about them on a stream of texts, on one card.

Records of plain values stand between the two, so that a study draws dashboards from its tables.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from tl_ext.dictionaries.example_records import DictionaryExamples, LatentExamples
from tl_ext.dictionaries.neuronpedia import ADDRESS
from tl_ext.dictionaries.sketch import edges
from tl_ext.report.dashboard import Dashboard, ShownContext, TokenWeights, digits
from tl_ext.report.marks import Marker
from tl_ext.report.wording import short
from tl_ext.study.plan import latent_name

MARKED = {"q05": 0.05, "q50": 0.5, "q95": 0.95}


def latent_dashboard(
    examples: LatentExamples | DictionaryExamples,
    id: str,
    latent: int,
    *,
    contexts: int = 10,
) -> Dashboard:
    """One latent at a glance: when and how strongly it fires, on what texts, towards which tokens.

    Args:
        examples: What [`latent_examples`][tl_ext.dictionaries.examples.latent_examples] found.
        id: The dictionary.
        latent: Which of its latents.
        contexts: How many texts are shown at most.

    Returns:
        A mark: shown in a notebook as it is, or `.save("latent.html")`.

    Raises:
        DictionaryError: There are no examples of this dictionary.
        InputError: The latent was not looked at.
    """
    mine = examples[id] if isinstance(examples, LatentExamples) else examples
    return drawn(statistics_record(mine, latent), context_records(mine, latent, contexts))


def statistics_record(mine: DictionaryExamples, latent: int) -> dict[str, Any]:
    """What is known of a latent besides its contexts, as plain values."""
    row = mine.row(latent)
    quantiles = mine.quantiles(tuple(MARKED.values()))[row].tolist()
    return {
        "dictionary": mine.id,
        "hook_point": mine.hook_point,
        "latent": latent,
        "page": f"{ADDRESS}/{mine.neuronpedia}/{latent}" if mine.neuronpedia else "",
        "fired": int(mine.tensors["fired"][row]),
        "tokens": mine.tokens,
        "largest": float(mine.largest[row]),
        "mean": float(mine.mean[row]),
        **dict(zip(MARKED, quantiles, strict=True)),
        "histogram": mine.tensors["histogram"][row].tolist(),
        "raised": [[token, round(value, 4)] for token, value in mine.raised(latent)],
        "lowered": [[token, round(value, 4)] for token, value in mine.lowered(latent)],
    }


def context_records(mine: DictionaryExamples, latent: int, most: int) -> list[dict[str, Any]]:
    """The contexts in which a latent is highest, as plain values; None where it was not read."""
    return [
        {
            "rank": rank,
            "activation": one.activation,
            "text": one.text,
            "token": one.token,
            "peak": one.peak,
            "tokens": list(one.tokens),
            "activations": [
                None if math.isnan(value) else float(f"{value:.4g}") for value in one.activations
            ],
        }
        for rank, one in enumerate(mine.contexts(latent)[:most], 1)
    ]


def drawn(
    statistics: Mapping[str, Any],
    contexts: Sequence[Mapping[str, Any]],
    facts: Sequence[tuple[str, str]] = (),
) -> Dashboard:
    """A dashboard from the records of a latent.

    Args:
        statistics: As `statistics_record` gives it.
        contexts: As `context_records` gives them.
        facts: Further names and values to tell.
    """
    fired, tokens = statistics["fired"], statistics["tokens"]
    told = [("fires on", f"{_percent(fired / tokens)} of {tokens:,} tokens")]
    if fired:
        told += [
            ("median where it fires", digits(statistics["q50"])),
            ("middle 90 %", f"{digits(statistics['q05'])} to {digits(statistics['q95'])}"),
            ("largest", digits(statistics["largest"])),
        ]
    return Dashboard(
        title=latent_name(statistics["hook_point"], statistics["latent"]),
        note=f"`{statistics['dictionary']}`, latent {statistics['latent']}",
        facts=[*told, *facts],
        edges=edges(),
        counts=statistics["histogram"],
        markers=tuple(
            Marker(value=statistics[name], label=f"{share:.0%}")
            for name, share in MARKED.items()
            if fired
        ),
        weights=tuple(
            TokenWeights(name, *zip(*statistics[end], strict=True))
            for name, end in (("Raises most", "raised"), ("Lowers most", "lowered"))
            if statistics[end]
        ),
        contexts=tuple(
            ShownContext(one["tokens"], one["activations"], one["peak"], f"text {one['text']}")
            for one in contexts
        ),
        link=statistics["page"],
    )


def _percent(share: float) -> str:
    """A share in percent, in about two digits however small."""
    return f"{short(100 * float(f'{share:.2g}'))} %"
