"""What a mutant is, and the ways to plant one small fault in one hooked model.

Every fault is planted in an object of that one model, by giving it a class of its own: nothing is left to
undo when the model is gone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from tl_ext.conformance.subject import Subject

Plant = Callable[[Subject], None]
Change = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Mutant:
    """A model with one fault.

    Attributes:
        name: What is wrong, of words joined by hyphens.
        story: The real bug that it stands for.
        plant: Plants the fault.
        caught_by: The checks that must fail, by name.
        place: What a violation of one of them must name.
        of: The model that it is planted in, by its name in `reference.MODELS`.
        layers: How many blocks that model has.
    """

    name: str
    story: str
    plant: Plant
    caught_by: frozenset[str]
    place: str
    of: str = "gpt2"
    layers: int = 1


def becomes(thing: Any, **members: Any) -> Any:
    """Give one object a class of its own, with other members; its former class is given back."""
    kind = type(thing)
    thing.__class__ = type(f"Mutated{kind.__name__}", (kind,), members)
    return kind


def gives(name: str, change: Change) -> Plant:
    """The model computes something else there, and hooks see that."""

    def plant(subject: Subject) -> None:
        def call(self: Any, value: Tensor) -> Tensor:
            return kind.__call__(self, change(value))  # type: ignore[no-any-return]

        kind = becomes(subject.bridge.hook_dict[name], __call__=call)

    return plant


def shows(name: str, to: Change, back: Change | None = None) -> Plant:
    """The model is right, but hooks see something else; `back` turns what they return round again.

    Without it what a hook adds is added to what the model has.
    """

    def plant(subject: Subject) -> None:
        def call(self: Any, value: Tensor) -> Tensor:
            seen = to(value)
            out = kind.__call__(self, seen)
            if out is seen:
                return value
            return value + (out - seen) if back is None else back(out)

        kind = becomes(subject.bridge.hook_dict[name], __call__=call)

    return plant


def takes(name: str, taken: Callable[[Tensor, Tensor], Tensor]) -> Plant:
    """Of what was there, and what hooks made of it, the model goes on with something else."""

    def plant(subject: Subject) -> None:
        def call(self: Any, value: Tensor) -> Tensor:
            return taken(value, kind.__call__(self, value))

        kind = becomes(subject.bridge.hook_dict[name], __call__=call)

    return plant


def anew(make: Callable[[], Plant]) -> Plant:
    """A fault that remembers something: it begins anew in each model."""
    return lambda subject: make()(subject)


def both(*plants: Plant) -> Plant:
    """Faults that are one only together."""

    def plant(subject: Subject) -> None:
        for one in plants:
            one(subject)

    return plant


def named(**other: Callable[[dict[str, Any]], Any]) -> Plant:
    """Names that belong to another hook point; `__` stands for a dot in a name."""

    def plant(subject: Subject) -> None:
        kind = type(subject.bridge)
        table = {
            name.replace("__", "."): choose(subject.bridge.hook_dict)
            for name, choose in other.items()
        }
        becomes(subject.bridge, hook_dict=property(lambda self: kind.hook_dict.fget(self) | table))

    return plant


def of_heads(change: Change) -> Change:
    """A change of [batch, position, head, d_head], made of one of what hook points are given: d_head is 4."""
    return lambda value: change(value.reshape(*value.shape[:2], -1, 4)).reshape(value.shape)


def weight(subject: Subject, name: str) -> Tensor:
    """A parameter or buffer of the bridge, by its name in the plain model."""
    model = subject.bridge.original_model
    for full, value in (*model.named_parameters(), *model.named_buffers()):
        if full.replace("._original_component", "") == name:
            return value  # type: ignore[no-any-return]
    raise KeyError(name)


def of(*checks: str) -> frozenset[str]:
    """Names of checks."""
    return frozenset(checks)
