"""Modules as they were: a check that attaches something takes it back, whatever upstream leaves behind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


@contextmanager
def kept(*roots: nn.Module) -> Iterator[None]:
    """What modules hold, submodules, hooks and tables, is put back at the end; weights are not copied.

    Args:
        roots: Modules, with all that is in them.

    Yields:
        Nothing.
    """
    modules = {id(module): module for root in roots for module in root.modules()}
    held = [(module, dict(vars(module))) for module in modules.values()]
    inside = [
        (container, _copy(container))
        for _, attributes in held
        for container in attributes.values()
        if isinstance(container, dict | list)
    ]
    try:
        yield
    finally:
        for module, attributes in held:
            vars(module).clear()
            vars(module).update(attributes)
        for container, content in inside:
            container.clear()
            if isinstance(container, dict):
                container.update(content)
            else:
                container.extend(content)


def _copy(container: Any) -> Any:
    return dict(container) if isinstance(container, dict) else list(container)
