"""The card of the embedded model: every figure measured on the files as they are shipped.

Weights are read back after their rounding to float16 and computed in float32, so the card speaks of
what a user gets. Each aim is stated beside what came out, missed ones too.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from safetensors import safe_open
from tqdm.auto import tqdm

from tl_ext.activations.store import replacing
from tl_ext.dictionaries.loading import load_dictionaries
from tl_ext.dictionaries.quality import evaluate_dictionary
from tl_ext.models.loading import load_model
from tl_ext.testbed import VERSION
from tl_ext.testbed.corpus import Split, documents
from tl_ext.testbed.measures import prediction_report, translation_report

CARD = "card.json"
READABLE_CARD = "CARD.md"

ATTRIBUTION = (
    "Trained on English and French sentences of Tatoeba (https://tatoeba.org), licensed CC-BY 2.0 FR "
    "(https://creativecommons.org/licenses/by/2.0/fr/), as paired by https://www.manythings.org/anki/. "
    "The sentences themselves are not distributed with the package."
)
"""Owed wherever the weights go."""

# What the figures of a dictionary are aimed at: the measure, and whether less or more is better.
AIMS: Mapping[str, tuple[float, str]] = {
    "fvu": (0.10, "at most"),
    "dead_share": (0.20, "at most"),
    "ce_recovered": (0.95, "at least"),
}


def measure(
    folder: Path,
    split: Split,
    *,
    seed: int,
    record: Mapping[str, Any],
    evaluated_tokens: int = 20_000,
    progress: bool = True,
) -> dict[str, Any]:
    """Measure everything the card states.

    Args:
        folder: A finished build.
        split: The pairs as they were split for it.
        seed: Of the build; makes the held-out documents.
        record: What `build.json` holds.
        evaluated_tokens: Held-out tokens, roughly, that each dictionary is judged on.
        progress: Show a bar over the dictionaries.

    Returns:
        JSON values, see `card.json` of the shipped weights.
    """
    model = load_model(folder, device="cpu")
    held_out = documents(split.held_out, seed=seed)
    dictionaries = load_dictionaries(folder / "dictionaries")
    texts = _texts_of_about(model.tokenizer, [one.text for one in held_out], evaluated_tokens)
    quality: dict[str, dict[str, Any]] = {}
    for dictionary in tqdm(
        dictionaries.values(), desc="judging dictionaries", disable=not progress
    ):
        found = evaluate_dictionary(model, dictionary, texts, max_tokens=int(model.cfg.n_ctx))
        quality[dictionary.id] = {
            "d_in": dictionary.d_in,
            "d_latent": dictionary.d_latent,
            **_defined(asdict(found.content)),
            "all_tokens": _defined(asdict(found.all_tokens)),
            "warnings": list(found.warnings),
        }
    return {
        "name": "testbed",
        "version": VERSION,
        "languages": ["en", "fr"],
        "attribution": ATTRIBUTION,
        "licence_of_sentences": "CC-BY 2.0 FR",
        "model": {
            **record["settings"]["shape"],
            "architecture": "GPT-2",
            "vocabulary": len(model.tokenizer),
            "parameters": stored_numbers(folder / "model.safetensors"),
            "held_out": prediction_report(model, held_out),
            "translation": translation_report(model, split.held_out),
        },
        "dictionaries": quality,
        "aims": {name: f"{way} {aim}" for name, (aim, way) in AIMS.items()},
        "missed": missed_aims(quality),
        "build": dict(record),
        "files": file_hashes(folder),
    }


def missed_aims(quality: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """One sentence for each aim that a dictionary misses; a figure that is undefined misses it."""
    missed = []
    for id, figures in quality.items():
        for name, (aim, way) in AIMS.items():
            value = figures.get(name)
            reached = value is not None and (value <= aim if way == "at most" else value >= aim)
            if not reached:
                shown = "undefined" if value is None else f"{value:.3f}"
                missed.append(f"{id}: {name} is {shown}, expected {way} {aim}")
    return missed


def stored_numbers(file: Path) -> int:
    """How many numbers a safetensors file holds; tied weights are stored, and counted, once."""
    with safe_open(file, framework="pt") as stored:
        names = list(stored.keys())
        return sum(math.prod(stored.get_slice(name).get_shape()) for name in names)


def file_hashes(folder: Path) -> dict[str, dict[str, Any]]:
    """Size and SHA-256 of every file of a build but the card, the record, and hidden files."""
    found = {}
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder)
        own = name.as_posix() in (CARD, READABLE_CARD, "build.json")
        if file.is_file() and not own and not any(part.startswith(".") for part in name.parts):
            content = file.read_bytes()
            digest = hashlib.sha256(content).hexdigest()
            found[name.as_posix()] = {"bytes": len(content), "sha256": digest}
    return found


def write_card(card: Mapping[str, Any], folder: Path) -> None:
    """Write `card.json` and, from the same figures, `CARD.md`.

    Args:
        card: As `measure` returned it.
        folder: Of the build.
    """
    templates = Environment(
        loader=PackageLoader("tl_ext.testbed", "."),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown, of our own figures
    )
    with replacing(folder / CARD) as file:
        text = json.dumps(card, indent=1, ensure_ascii=False, allow_nan=False)
        file.write_text(text + "\n", encoding="utf-8")
    with replacing(folder / READABLE_CARD) as file:
        file.write_text(templates.get_template("CARD.md.jinja").render(card=card), encoding="utf-8")


def _texts_of_about(tokenizer: Any, texts: Sequence[str], tokens: int) -> list[str]:
    """The first texts that hold so many tokens together."""
    chosen, held = [], 0
    for text in texts:
        if held >= tokens:
            break
        chosen.append(text)
        held += len(tokenizer(text, verbose=False)["input_ids"])
    return chosen


def _defined(figures: Mapping[str, float]) -> dict[str, float | None]:
    """JSON has no NaN: an undefined figure becomes null."""
    return {name: value if math.isfinite(value) else None for name, value in figures.items()}
