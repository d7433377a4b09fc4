"""Steering vectors: a direction of length 1, and the unit its strength is counted in.

A bare vector hides how hard it pushes. Here the strength is a number of named units: 2.0 may mean
twice the largest activation the latent reached on background text, or twice the usual length of
activations at the hook point.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from tl_ext.activations.capture import iterate
from tl_ext.concepts.concept import Concept, Example
from tl_ext.concepts.spans import word_spans_many
from tl_ext.dictionaries.reading import BackgroundStatistics
from tl_ext.errors import InputError
from tl_ext.interventions.edits import Add, floating
from tl_ext.models.hook_points import row_norms, usual_norm
from tl_ext.models.tokens import listed

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

    from tl_ext.dictionaries.dictionary import Dictionary

Texts = Sequence[str] | Sequence[Example] | Concept
"""What a mean is taken over: the words of examples, or all tokens of texts."""

LARGEST = "largest activation on background text"
USUAL_NORM = "usual norm of the hook point"


@dataclass(frozen=True, eq=False)
class SteeringVector:
    """A direction at a hook point, with the unit its strength is counted in.

    Attributes:
        hook_point: Where it acts.
        direction: Its direction, of length 1; what is given is brought to that length.
        unit: The length of the vector at strength 1, in the activation's own units; positive.
        unit_name: What that length is, in words.
        name: What the vector is called in tables and figures.

    Raises:
        InputError: A direction that is zero, not finite or not of one axis; a unit that is not
            positive.
    """

    hook_point: str
    direction: Float[Tensor, " d_in"]
    unit: float
    unit_name: str
    name: str

    def __post_init__(self) -> None:
        direction = floating(self.direction, f"The direction of {self.name!r}")
        if direction.ndim != 1:
            raise InputError(
                f"The direction of {self.name!r} has shape {list(direction.shape)}; one axis, [d_in], "
                "is expected."
            )
        length = float(torch.linalg.vector_norm(direction.double()))
        if not length:
            raise InputError(
                f"The direction of {self.name!r} is the zero vector: it points nowhere."
            )
        if not (math.isfinite(self.unit) and self.unit > 0):
            raise InputError(
                f"The unit of {self.name!r} ({self.unit_name}) is {self.unit}; a positive length is "
                "expected."
            )
        object.__setattr__(self, "direction", (direction.double() / length).to(direction.dtype))

    def at(self, strength: float) -> Add:
        """The edit that adds the vector.

        Args:
            strength: How many units; negative pushes the other way, 0 changes nothing.

        Raises:
            InputError: The strength is not finite.
        """
        if not math.isfinite(strength):
            raise InputError(f"The strength of {self.name!r} is {strength}; a number is expected.")
        return Add(
            self.hook_point,
            self.direction * (self.unit * strength),
            name=f"{self.name} x {strength:g} ({self.unit_name})",
        )

    def reversed(self) -> SteeringVector:
        """The same vector the other way round: the control that tells a direction from a push."""
        return replace(self, direction=-self.direction, name=f"{self.name}, reversed")

    def random_like(self, seed: int) -> SteeringVector:
        """A control of equal norm: a direction drawn uniformly from the sphere, same unit.

        Args:
            seed: The same seed gives the same direction, on any device.
        """
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randn(len(self.direction), generator=generator)
        return replace(
            self,
            direction=drawn.to(self.direction),
            name=f"random direction {seed}, normed as {self.name}",
        )

    def in_unit(self, unit: float, unit_name: str) -> SteeringVector:
        """The same direction with its strength counted in another unit."""
        return replace(self, unit=float(unit), unit_name=unit_name)

    def __repr__(self) -> str:
        return (
            f"<SteeringVector {self.name!r} at {self.hook_point}, width {len(self.direction)}; "
            f"strength 1 is {self.unit:.4g}, the {self.unit_name}>"
        )


def tensor_vector(
    tensor: Float[Tensor, " d_in"],
    hook_point: str,
    *,
    unit: float | None = None,
    unit_name: str | None = None,
    name: str = "tensor",
) -> SteeringVector:
    """Any tensor as a steering vector.

    Args:
        tensor: The vector; its length is the unit unless one is given.
        hook_point: Where it acts.
        unit: The length at strength 1; None: the tensor's own.
        unit_name: What that length is, in words.
        name: What to call it.

    Raises:
        InputError: The tensor is zero, not finite or not of one axis.
    """
    direction = floating(tensor, f"The tensor {name!r}")
    own = float(torch.linalg.vector_norm(direction.double()))
    # A zero vector is told of as such, not as a unit of 0.
    length = (own or 1.0) if unit is None else float(unit)
    words = unit_name or ("given unit" if unit is not None else "tensor's own norm")
    return SteeringVector(hook_point, direction, length, words, name)


def latent_vector(
    dictionary: Dictionary,
    latent: int,
    background: BackgroundStatistics | float,
    *,
    unit: Literal["largest", "usual norm"] = "largest",
    name: str | None = None,
) -> SteeringVector:
    """The decoder direction of a latent.

    Args:
        dictionary: The dictionary; the vector acts at its `hook_out`.
        latent: Which latent, counted from 0.
        background: Where the unit comes from: statistics over background text
            ([`background_statistics`][tl_ext.dictionaries.reading.background_statistics]), or the
            number itself (the latent's largest activation, or the hook point's usual norm).
        unit: "largest": strength 1 adds what the latent adds at its largest activation, that is the
            activation times the decoder direction. "usual norm": strength 1 is as long as the median
            activation at the hook point.
        name: What to call it; None: the latent and its dictionary.

    Raises:
        InputError: No such latent; statistics of several dictionaries; a latent without direction or
            one that never fired on the background; "largest" for a dictionary whose latents have no
            fixed length in the activation (it normalises each input); "usual norm" from statistics of
            another hook point.

    Source: Wu et al. 2025, AxBench (arXiv 2501.17148), for the first unit.
    """
    if unit not in ("largest", "usual norm"):
        raise InputError(f'unit is {unit!r}; "largest" or "usual norm" is expected.')
    if isinstance(background, Mapping):
        raise InputError(
            f"The background statistics of one dictionary are expected, not those of "
            f"{len(background)} by id: pass background[{dictionary.id!r}]."
        )
    if not 0 <= latent < dictionary.d_latent:
        raise InputError(
            f"The dictionary {dictionary.id!r} has no latent {latent}: it has {dictionary.d_latent}, "
            "counted from 0."
        )
    direction = dictionary.directions[latent].detach().float()
    name = name or f"latent {latent} of {dictionary.id}"
    if unit == "usual norm":
        if isinstance(background, BackgroundStatistics):
            if dictionary.hook_in != dictionary.hook_out:
                raise InputError(
                    f"The background statistics are of {dictionary.hook_in} and {name} acts at "
                    f"{dictionary.hook_out}: pass that hook point's usual norm as a number, see "
                    "hook_point_norm."
                )
            background = background.usual_norm
        return SteeringVector(dictionary.hook_out, direction, float(background), USUAL_NORM, name)
    if dictionary.normalisation in ("constant_norm_rescale", "layer_norm"):
        raise InputError(
            f"The dictionary {dictionary.id!r} normalises each input ({dictionary.normalisation}), so "
            "a latent's activation has no fixed length in the activation. Pass unit='usual norm'."
        )
    largest = float(
        background.largest[latent] if isinstance(background, BackgroundStatistics) else background
    )
    if largest <= 0:
        raise InputError(
            f"The largest activation of {name} on the background text is {largest:g}: a latent that "
            "never fired has no unit of its own. Choose another, or pass unit='usual norm'."
        )
    norm = float(torch.linalg.vector_norm(direction))
    return SteeringVector(dictionary.hook_out, direction, (norm or 1.0) * largest, LARGEST, name)


def diff_of_means(
    model: TransformerBridge,
    hook_point: str,
    positive: Texts,
    negative: Texts,
    *,
    name: str | None = None,
    batch_size: int = 32,
) -> SteeringVector:
    """The mean activation on one set less that on another, the baseline every latent has to beat.

    Of a concept or examples the word's tokens are read; of plain texts all their tokens. Prefix,
    padding and the first position are left out. Tokens are averaged within a text, then the texts.

    Args:
        model: A hooked model.
        hook_point: Where to read, and where the vector acts.
        positive: What to push towards: texts, examples, or a concept (its examples).
        negative: What to push away from.
        name: What to call it; None: made from the concepts' names.
        batch_size: Texts in a forward pass.

    Returns:
        The vector; its unit is the length of the difference.

    Raises:
        InputError: A set is empty or leaves no token to read, or the two means are equal.
        WordNotFoundError: A word that does not stand in its text.
        HookPointError: A hook point the model lacks.

    Source: Marks and Tegmark 2023, The Geometry of Truth (arXiv 2310.06824); a mandatory baseline
    after CLaS-Bench (arXiv 2601.08331).
    """
    means = [_mean(model, hook_point, texts, batch_size) for texts in (positive, negative)]
    name = name or f"difference of means, {_label(positive)} - {_label(negative)}"
    return tensor_vector(
        means[0] - means[1], hook_point, unit_name="norm of the difference of means", name=name
    )


def combine(
    vectors: Sequence[SteeringVector],
    weights: Sequence[float] | None = None,
    *,
    name: str | None = None,
) -> SteeringVector:
    """The weighted sum of several vectors at one hook point, each at strength 1.

    Args:
        vectors: The vectors.
        weights: One for each; None: all 1.
        name: What to call the sum; None: the names joined.

    Returns:
        The sum; its unit is its own length.

    Raises:
        InputError: No vectors, another number of weights, several hook points or widths, or a sum of
            zero.
    """
    vectors = list(vectors)
    if not vectors:
        raise InputError("There are no vectors to combine: an empty list was given.")
    weights = [1.0] * len(vectors) if weights is None else [float(each) for each in weights]
    if len(weights) != len(vectors):
        raise InputError(
            f"There are {len(vectors)} vectors and {len(weights)} weights; one weight a vector is "
            "expected."
        )
    places = list(dict.fromkeys((each.hook_point, len(each.direction)) for each in vectors))
    if len(places) > 1:
        listed = ", ".join(f"{point} (width {width})" for point, width in places)
        raise InputError(
            f"The vectors act at different hook points: {listed}. Combine those of one hook point, "
            "and pass the others as further edits."
        )
    total = torch.stack(
        [vector.at(weight).vector for vector, weight in zip(vectors, weights, strict=True)]
    ).sum(0)
    name = name or " + ".join(
        vector.name if weight == 1 else f"{weight:g} x {vector.name}"
        for vector, weight in zip(vectors, weights, strict=True)
    )
    return tensor_vector(total, vectors[0].hook_point, unit_name="norm of the sum", name=name)


def hook_point_norm(
    model: TransformerBridge, hook_point: str, texts: Sequence[str], *, batch_size: int = 32
) -> float:
    """The median length of activations at a hook point over the tokens of texts.

    Prefix, padding and first positions are left out: their massive activations are not usual.

    Args:
        model: A hooked model.
        hook_point: Where to read.
        texts: Background text.
        batch_size: Texts in a forward pass.

    Raises:
        InputError: No texts, or texts that leave no token to read.
        HookPointError: A hook point the model lacks.
    """
    norms = [
        row_norms(part.activations[hook_point][part.batch.content])
        for part in iterate(model, texts, [hook_point], batch_size=batch_size)
    ]
    if not sum(map(len, norms)):
        raise InputError("The texts leave no token to read once prefix and first position are out.")
    return usual_norm(norms)


def _mean(
    model: TransformerBridge, hook_point: str, texts: Texts, batch_size: int
) -> Float[Tensor, " d_in"]:
    items: list[str | Example] = listed(texts.examples if isinstance(texts, Concept) else texts)
    strings = [item.text if isinstance(item, Example) else item for item in items]
    words = [item.word for item in items if isinstance(item, Example)]
    if words and len(words) < len(items):
        raise InputError("Examples and plain texts are mixed in one set; give one kind.")
    spans = word_spans_many(model.tokenizer, strings, words) if words else None
    means: list[Tensor] = []
    for part in iterate(model, strings, [hook_point], batch_size=batch_size):
        activation = part.activations[hook_point].float()
        cells = part.batch.content
        if spans is not None:
            cells = cells & part.batch.cells([spans[text] for text in part.texts.tolist()])
        means += [
            rows[where].mean(0)
            for rows, where in zip(activation, cells, strict=True)
            if bool(where.any())
        ]
    if not means:
        raise InputError(
            "The texts leave no token to read once prefix and first position are out: give longer "
            "ones, or words further in."
        )
    return torch.stack(means).mean(0).cpu()


def _label(texts: Texts) -> str:
    if isinstance(texts, Concept):
        return texts.label
    return f"{len(texts)} {'examples' if isinstance(texts[0], Example) else 'texts'}"
