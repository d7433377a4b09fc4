"""What an edit does to an activation.

An edit is a frozen record. It is given the activation at its hook point `[batch token d_in]` and the
cells to act on, and gives back a new activation; cells it does not act on, and cells where it has
nothing to do, come back bit by bit. Edits of latents keep the dictionary's error term: they add what
the change of the latents changes in the reconstruction, so an imperfect dictionary costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tl_ext.errors import DictionaryError, InputError

Where = Bool[Tensor, "batch token"] | None
"""The cells to act on; None: all of them."""


class LatentSpace(Protocol):
    """What edits use of a [`Dictionary`][tl_ext.dictionaries.dictionary.Dictionary]."""

    @property
    def id(self) -> str: ...
    @property
    def hook_in(self) -> str: ...
    @property
    def hook_out(self) -> str: ...
    @property
    def d_in(self) -> int: ...
    @property
    def d_latent(self) -> int: ...
    @property
    def needs_context(self) -> bool: ...
    @property
    def directions(self) -> Float[Tensor, "d_latent d_out"]: ...
    def encode(self, x: Float[Tensor, "*row d_in"]) -> Float[Tensor, "*row d_latent"]: ...
    def statistics(self, x: Float[Tensor, "*row d_in"]) -> Any: ...
    def decode(
        self, latents: Float[Tensor, "*row d_latent"], statistics: Any = None
    ) -> Float[Tensor, "*row d_out"]: ...


@runtime_checkable
class Edit(Protocol):
    """Anything [`applied`][tl_ext.interventions.applied.applied] can put into a model."""

    @property
    def hook_point(self) -> str:
        """The hook point whose activation is changed."""
        ...

    @property
    def reads(self) -> str:
        """The hook point whose activation decides the change; `hook_point` again for most edits."""
        ...

    @property
    def needs_context(self) -> bool:
        """Whether a token's edit depends on the tokens before it."""
        ...

    def apply(
        self,
        activation: Float[Tensor, "batch token d_in"],
        where: Where = None,
        *,
        read: Float[Tensor, "batch token d_read"] | None = None,
    ) -> Float[Tensor, "batch token d_in"]:
        """The edited activation.

        Args:
            activation: What stands at `hook_point`; it is not changed in place.
            where: The cells to act on; None: all.
            read: What stands at `reads`, where that is another hook point.

        Returns:
            A tensor of the same shape and dtype.
        """
        ...


@dataclass(frozen=True, eq=False)
class Add:
    """Add one vector to the activation, the edit of activation steering.

    Computed in the wider of the two types and given back in the activation's.

    Attributes:
        hook_point: Where to add it.
        vector: What to add, in the activation's own units.
        name: What it is called where edits are listed.

    Raises:
        InputError: The vector is not a finite tensor of one axis.
    """

    hook_point: str
    vector: Float[Tensor, " d_in"]
    name: str = "a vector"
    needs_context: bool = field(default=False, init=False, repr=False)

    def __post_init__(self) -> None:
        vector = floating(self.vector, f"The vector to add at {self.hook_point}")
        if vector.ndim != 1:
            raise InputError(
                f"The vector to add at {self.hook_point} has shape {list(vector.shape)}; one axis, "
                "[d_in], is expected."
            )
        object.__setattr__(self, "vector", vector)
        # x + 0 is not bit-equal to x where x is -0.
        object.__setattr__(self, "_nothing", not bool(vector.any()))

    @property
    def reads(self) -> str:
        """The hook point it changes."""
        return self.hook_point

    def apply(
        self, activation: Tensor, where: Where = None, *, read: Tensor | None = None
    ) -> Tensor:
        """The activation plus the vector.

        Raises:
            InputError: The vector and the activation differ in width.
        """
        width = len(self.vector)
        if activation.shape[-1] != width:
            raise InputError(
                f"The vector to add at {self.hook_point} has width {width}, and the activation there "
                f"has width {activation.shape[-1]}. A vector fits only the hook point and the model "
                "it was made for."
            )
        if self._nothing:  # type: ignore[attr-defined]
            return activation
        return _moved(activation, self.vector, where)

    def __str__(self) -> str:
        return f"add {self.name} at {self.hook_point}"


@dataclass(frozen=True, eq=False)
class AddEach:
    """Add to each row of the forward pass a vector of its own: many conditions in one batch.

    Computed in the wider of the two types and given back in the activation's; a row or cell whose
    vector is zero comes back bit by bit.

    Attributes:
        hook_point: Where to add them.
        vectors: What to add, in the activation's own units: `[row d_in]`, row i at all cells of row i,
            also where the forward pass reads one new token; or `[row token d_in]`, each cell its own.
        name: What they are called where edits are listed.

    Raises:
        InputError: The vectors are not a finite tensor of two or three axes.
    """

    hook_point: str
    vectors: Float[Tensor, "row d_in"] | Float[Tensor, "row token d_in"]
    name: str = "a vector for each row"
    needs_context: bool = field(default=False, init=False, repr=False)

    def __post_init__(self) -> None:
        vectors = floating(self.vectors, f"What is to be added at {self.hook_point}")
        if vectors.ndim not in (2, 3):
            raise InputError(
                f"The vectors to add at {self.hook_point} have shape {list(vectors.shape)}; [row d_in] "
                "or [row token d_in] is expected. Add takes one vector for all rows."
            )
        object.__setattr__(self, "vectors", vectors)
        moving = vectors.any(-1)
        moving = moving[:, None] if vectors.ndim == 2 else moving
        object.__setattr__(self, "_moving", None if bool(moving.all()) else moving)

    @property
    def reads(self) -> str:
        """The hook point it changes."""
        return self.hook_point

    def apply(
        self, activation: Tensor, where: Where = None, *, read: Tensor | None = None
    ) -> Tensor:
        """The activation plus each row's vector.

        Raises:
            InputError: The activation has another width, another number of rows or, where each token
                has its own vector, another number of tokens.
        """
        given = self.vectors
        expected = activation.shape if given.ndim == 3 else activation[:, 0].shape
        if given.shape != expected:
            axes = "[row token d_in]" if given.ndim == 3 else "[row d_in]"
            raise InputError(
                f"The vectors to add at {self.hook_point} have shape {list(given.shape)}; for the "
                f"activation there, {list(activation.shape)}, {axes} {list(expected)} is expected: "
                "a vector for each row of the forward pass, in its order."
            )
        moving: Tensor | None = self._moving  # type: ignore[attr-defined]
        if moving is not None:
            moving = moving.to(activation.device)
            where = moving.expand(activation.shape[:2]) if where is None else where & moving
        return _moved(activation, given if given.ndim == 3 else given[:, None], where)

    def __str__(self) -> str:
        return f"add {self.name} at {self.hook_point}"


def _moved(activation: Tensor, vectors: Tensor, where: Where) -> Tensor:
    moved = (activation + vectors.to(activation.device)).to(activation.dtype)
    return moved if where is None else torch.where(where.unsqueeze(-1), moved, activation)


@dataclass(frozen=True, eq=False)
class _DictionaryEdit:
    """An edit that goes through a dictionary: the cells are picked, encoded and put back."""

    dictionary: LatentSpace

    @property
    def hook_point(self) -> str:
        """The hook point it changes: where the dictionary writes."""
        return self.dictionary.hook_out

    @property
    def reads(self) -> str:
        """The hook point the dictionary reads."""
        return self.dictionary.hook_in

    @property
    def needs_context(self) -> bool:
        """Whether the dictionary needs whole sequences."""
        return bool(self.dictionary.needs_context)

    def apply(
        self, activation: Tensor, where: Where = None, *, read: Tensor | None = None
    ) -> Tensor:
        """The activation with the edit's rows in place of the old ones.

        Raises:
            InputError: `read` is missing although the dictionary reads another hook point.
            DictionaryError: The dictionary is of another width than the activation.
        """
        if read is None:
            if self.reads != self.hook_point:
                raise InputError(
                    f"The dictionary {self.dictionary.id!r} reads {self.reads} and writes "
                    f"{self.hook_point}: pass read=, the activation at {self.reads}."
                )
            read = activation
        d_out = self.dictionary.directions.shape[-1]
        for point, given, own in (
            (self.reads, read.shape[-1], self.dictionary.d_in),
            (self.hook_point, activation.shape[-1], d_out),
        ):
            if given != own:
                raise DictionaryError(
                    f"The dictionary {self.dictionary.id!r} has width {own} at {point}, and the "
                    f"activation there has width {given}. It was trained on another model."
                )
        if where is None:
            where = torch.ones(activation.shape[:-1], dtype=torch.bool, device=activation.device)
        rows = activation[where]
        if not len(rows) or self._nothing_to_do:
            return activation
        edited = activation.clone()
        edited[where] = self._rows(rows, *self._encoded(read, where)).to(activation.dtype)
        return edited

    def _encoded(self, read: Tensor, where: Tensor) -> tuple[Tensor, Any]:
        """Latents `[row d_latent]` of the cells, and what decoding them needs."""
        if not self.dictionary.needs_context:
            picked = read[where]
            return self.dictionary.encode(picked), self.dictionary.statistics(picked)
        statistics = self.dictionary.statistics(read)
        return (
            self.dictionary.encode(read)[where],
            None if statistics is None else statistics[where],
        )

    @property
    def _nothing_to_do(self) -> bool:
        return False

    def _rows(self, rows: Tensor, latents: Tensor, statistics: Any) -> Tensor:
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class _SetLatents(_DictionaryEdit):
    """Give chosen latents chosen values and keep the error term.

    `x + decode(edited) - decode(original)`, computed as the change of the latents times their decoder
    directions where the dictionary's input needs no statistics. A row whose latents have the values
    already comes back bit by bit.
    """

    latents: Sequence[int] | int

    def __post_init__(self) -> None:
        chosen = self.latents
        chosen = (chosen,) if isinstance(chosen, int) else tuple(int(each) for each in chosen)
        if not chosen or len(set(chosen)) < len(chosen):
            raise InputError(f"The latents to set are {chosen}; one or more, each once, expected.")
        wrong = [each for each in chosen if not 0 <= each < self.dictionary.d_latent]
        if wrong:
            raise InputError(
                f"The dictionary {self.dictionary.id!r} has no latents {wrong}: it has "
                f"{self.dictionary.d_latent}, counted from 0."
            )
        object.__setattr__(self, "latents", chosen)
        object.__setattr__(self, "_index", torch.tensor(chosen))

    def _values(self, given: object, what: str) -> Tensor:
        values = floating(given, what)
        if values.ndim and values.shape != (len(self._chosen),):
            raise InputError(
                f"{what} has shape {list(values.shape)}; one number, or one for each of the "
                f"{len(self._chosen)} latents, is expected."
            )
        return values

    @property
    def _chosen(self) -> tuple[int, ...]:
        assert isinstance(self.latents, tuple)
        return self.latents

    def _target(self) -> Tensor:
        raise NotImplementedError

    def _rows(self, rows: Tensor, latents: Tensor, statistics: Any) -> Tensor:
        index = self._index.to(latents.device)  # type: ignore[attr-defined]
        now = latents[:, index]
        target = self._target().to(latents).expand_as(now)
        if statistics is None:
            directions = self.dictionary.directions[index]
            shift = (target - now).to(directions.dtype) @ directions
        else:
            edited = latents.index_copy(1, index, target)
            shift = self.dictionary.decode(edited, statistics) - self.dictionary.decode(
                latents, statistics
            )
        changed = (target != now).any(-1, keepdim=True)
        return torch.where(changed, (rows + shift).to(rows.dtype), rows)

    def _listed(self) -> str:
        shown = ", ".join(map(str, self._chosen[:6])) + (", ..." if len(self._chosen) > 6 else "")
        return f"{shown} of {self.dictionary.id}"


@dataclass(frozen=True, eq=False)
class Clamp(_SetLatents):
    """Hold latents at a value, whatever they were; the error term stays.

    Attributes:
        dictionary: The dictionary the latents belong to.
        latents: Their indices.
        value: What to set them to, in the dictionary's own units of activation: one number, or one
            for each latent.

    Raises:
        InputError: A latent the dictionary lacks, or values that are not finite or not as many.

    Source: Templeton et al. 2024, Scaling Monosemanticity.
    """

    value: float | Float[Tensor, " latent"]

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "value", self._values(self.value, "The value to clamp to"))

    def _target(self) -> Tensor:
        assert isinstance(self.value, Tensor)
        return self.value

    def __str__(self) -> str:
        return f"clamp {self._listed()} to {_shown(self._target())} at {self.hook_point}"


@dataclass(frozen=True, eq=False)
class Ablate(_SetLatents):
    """Take latents out: set them to zero or to a given mean; the error term stays.

    Attributes:
        dictionary: The dictionary the latents belong to.
        latents: Their indices.
        to: What to set them to; None: zero. For mean ablation each latent's mean activation.

    Raises:
        InputError: A latent the dictionary lacks, or values that are not finite or not as many.
    """

    _: KW_ONLY
    to: float | Float[Tensor, " latent"] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        to = 0.0 if self.to is None else self.to
        object.__setattr__(self, "to", self._values(to, "The value to ablate to"))

    def _target(self) -> Tensor:
        assert isinstance(self.to, Tensor)
        return self.to

    def __str__(self) -> str:
        to = "" if not self._target().any() else f" to {_shown(self._target())}"
        return f"ablate {self._listed()}{to} at {self.hook_point}"


@dataclass(frozen=True, eq=False)
class Splice(_DictionaryEdit):
    """Put a dictionary's reconstruction in place of the activation.

    Attributes:
        dictionary: The dictionary. A transcoder's reconstruction of `hook_out` is made from `hook_in`.
        keep_error: Add the error term, activation minus reconstruction, back. The two cancel exactly,
            so this is the identity: the point of comparison for edits of latents.

    Source: Marks et al. 2024, Sparse Feature Circuits, for the error term.
    """

    _: KW_ONLY
    keep_error: bool = False

    @property
    def _nothing_to_do(self) -> bool:
        return self.keep_error

    def _rows(self, rows: Tensor, latents: Tensor, statistics: Any) -> Tensor:
        return self.dictionary.decode(latents, statistics)

    def __str__(self) -> str:
        kept = " with its error term" if self.keep_error else ""
        return f"splice {self.dictionary.id}{kept} at {self.hook_point}"


def floating(given: object, what: str) -> Tensor:
    """A finite floating-point tensor, detached.

    Raises:
        InputError: It is no tensor of numbers, or holds NaN or an infinity.
    """
    try:
        tensor = torch.as_tensor(given).detach()
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{what} is {given!r}; numbers are expected.") from error
    if not tensor.is_floating_point():
        tensor = tensor.to(torch.get_default_dtype())
    if not bool(torch.isfinite(tensor).all()):
        bad = int((~torch.isfinite(tensor)).sum())
        raise InputError(
            f"{what} holds NaN or infinity in {bad} of {tensor.numel()} places. Finite numbers are "
            "expected; look at how it was computed."
        )
    return tensor


def _shown(values: Tensor) -> str:
    return f"{float(values):.4g}" if values.ndim == 0 else "values of their own"
