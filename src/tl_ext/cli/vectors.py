"""Steering vectors and strengths, as options of commands name them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tl_ext.cli import options
from tl_ext.errors import InputError

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

    from tl_ext.concepts.concept import Concept, Example
    from tl_ext.dictionaries.dictionary import Dictionaries
    from tl_ext.steering.vectors import SteeringVector


def numbers(listed: str) -> list[float]:
    """Strengths, comma-separated.

    Raises:
        InputError: Something among them is no finite number.
    """
    try:
        numbers = [float(one) for one in listed.split(",")]
    except ValueError:
        numbers = [math.nan]
    if not all(map(math.isfinite, numbers)):
        raise InputError(f"--strength {listed!r}: numbers, comma-separated, are expected.")
    return numbers


def concept_in(name: str, file: Path | None, languages: tuple[str, ...] | None) -> list[Concept]:
    """A concept in each of its languages.

    Raises:
        InputError: There is no such concept, or not in these languages.
    """
    from tl_ext.cli import chosen

    found = chosen.concepts_named([name], file, languages)
    if not found:
        raise InputError(f"{name!r} is not said in {', '.join(languages or ())}.")
    return found


def examples(name: str, file: Path | None, languages: tuple[str, ...] | None) -> list[Example]:
    """A concept's texts in all its languages."""
    return [example for one in concept_in(name, file, languages) for example in one.examples]


def of_latents(
    model: TransformerBridge,
    dictionaries: Dictionaries,
    latents: Sequence[tuple[str, int]],
    unit: options.Unit | None,
    texts: Sequence[str],
    batch_size: int,
    quiet: bool,
) -> list[SteeringVector]:
    """The directions of latents, each of a dictionary by its id, in one pass over background texts."""
    from tl_ext.dictionaries.reading import background_statistics
    from tl_ext.steering.vectors import latent_vector

    statistics = background_statistics(
        model,
        {id: dictionaries[id] for id, _ in latents},
        texts,
        batch_size=batch_size,
        max_tokens=int(model.cfg.n_ctx),
        progress=None if quiet else "background",
    )
    known = unit or options.Unit.largest
    return [
        latent_vector(dictionaries[id], latent, statistics[id], unit=known.value)
        for id, latent in latents
    ]


def of_means(
    model: TransformerBridge,
    hook_point: str,
    pair: Sequence[Sequence[Example]],
    name: str,
    unit: options.Unit | None,
    texts: Callable[[], Sequence[str]],
    batch_size: int,
) -> SteeringVector:
    """The difference of the means of two concepts' words."""
    from tl_ext.steering.vectors import USUAL_NORM, diff_of_means, hook_point_norm

    vector = diff_of_means(model, hook_point, *pair, name=name, batch_size=batch_size)
    if unit is None:
        return vector
    norm = hook_point_norm(model, hook_point, texts(), batch_size=batch_size)
    return vector.in_unit(norm, USUAL_NORM)
