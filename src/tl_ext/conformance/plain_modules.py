"""Which hook points are the input or the output of a module of the plain model, and hooks there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor

if TYPE_CHECKING:
    from tl_ext.conformance.subject import Subject

Edit = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Place:
    """An end of a module of the plain model.

    Attributes:
        module: Its name there, `"transformer.h.0.attn"`.
        end: Its first input, or its first output.
    """

    module: str
    end: Literal["input", "output"]


def places(subject: Subject) -> dict[str, Place]:
    """The hook points that fire and stand at an end of a module, with that end.

    A bridge puts its components in the place of the plain model's modules, so a component's name in there
    is the module's; or else it lies in another component, and knows the name of its module in that one's.

    Args:
        subject: What is checked.
    """
    plain = dict(subject.reference.named_modules())
    names = {id(point): name for name, point in subject.points.items()}
    found: dict[str, Place] = {}
    for path, component in subject.bridge.original_model.named_modules():
        if not hasattr(component, "original_component"):
            continue
        module = ".".join(part for part in path.split(".") if part != "_original_component")
        if module not in plain:
            module = f"{module.rpartition('.')[0]}.{component.name}"
        if module not in plain:
            continue
        for end, attribute in (("input", "hook_in"), ("output", "hook_out")):
            name = names.get(id(getattr(component, attribute, None)))
            if name is not None:
                found[name] = Place(module, end)  # type: ignore[arg-type]
    return {name: found[name] for name in subject.points if name in found}


@contextmanager
def hooked(
    subject: Subject, place: Place, edit: Callable[[Tensor], Tensor | None]
) -> Iterator[None]:
    """A plain torch hook at an end of a module of the plain model.

    Args:
        subject: What is checked.
        place: Where.
        edit: What is given the tensor there, and gives the one to go on with, or None.
    """
    module = subject.reference.get_submodule(place.module)

    def before(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if args:
            new = edit(args[0])
            return None if new is None else ((new, *args[1:]), kwargs)
        name = next((one for one in _FIRST if one in kwargs), None)
        new = None if name is None else edit(kwargs[name])
        return None if new is None else (args, kwargs | {name: new})

    def after(_: Any, args: Any, output: Any) -> Any:
        if isinstance(output, tuple):
            new = edit(output[0])
            return None if new is None else (new, *output[1:])
        return edit(output)

    handle = (
        module.register_forward_pre_hook(before, with_kwargs=True)
        if place.end == "input"
        else module.register_forward_hook(after)
    )
    try:
        yield
    finally:
        handle.remove()


_FIRST = ("hidden_states", "input", "x", "inputs")
"""What families call a module's first input where they pass it by name."""
