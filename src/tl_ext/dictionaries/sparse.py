"""The dictionaries this package computes itself: one linear decoder and five kinds of encoder.

Equal to SAELens' own `encode` and `decode` to 1e-6, without its state: SAELens keeps the statistics
of the last input on the object, so that encoding a second batch changes how the first one decodes.
Source: sae_lens 6.54, `saes/*.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from tl_ext.dictionaries.dictionary import Normalisation, Statistics
from tl_ext.errors import DictionaryError, InputError
from tl_ext.models.loading import Processing

LAYER_NORM_EPSILON = 1e-5


def normalise(rows: Float[Tensor, "*row d_in"], how: Normalisation) -> Float[Tensor, "*row d_in"]:
    """Rows as a dictionary sees them: to mean 0 and deviation 1, to length sqrt(d_in), or as is."""
    if how == "layer_norm":
        centred = rows - rows.mean(-1, keepdim=True)
        return centred / (_deviation(centred) + LAYER_NORM_EPSILON)
    return rows / _relative_length(rows) if how == "constant_norm_rescale" else rows


def scale_and_shift(
    rows: Float[Tensor, "*row d_in"], how: Normalisation
) -> tuple[Float[Tensor, "*row 1"] | None, Float[Tensor, "*row 1"] | None]:
    """What takes normalised rows back; None for 1 and for 0."""
    if how == "layer_norm":
        mean = rows.mean(-1, keepdim=True)
        return _deviation(rows - mean), mean
    return (_relative_length(rows) if how == "constant_norm_rescale" else None), None


def _deviation(centred: Tensor) -> Tensor:
    """Standard deviation over d_in - 1, as SAELens' `std` has it."""
    length: Tensor = torch.linalg.vector_norm(centred, dim=-1, keepdim=True)
    return length / math.sqrt(max(centred.shape[-1] - 1, 1))


def _relative_length(rows: Tensor) -> Tensor:
    """Length over sqrt(d_in); a row of zeros stays one instead of becoming NaN."""
    length: Tensor = torch.linalg.vector_norm(rows, dim=-1, keepdim=True)
    return length.clamp(min=torch.finfo(rows.dtype).tiny) / math.sqrt(rows.shape[-1])


class Activation(Protocol):
    """From what the encoder matrix gives to latents."""

    def __call__(self, linear: Float[Tensor, "*row d_latent"]) -> Float[Tensor, "*row d_latent"]:
        """Latents; may change `linear` in place."""
        ...


@dataclass(frozen=True, eq=False)
class ReLU:
    """`max(0, x W_enc + b_enc)`. Source: Bricken et al. 2023, Towards Monosemanticity."""

    b_enc: Float[Tensor, " d_latent"]

    def __call__(self, linear: Float[Tensor, "*row d_latent"]) -> Float[Tensor, "*row d_latent"]:
        return linear.add_(self.b_enc).relu_()


@dataclass(frozen=True, eq=False)
class TopK:
    """The k largest pre-activations of each row, less the negative ones.

    `norms` are the decoder's row lengths where the dictionary was trained to rank by them.
    Source: Gao et al. 2024, Scaling and evaluating sparse autoencoders (arXiv 2406.04093).
    """

    b_enc: Float[Tensor, " d_latent"]
    k: int
    norms: Float[Tensor, " d_latent"] | None = None

    def __call__(self, linear: Float[Tensor, "*row d_latent"]) -> Float[Tensor, "*row d_latent"]:
        linear = linear.add_(self.b_enc)
        if self.norms is not None:
            linear = linear.mul_(self.norms)
        top = linear.topk(self.k, dim=-1, sorted=False)
        return linear.zero_().scatter_(-1, top.indices, top.values.relu())


@dataclass(frozen=True, eq=False)
class JumpReLU:
    """The pre-activation where it is above the latent's threshold (and above 0), else 0.

    Source: Rajamanoharan et al. 2024, Jumping Ahead (arXiv 2407.14435). Batch top-k dictionaries
    (Bussmann et al. 2024, arXiv 2412.06410) are read as this, with one threshold for all latents.
    """

    b_enc: Float[Tensor, " d_latent"]
    threshold: Float[Tensor, " d_latent"]
    norms: Float[Tensor, " d_latent"] | None = None

    def __call__(self, linear: Float[Tensor, "*row d_latent"]) -> Float[Tensor, "*row d_latent"]:
        linear = linear.add_(self.b_enc)
        if self.norms is not None:
            linear = linear.mul_(self.norms)
        return linear.mul_((linear > self.threshold) & (linear > 0))


@dataclass(frozen=True, eq=False)
class Gated:
    """One bias decides whether a latent is active, another how strongly.

    Source: Rajamanoharan et al. 2024, Improving Dictionary Learning with Gated Sparse Autoencoders
    (arXiv 2404.16014).
    """

    b_gate: Float[Tensor, " d_latent"]
    b_mag: Float[Tensor, " d_latent"]
    r_mag: Float[Tensor, " d_latent"]

    def __call__(self, linear: Float[Tensor, "*row d_latent"]) -> Float[Tensor, "*row d_latent"]:
        active = linear + self.b_gate > 0
        return linear.mul_(self.r_mag.exp()).add_(self.b_mag).relu() * active


@dataclass(frozen=True, eq=False)
class SparseDictionary:
    """A dictionary with a linear decoder, computed here.

    `latents = activation((normalise(x) - b_dec) @ W_enc)` and
    `decode(latents) = restore(latents @ W_dec + b_dec)`.

    Attributes:
        id: Its name among the dictionaries loaded with it.
        architecture: What its file calls it: `standard`, `topk`, `jumprelu`, `gated`, ...
        hook_in: The hook point it reads.
        hook_out: The hook point it reconstructs.
        W_enc: Encoder matrix.
        W_dec: Decoder matrix; its rows are the decoder directions.
        b_dec: Decoder bias.
        activation: From encoder products to latents; holds the encoder's biases.
        normalisation: How the input is scaled.
        restores: Whether the output is scaled back; false for transcoders, as in SAELens.
        centres_input: Whether `b_dec` is taken from the input before encoding.
        W_skip: A transcoder's skip connection.
        processing: The weight processing of the model it was trained on; None: not known.
        release: The published release it comes from.
        neuronpedia_id: Its name on Neuronpedia.
        metadata: Everything else its file says.
    """

    id: str
    architecture: str
    hook_in: str
    hook_out: str
    W_enc: Float[Tensor, "d_in d_latent"]
    W_dec: Float[Tensor, "d_latent d_out"]
    b_dec: Float[Tensor, " d_out"]
    activation: Activation
    normalisation: Normalisation = "none"
    restores: bool = True
    centres_input: bool = True
    W_skip: Float[Tensor, "d_out d_in"] | None = None
    processing: Processing | None = None
    release: str | None = None
    neuronpedia_id: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def needs_context(self) -> bool:
        """False: each row's latents depend on that row alone."""
        return False

    @property
    def d_in(self) -> int:
        """Width of what it reads."""
        return self.W_enc.shape[0]

    @property
    def d_out(self) -> int:
        """Width of what it reconstructs."""
        return self.W_dec.shape[1]

    @property
    def d_latent(self) -> int:
        """How many latents it has."""
        return self.W_dec.shape[0]

    @property
    def dtype(self) -> torch.dtype:
        """What it computes in."""
        return self.W_dec.dtype

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.W_dec.device

    @property
    def directions(self) -> Float[Tensor, "d_latent d_out"]:
        """Decoder directions: `W_dec` itself, not a copy."""
        return self.W_dec

    @property
    def bias(self) -> Float[Tensor, " d_out"]:
        """The reconstruction of no latents."""
        return self.b_dec

    def encode(self, x: Float[Tensor, "*row d_in"]) -> Float[Tensor, "*row d_latent"]:
        """Latents of activations, each row by itself.

        The answer takes `d_latent` numbers a row: give long texts in pieces.

        Args:
            x: Activations at `hook_in`, head axes flattened.

        Returns:
            Latents, in the type of `x`.

        Raises:
            InputError: Rows of another width.
        """
        rows = normalise(self._rows(x), self.normalisation)
        if self.centres_input:
            rows = rows - self.b_dec
        return self.activation(rows @ self.W_enc).to(x.dtype)

    def statistics(self, x: Float[Tensor, "*row d_in"]) -> Statistics | None:
        """What `decode` needs to know of the input; None where it needs nothing.

        Args:
            x: Activations at `hook_in`.

        Raises:
            InputError: Rows of another width.
        """
        rows = self._rows(x)
        scale, shift = scale_and_shift(rows, self.normalisation if self.restores else "none")
        if self.W_skip is not None:
            skipped = rows @ self.W_skip.T
            shift = skipped if shift is None else shift + skipped
        return None if scale is None and shift is None else Statistics(scale, shift)

    def decode(
        self, latents: Float[Tensor, "*row d_latent"], statistics: Statistics | None = None
    ) -> Float[Tensor, "*row d_out"]:
        """The reconstruction, affine in `latents`.

        Args:
            latents: What `encode` gave, edited or not.
            statistics: `self.statistics(x)` of the same rows; `NORMALISED` to stay in the
                dictionary's own space.

        Returns:
            Activations at `hook_out`, in the type of `latents`.

        Raises:
            InputError: Rows of another width.
            DictionaryError: The reconstruction depends on the input's statistics and there are none.
        """
        if latents.shape[-1] != self.d_latent:
            raise InputError(
                f"{self.id} has {self.d_latent} latents; rows of {latents.shape[-1]} were given."
            )
        if statistics is None and self._depends_on_input:
            why = "has a skip connection" if self.W_skip is not None else self.normalisation
            raise DictionaryError(
                f"{self.id} ({why}) cannot decode from latents alone: pass "
                "statistics=dictionary.statistics(x), or NORMALISED to stay in its own space."
            )
        out = torch.nn.functional.linear(latents.to(self.dtype), self.W_dec.T, self.b_dec)
        return (out if statistics is None else statistics.restore(out)).to(latents.dtype)

    def reconstruct(self, x: Float[Tensor, "*row d_in"]) -> Float[Tensor, "*row d_out"]:
        """`decode(encode(x), statistics(x))`."""
        return self.decode(self.encode(x), self.statistics(x))

    def to(
        self, device: str | torch.device | None = None, dtype: torch.dtype | None = None
    ) -> SparseDictionary:
        """The same dictionary on another device or in another type."""

        def moved(value: Any) -> Any:
            return value.to(device=device, dtype=dtype) if isinstance(value, Tensor) else value

        activation: Any = self.activation
        return replace(
            self,
            activation=replace(
                activation,
                **{one.name: moved(getattr(activation, one.name)) for one in fields(activation)},
            ),
            **{name: moved(getattr(self, name)) for name in ("W_enc", "W_dec", "b_dec", "W_skip")},
        )

    @property
    def _depends_on_input(self) -> bool:
        scaled = self.normalisation in ("layer_norm", "constant_norm_rescale")
        return self.W_skip is not None or (self.restores and scaled)

    def _rows(self, x: Tensor) -> Tensor:
        if x.shape[-1] != self.d_in:
            raise InputError(
                f"{self.id} reads rows of width {self.d_in} ({self.hook_in}, head axes flattened); "
                f"a tensor of shape {tuple(x.shape)} was given."
            )
        return x.to(self.dtype)

    def __repr__(self) -> str:
        places = (
            self.hook_in if self.hook_in == self.hook_out else f"{self.hook_in} -> {self.hook_out}"
        )
        return (
            f"SparseDictionary({self.id!r}: {self.architecture}, {places}, {self.d_in} -> "
            f"{self.d_latent} latents, normalisation {self.normalisation}, "
            f"processing {'unknown' if self.processing is None else self.processing})"
        )
