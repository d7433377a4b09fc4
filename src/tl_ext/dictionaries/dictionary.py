"""What a dictionary is: a trained encoder and decoder at a hook point, and an ordered set of them."""

from __future__ import annotations

import copy
import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from tl_ext.errors import DictionaryError, InputError, nearest
from tl_ext.models.hook_points import kind_of, layer_of, names
from tl_ext.models.loading import Processing

Normalisation = Literal["none", "expected_average_only_in", "constant_norm_rescale", "layer_norm"]
"""How a dictionary scales its input: not at all; by one constant (folded into the weights when it is
read); to length sqrt(d_in); to mean 0 and standard deviation 1. The last two depend on the input, so
decoding needs its [`Statistics`][tl_ext.dictionaries.dictionary.Statistics]."""


LATENTS_AT_ONCE = 2**24
"""Rows times latents that are held at a time, 64 MiB in float32."""


@dataclass(frozen=True, eq=False)
class Statistics:
    """What takes a reconstruction from the dictionary's own space back to the activation's.

    `x = normalised * scale + shift`, row by row. SAELens keeps these on the dictionary as state of
    the last `encode`; here they are a value of the input, so batches cannot be mixed up.

    Attributes:
        scale: Of each row, or None for 1.
        shift: Of each row, or None for 0: the mean that layer_norm took out, or what a skip
            connection carries past the latents.
    """

    scale: Float[Tensor, "*row 1"] | None = None
    shift: Float[Tensor, "*row #d_out"] | None = None

    def restore(self, normalised: Float[Tensor, "*row d_out"]) -> Float[Tensor, "*row d_out"]:
        """From the dictionary's own space to the activation's, in the type of `normalised`."""
        if self.scale is not None:
            normalised = normalised * self.scale
        if self.shift is not None:
            normalised = normalised + self.shift
        return normalised

    def __getitem__(self, where: Any) -> Statistics:
        """The statistics of some rows; `where` indexes the leading dimensions."""
        return Statistics(
            scale=None if self.scale is None else self.scale[where],
            shift=None if self.shift is None else self.shift[where],
        )


NORMALISED = Statistics()
"""Passed to `decode` to stay in the dictionary's own, normalised space on purpose."""


@runtime_checkable
class Dictionary(Protocol):
    """A trained encoder and decoder: an SAE, or a transcoder where `hook_out` is not `hook_in`.

    Rows are activations `[... d_in]` with head axes flattened. Every method computes in the
    dictionary's own dtype and gives back the dtype it was given.
    """

    @property
    def id(self) -> str:
        """Its name among the dictionaries loaded with it."""
        ...

    @property
    def hook_in(self) -> str:
        """The hook point it reads."""
        ...

    @property
    def hook_out(self) -> str:
        """The hook point it reconstructs; `hook_in` again for an SAE."""
        ...

    @property
    def d_in(self) -> int:
        """Width of what it reads."""
        ...

    @property
    def d_latent(self) -> int:
        """How many latents it has."""
        ...

    @property
    def normalisation(self) -> Normalisation:
        """How it scales its input."""
        ...

    @property
    def processing(self) -> Processing | None:
        """The weight processing of the model it was trained on; None where nothing says."""
        ...

    @property
    def needs_context(self) -> bool:
        """Whether a row's latents depend on the rows before it, so that `encode` must be given whole
        sequences `[text token d_in]`."""
        ...

    @property
    def release(self) -> str | None:
        """The published release it comes from."""
        ...

    @property
    def neuronpedia_id(self) -> str | None:
        """Its name on Neuronpedia, such as `gpt2-small/7-res-jb`."""
        ...

    @property
    def directions(self) -> Float[Tensor, "d_latent d_out"]:
        """What one unit of each latent adds to the reconstruction, in the dictionary's own space
        (the activation's, where `statistics` gives None)."""
        ...

    @property
    def bias(self) -> Float[Tensor, " d_out"]:
        """The reconstruction of no latents, in the dictionary's own space."""
        ...

    def encode(self, x: Float[Tensor, "*row d_in"]) -> Float[Tensor, "*row d_latent"]:
        """Latents of activations."""
        ...

    def statistics(self, x: Float[Tensor, "*row d_in"]) -> Statistics | None:
        """What `decode` needs to know of the input besides its latents; None where nothing."""
        ...

    def decode(
        self, latents: Float[Tensor, "*row d_latent"], statistics: Statistics | None = None
    ) -> Float[Tensor, "*row d_out"]:
        """The reconstruction, affine in `latents`.

        Raises:
            DictionaryError: The dictionary depends on its input's statistics and got none.
        """
        ...

    def reconstruct(self, x: Float[Tensor, "*row d_in"]) -> Float[Tensor, "*row d_out"]:
        """`decode(encode(x), statistics(x))`."""
        ...


class UnknownDictionaryError(DictionaryError, KeyError):
    """A dictionary that is not among those loaded."""

    __str__ = Exception.__str__


class Dictionaries(Mapping[str, Dictionary]):
    """Dictionaries in order, by id.

    Example:
        ```python
        dictionaries = load_dictionaries("testbed://")
        dictionaries["blocks.3.hook_resid_pre"].encode(rows)
        dictionaries.at("blocks.3.hook_resid_pre")
        ```
    """

    def __init__(self, dictionaries: Iterable[Dictionary] = ()) -> None:
        """Take dictionaries in the order given.

        Raises:
            DictionaryError: Two have one id.
        """
        self._by_id: dict[str, Dictionary] = {}
        for dictionary in dictionaries:
            if dictionary.id in self._by_id:
                raise DictionaryError(
                    f"Two dictionaries have the id {dictionary.id!r} (of releases "
                    f"{self._by_id[dictionary.id].release!r} and {dictionary.release!r}). "
                    "Give one another id: renamed(dictionary, 'another')."
                )
            self._by_id[dictionary.id] = dictionary

    def __getitem__(self, id: str) -> Dictionary:
        if id not in self._by_id:
            raise UnknownDictionaryError(
                f"There is no dictionary {id!r} here.{nearest(str(id), self._by_id)} "
                f"Loaded: {_listed(self._by_id)}."
            )
        return self._by_id[id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_id)

    def __len__(self) -> int:
        return len(self._by_id)

    @property
    def hook_points(self) -> tuple[str, ...]:
        """The hook points read, each once, in order."""
        return tuple(dict.fromkeys(dictionary.hook_in for dictionary in self.values()))

    def at(self, hook_point: str) -> Dictionary:
        """The one dictionary that reads a hook point.

        Raises:
            DictionaryError: None does (the nearest hook points are told), or several do (their ids
                are listed).
        """
        found = [one for one in self.values() if one.hook_in == hook_point]
        if not found:
            raise UnknownDictionaryError(
                f"No dictionary here reads {hook_point!r}.{nearest(hook_point, self.hook_points)} "
                f"There are dictionaries at: {_listed(self.hook_points)}."
            )
        if len(found) > 1:
            raise DictionaryError(
                f"{len(found)} dictionaries read {hook_point!r}: "
                f"{_listed(one.id for one in found)}. Choose one by its id."
            )
        return found[0]

    def choose(
        self, *, hook_points: Iterable[str] | None = None, ids: Iterable[str] | None = None
    ) -> Dictionaries:
        """Some of them, in the order they are in.

        Args:
            hook_points: Keep those that read one of these; None: no such condition.
            ids: Keep those with one of these ids; None: no such condition.

        Raises:
            DictionaryError: A hook point or an id that is not here, or, without `ids`, a hook point
                with several dictionaries.
        """
        points = None if hook_points is None else set(names(hook_points))
        wanted = None if ids is None else set(names(ids))
        for id in sorted(wanted or ()):
            self[id]
        for point in sorted(points or ()):
            if wanted is None:
                self.at(point)
            elif point not in self.hook_points:
                raise UnknownDictionaryError(
                    f"No dictionary here reads {point!r}.{nearest(point, self.hook_points)}"
                )
        return Dictionaries(
            one
            for one in self.values()
            if (points is None or one.hook_in in points) and (wanted is None or one.id in wanted)
        )

    def __repr__(self) -> str:
        lines = [
            f"  {one.id}: {one.d_in} -> {one.d_latent} latents"
            + ("" if one.hook_in == one.id else f" at {one.hook_in}")
            for one in self.values()
        ]
        return "\n".join([f"{len(self)} dictionaries", *lines])


def renamed(dictionary: Dictionary, id: str) -> Dictionary:
    """The same dictionary (weights shared) under another id."""
    given: Any = dictionary
    if dataclasses.is_dataclass(given):
        twin: Any = dataclasses.replace(given, id=id)  # type: ignore[type-var]
    else:
        twin = copy.copy(given)
        twin.id = id
    checked: Dictionary = twin
    return checked


def by_id(dictionaries: Mapping[str, Dictionary] | Dictionary) -> Mapping[str, Dictionary]:
    """Several dictionaries as they are, or one under its id.

    Raises:
        InputError: It is neither.
    """
    if isinstance(dictionaries, Mapping):
        return dictionaries
    if not hasattr(dictionaries, "encode"):
        raise InputError(
            f"A dictionary, or several by id, is expected, not {type(dictionaries).__name__}. "
            "load_dictionaries gives several; Dictionaries([one, another]) makes them of a list."
        )
    return {dictionaries.id: dictionaries}


# Where in a block a hook point is reached, for ordering only; what is not listed comes last.
_WITHIN_BLOCK = (
    "resid_pre attn_in q_input k_input v_input q k v rot_q rot_k attn_scores pattern z result attn_out "
    "resid_mid mlp_in pre post mlp_out resid_post"
).split()


def forward_order(hook_point: str, id: str = "") -> tuple[Any, ...]:
    """A sort key: hook points in the order a forward pass reaches them, then ids naturally."""
    layer, kind = layer_of(hook_point), kind_of(hook_point)
    if layer is None:
        layer = -1 if "embed" in kind else 10**6
    place = _WITHIN_BLOCK.index(kind) if kind in _WITHIN_BLOCK else len(_WITHIN_BLOCK)
    natural = tuple(
        (int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", id)
    )
    return (layer, place, kind, natural)


def _listed(items: Iterable[str], most: int = 20) -> str:
    items = list(items)
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return (", ".join(items[:most]) or "none") + more


def as_device(device: str | torch.device | None) -> torch.device:
    """The device asked for; the CPU where none was."""
    return torch.device("cpu" if device is None else device)
