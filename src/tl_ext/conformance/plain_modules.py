"""Which hook points are the input or the output of a module of the plain model, and hooks there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor

from tl_ext.conformance.checking import distance

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
        if isinstance(output, (tuple, list)):
            new = edit(output[0])
            return None if new is None else type(output)([new, *output[1:]])
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


def contents(subject: Subject, ids: Tensor) -> dict[str, Tensor]:
    """What the plain model has at each of its modules' ends, by the hook point that stands there.

    Left out is where a module gives several things of which the first is an index, as some routers do, and
    an embedding that is multiplied afterwards: its hook point holds what enters the stream.

    Args:
        subject: What is checked.
        ids: Tokens [batch, position].
    """
    found: dict[str, Tensor] = {}

    def keeping(name: str) -> Callable[[Tensor], None]:
        def keep(value: Tensor) -> None:
            if name not in found:
                found[name] = value.detach().clone()

        return keep

    with ExitStack() as stack:
        for name, place in places(subject).items():
            stack.enter_context(hooked(subject, place, keeping(name)))
        subject.plain(ids)
    places_of_tokens = {name for name, place in places(subject).items() if place.end == "input"}
    if "plain-embedding" not in subject.capabilities:
        found.pop("embed.hook_out", None)
    return {
        name: value
        for name, value in found.items()
        if value.is_floating_point() or name in places_of_tokens
    }


def as_plain(held: Tensor, plain: Tensor) -> Edit:
    """How to lay out a hook point's activation as the plain module has it.

    Heads may be split, or stand before positions, or one row serve for all of a batch.

    Args:
        held: What the hook point holds.
        plain: What the module has there.
    """

    def one_row(value: Tensor) -> Tensor:
        return value[:1].reshape(plain.shape)

    def split(value: Tensor) -> Tensor:
        return value.reshape(plain.shape)

    def heads_first(value: Tensor) -> Tensor:
        return value.transpose(1, 2).reshape(plain.shape)

    if held.shape[1:] == plain.shape[1:] and len(plain) == 1:
        return one_row
    if held.numel() != plain.numel():
        return lambda value: value
    if held.ndim == 4 and distance(heads_first(held), plain) < distance(split(held), plain):
        return heads_first
    return split


_FIRST = ("hidden_states", "input", "x", "inputs")
"""What families call a module's first input where they pass it by name."""
