"""Makes transformers and TransformerLens know what plugins bring.

Importing changes nothing; `activate` does, for the whole process: it adds what is missing and
replaces nothing. [`load_model`][tl_ext.models.loading.load_model] calls it.
"""

from __future__ import annotations

import sys
import threading
from dataclasses import dataclass
from typing import Any

from tl_ext import fixes
from tl_ext.errors import FixError, PluginError
from tl_ext.fixes.transformerlens import registered_adapters_ignored_by_boot as booting
from tl_ext.plugins import AdapterSpec, PluginManager, build_manager, resolve
from tl_ext.upstream import adapter_factory

_lock = threading.Lock()
_taught: set[str] = set()  # references to `register` callables that have run


@dataclass(frozen=True)
class Activation:
    """What one call of [`activate`][tl_ext.models.activation.activate] changed.

    Attributes:
        registered: Architectures registered by this call, with the plugin that brings each.
        discovered: Architectures upstream's own entry-point discovery found during this call.
        kept: Architectures a plugin brings for which another adapter was there already, with that
            adapter's class name; nothing was replaced.
        fixes: Slugs of the fixes this call applied, process-wide: what booting needs, and what the
            models of registered architectures need.
        problems: Adapters that could not be registered, and why; the others were.
    """

    registered: tuple[tuple[str, str], ...] = ()
    discovered: tuple[str, ...] = ()
    kept: tuple[tuple[str, str], ...] = ()
    fixes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether the call changed anything."""
        return bool(self.registered or self.discovered or self.fixes)

    def __str__(self) -> str:
        plugins = dict.fromkeys(plugin for _, plugin in self.registered)
        lines = [
            f"registered {', '.join(name for name, by in self.registered if by == plugin)}, "
            f"from {plugin}"
            for plugin in plugins
        ]
        if self.discovered:
            names = ", ".join(self.discovered)
            lines.append(f"found {names} by TransformerLens' own discovery")
        lines += [f"kept {adapter} for {name}" for name, adapter in self.kept]
        if self.fixes:
            lines.append(
                f"applied, for the whole process, the fixes {', '.join(self.fixes)} "
                "(tl_ext.fixes.revert takes them back)"
            )
        lines += list(self.problems)
        return "tl_ext: " + ("; ".join(lines) or "nothing to register") + "."

    __repr__ = __str__


def activate(*, manager: PluginManager | None = None, quiet: bool = False) -> Activation:
    """Register what plugins bring: additive, idempotent, process-wide.

    Upstream's own entry-point discovery runs first; then each plugin's classes are taught to
    transformers, the fixes its models need are applied, and the adapters whose names are still
    missing are registered; an adapter whose fixes cannot be applied is not. Where booting would
    ignore a registered adapter, the fix `registered-adapters-ignored-by-boot` is applied too. Fixes
    go through the ledger: they change upstream's code for the whole process, every other model
    included, and `fixes.revert` takes them back. With no plugin that brings an architecture, nothing
    happens.

    Args:
        manager: The plugins to activate; None builds a manager of what is installed.
        quiet: Do not write to standard error what was changed.

    Returns:
        What this call changed. A second call changes nothing and says so.

    Raises:
        FixError: The fix that booting needs cannot be applied.
    """
    factory = adapter_factory()
    adapters: dict[str, Any] = factory._adapters
    with _lock:
        manager = manager or build_manager()
        before = set(adapters)
        factory.discover_entry_points()
        discovered = tuple(name for name in adapters if name not in before)
        registered, kept, problems = [], [], []
        applied: list[str] = []
        for name, spec in manager.adapters().items():
            plugin = manager.owner(spec) or "a plugin"
            try:
                adapter = _teach(spec)
                if adapters.get(name, adapter) is not adapter:
                    kept.append((name, adapters[name].__name__))
                    continue
                applied += _mend(spec, manager)
            except Exception as error:  # one broken adapter must not take the others down
                cannot = "cannot make safe" if name in adapters else "cannot register"
                problems.append(f"{cannot} {name}, from {plugin}: {error}")
                continue
            if name not in adapters:
                factory.register_adapter(name, adapter)
                registered.append((name, plugin))
        applied += _let_boot_see(tuple(adapters), manager)
        done = Activation(
            tuple(registered), discovered, tuple(kept), tuple(applied), tuple(problems)
        )
    if not quiet and (done.changed or done.problems):
        print(done, file=sys.stderr)
    return done


def _teach(spec: AdapterSpec) -> Any:
    """The adapter class of a spec, its model's classes made known to transformers."""
    from transformer_lens.model_bridge.architecture_adapter import ArchitectureAdapter

    adapter = resolve(spec.adapter)
    if not (isinstance(adapter, type) and issubclass(adapter, ArchitectureAdapter)):
        raise PluginError(
            f"{spec.adapter} is {adapter!r}, expected an ArchitectureAdapter subclass"
        )
    if spec.register is not None and spec.register not in _taught:
        resolve(spec.register)()
        _taught.add(spec.register)
    return adapter


def _mend(spec: AdapterSpec, manager: PluginManager) -> list[str]:
    """Apply the fixes a spec's models need and that are not in effect; all of them or none."""
    needed = dict.fromkeys(spec.fixes)
    missing = [slug for slug in needed if not fixes.in_effect(slug, manager=manager)]
    if missing:
        fixes.apply(*missing, manager=manager, quiet=True)
    return missing


def _let_boot_see(architectures: tuple[str, ...], manager: PluginManager) -> tuple[str, ...]:
    """Apply the booting fix where some registered name would be ignored."""
    if not booting.ignored(architectures):
        return ()
    fixes.apply(booting.SLUG, manager=manager, quiet=True)
    still = booting.ignored(architectures)
    if still:
        fixes.revert(booting.SLUG, manager=manager)
        raise FixError(f"Booting ignores {', '.join(still)} even with the fix {booting.SLUG}.")
    return (booting.SLUG,)
