"""The architectures that can be checked by name: upstream's, ours, and those of installed plugins."""

from __future__ import annotations

from tl_ext.conformance.families import FAMILIES
from tl_ext.conformance.spec import ConformanceSpec
from tl_ext.errors import InputError, nearest
from tl_ext.plugins import PluginManager, build_manager, resolve


def specs(*, manager: PluginManager | None = None) -> dict[str, ConformanceSpec]:
    """Every architecture with a specification, by name.

    A plugin's goes before one of ours of the same name.

    Args:
        manager: Where to look for plugins; None builds a manager.

    Raises:
        PluginError: A plugin's reference does not resolve.
        InputError: It resolves to something else than a specification.
    """
    found = dict(FAMILIES)
    for name, adapter in (manager or build_manager()).adapters().items():
        if adapter.conformance is None:
            continue
        spec = resolve(adapter.conformance)
        if not isinstance(spec, ConformanceSpec):
            raise InputError(
                f"{adapter.conformance} of the adapter {name} is of type {type(spec).__name__}; "
                "a ConformanceSpec is expected."
            )
        found[name] = spec
    return found


def spec_of(name: str, *, manager: PluginManager | None = None) -> ConformanceSpec:
    """The specification of an architecture.

    Args:
        name: The architecture.
        manager: Where to look for plugins; None builds a manager.

    Raises:
        InputError: There is none for it.
    """
    known = specs(manager=manager)
    if name not in known:
        raise InputError(
            f"No specification is known for {name!r}.{nearest(name, known)} `tl-ext conformance --list` "
            "lists them; a plugin brings its own with AdapterSpec(conformance=...)."
        )
    return known[name]
