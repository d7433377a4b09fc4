"""Finds plugins one by one, asks hooks one implementation at a time, and reports on all of it.

pluggy keeps the registry. Left to itself it lets one broken entry point abort all loading, lets one
implementation that raises throw away everybody's results, and registers a misspelled hook without a
word. So nothing here uses its bulk operations, and whatever goes wrong with a plugin ends up in
that plugin's [`PluginStatus`][tl_ext.plugins.manager.PluginStatus] and nowhere else.

A name that two plugins claim goes to neither: each is told of the other, asking for the name is an
error that lists both, and `TL_EXT_PLUGINS` chooses. A built-in name cannot be taken: ours stays,
the claim is reported.
"""

from __future__ import annotations

import importlib
import inspect
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib import metadata
from types import MappingProxyType
from typing import Any, Generic, Literal, TypeVar

import pluggy

from tl_ext.errors import PluginError, nearest
from tl_ext.plugins import builtin, hookspecs
from tl_ext.plugins.specs import (
    AdapterSpec,
    AnalysisSpec,
    DictionarySourceSpec,
    FixSpec,
    ScorerSpec,
    _Spec,
)

ENTRY_POINT_GROUP = "tl_ext"
SELECTION = "TL_EXT_PLUGINS"
BUILTIN = "builtin"
OURS = "tl-ext"

HOOKS: Mapping[str, type[_Spec]] = MappingProxyType(
    {
        "tl_ext_adapters": AdapterSpec,
        "tl_ext_fixes": FixSpec,
        "tl_ext_analyses": AnalysisSpec,
        "tl_ext_dictionary_sources": DictionarySourceSpec,
        "tl_ext_scorers": ScorerSpec,
    }
)

S = TypeVar("S", bound=_Spec)
State = Literal["loaded", "partial", "failed", "skipped"]


@dataclass(frozen=True)
class PluginStatus:
    """What became of one plugin.

    Attributes:
        name: The entry point's name; `"builtin"` for our own.
        distribution: The distribution that brings it; None where there is none.
        version: That distribution's version.
        status: `"loaded"`; `"partial"`: loaded, but something it offers cannot be used; `"failed"`:
            nothing of it is used; `"skipped"`: left out by `TL_EXT_PLUGINS`.
        provides: The names that can be used, by hook: `{"adapters": ("MyModelForCausalLM",)}`.
        reason: What is wrong with it, one sentence per problem; empty for a loaded plugin.
    """

    name: str
    distribution: str | None
    version: str | None
    status: State
    provides: Mapping[str, tuple[str, ...]]
    reason: str


class Specs(Mapping[str, S], Generic[S]):
    """Specs by name, in the order they were found, ours first.

    Asking for a name that is not there raises [`PluginError`][tl_ext.errors.PluginError] with the
    nearest names; asking for one that several plugins claim raises it with their names.
    """

    def __init__(
        self, what: str, specs: Mapping[str, S], contested: Mapping[str, Sequence[str]]
    ) -> None:
        self._what, self._specs, self._contested = what, dict(specs), dict(contested)

    @property
    def contested(self) -> dict[str, tuple[str, ...]]:
        """The names that are claimed more than once, with who claims them."""
        return {name: tuple(claimants) for name, claimants in self._contested.items()}

    def __getitem__(self, name: str) -> S:
        if name in self._specs:
            return self._specs[name]
        if name in self._contested:
            raise PluginError(
                f"{self._what} {name!r} is claimed by {' and by '.join(self._contested[name])}, so "
                f"neither is used. Name the plugins you want in {SELECTION} (comma-separated)."
            )
        raise PluginError(
            f"No {self._what} is called {name!r}; there is {', '.join(self._specs) or 'none'}."
            f"{nearest(name, self._specs)} `tl-ext plugins` lists what is loaded and what failed."
        )

    def __contains__(self, name: object) -> bool:
        return name in self._specs

    def get(self, name: str, default: Any = None) -> Any:
        return self._specs.get(name, default)

    def __iter__(self) -> Iterator[str]:
        return iter(self._specs)

    def __len__(self) -> int:
        return len(self._specs)

    def __repr__(self) -> str:
        return f"Specs({', '.join(self._specs)})"


@dataclass
class _Plugin:
    """A plugin as it is being loaded."""

    name: str
    distribution: str | None
    version: str | None
    module: str | None = None
    state: State = "loaded"
    problems: list[str] = field(default_factory=list)
    found: dict[str, list[_Spec]] = field(default_factory=dict)  # by hook
    usable: dict[str, list[str]] = field(default_factory=dict)  # by hook

    @property
    def title(self) -> str:
        return f"{self.name} ({self.distribution or 'no distribution'})"

    def fail(self, problem: str) -> None:
        self.state = "failed"
        self.problems.append(problem)

    def flag(self, problem: str) -> None:
        if self.state == "loaded":
            self.state = "partial"
        self.problems.append(problem)

    def status(self) -> PluginStatus:
        provides = {
            hook.removeprefix("tl_ext_"): tuple(names)
            for hook, names in self.usable.items()
            if names
        }
        return PluginStatus(
            self.name,
            self.distribution,
            self.version,
            self.state,
            MappingProxyType(provides),
            " ".join(self.problems),
        )


class PluginManager:
    """What is installed, as it was when this was built. Make one with `build_manager`."""

    def __init__(self) -> None:
        self._pluggy = pluggy.PluginManager(hookspecs.PROJECT)
        self._pluggy.add_hookspecs(hookspecs)
        self._plugins: list[_Plugin] = []
        self._specs: dict[str, Specs[Any]] = {}

    def adapters(self) -> Specs[AdapterSpec]:
        """Architectures, by model class name."""
        return self._specs["tl_ext_adapters"]

    def fixes(self) -> Specs[FixSpec]:
        """Fixes, by slug."""
        return self._specs["tl_ext_fixes"]

    def analyses(self) -> Specs[AnalysisSpec]:
        """Analyses, by name, in the order of the page."""
        return self._specs["tl_ext_analyses"]

    def dictionary_sources(self) -> Specs[DictionarySourceSpec]:
        """Places dictionaries come from, by scheme."""
        return self._specs["tl_ext_dictionary_sources"]

    def scorers(self) -> Specs[ScorerSpec]:
        """Scores of generated texts, by name."""
        return self._specs["tl_ext_scorers"]

    def report(self) -> list[PluginStatus]:
        """One record per plugin that is installed, ours first, then in the order of their names."""
        return [plugin.status() for plugin in self._plugins]

    def owner(self, spec: _Spec) -> str | None:
        """The plugin and distribution that brought a spec, as `"name (distribution)"`."""
        plugin = self._plugin_of(spec)
        return None if plugin is None else plugin.title

    def module(self, spec: _Spec) -> str | None:
        """The module that implements the hook that gave a spec; None for an object without a name."""
        plugin = self._plugin_of(spec)
        return None if plugin is None else plugin.module

    def _plugin_of(self, spec: _Spec) -> _Plugin | None:
        for plugin in self._plugins:
            if any(spec is one for found in plugin.found.values() for one in found):
                return plugin
        return None

    def references(self) -> Iterator[tuple[str, _Spec, str, str]]:
        """Every reference that is in use, as (plugin, spec, field, reference); none is resolved."""
        for specs in self._specs.values():
            for spec in specs.values():
                for name, ref in spec.references().items():
                    yield self.owner(spec) or "", spec, name, ref

    def _register(self, plugin: _Plugin, load: Callable[[], object]) -> None:
        """Load one plugin, give it to pluggy, and look for hooks it did not mean."""
        self._plugins.append(plugin)
        try:
            module = load()
            plugin.module = getattr(module, "__name__", None)
            self._pluggy.register(module, name=plugin.title)
        except (Exception, SystemExit) as error:  # whatever a plugin does stays with that plugin
            plugin.fail(f"It cannot be loaded: {_told(error)}.")
            return
        callers = self._pluggy.get_hookcallers(module) or []
        unknown = [caller.name for caller in callers if not caller.has_spec()]
        wrappers = [
            caller.name
            for caller in callers
            for impl in caller.get_hookimpls()
            if impl.plugin is module and (impl.wrapper or impl.hookwrapper)
        ]
        for name in unknown:
            plugin.fail(f"There is no hook {name}.{nearest(name, HOOKS)}")
        for name in wrappers:
            plugin.fail(f"{name} is a hook wrapper; hooks here return specs and are never wrapped.")
        if plugin.state == "failed":
            self._pluggy.unregister(module)
            return
        for name in _unmarked(module):
            plugin.flag(
                f"{name} is not marked with @hookimpl and is ignored.{nearest(name, HOOKS)}"
            )
        if not callers:
            plugin.flag(f"It implements no hook; the hooks are {', '.join(HOOKS)}.")

    def _ask(self) -> None:
        """Call every implementation by itself and keep what it returns, if it is what it must be."""
        by_title = {plugin.title: plugin for plugin in self._plugins if plugin.state != "failed"}
        for hook, kind in HOOKS.items():
            for impl in getattr(self._pluggy.hook, hook).get_hookimpls():
                plugin = by_title[impl.plugin_name]
                try:
                    plugin.found[hook] = _checked(impl.function(), kind)
                except (Exception, SystemExit) as error:
                    plugin.flag(f"{hook} failed: {_told(error)}.")

    def _settle(self) -> None:
        """Give each name to the one plugin that claims it."""
        for hook, kind in HOOKS.items():
            claims: dict[str, list[tuple[_Plugin, _Spec]]] = {}
            for plugin in self._plugins:
                for spec in plugin.found.get(hook, ()):
                    claims.setdefault(spec.name_of, []).append((plugin, spec))
            specs: dict[str, _Spec] = {}
            contested: dict[str, list[str]] = {}
            what = f"{kind.__name__.removesuffix('Spec')} {kind.key}"
            for name, claimants in claims.items():
                ours = [claim for claim in claimants if claim[0].name == BUILTIN]
                if len(claimants) == 1 or len(ours) == 1:
                    plugin, specs[name] = ours[0] if ours else claimants[0]
                    plugin.usable.setdefault(hook, []).append(name)
                    for other, _ in claimants:
                        if other is not plugin:
                            other.flag(f"{what} {name!r} is built in and stays ours.")
                    continue
                contested[name] = [plugin.title for plugin, _ in claimants]
                for plugin in {id(plugin): plugin for plugin, _ in claimants}.values():
                    others = [title for title in contested[name] if title != plugin.title]
                    by = f"also claimed by {', '.join(others)}" if others else "given twice"
                    plugin.flag(f"{what} {name!r} is {by}, so neither is used.")
            self._specs[hook] = Specs(what, specs, contested)


def build_manager(
    *, plugins: Mapping[str, object] | None = None, only: Iterable[str] | None = None
) -> PluginManager:
    """Find what is installed under the entry-point group `tl_ext` and load it.

    Nothing is kept between calls; a second manager is a second look.

    Args:
        plugins: Modules or objects to load as plugins besides the installed ones, by name.
        only: Load only the entry points with these names, or of these distributions. None: what the
            environment variable `TL_EXT_PLUGINS` lists, comma-separated (set and empty: none but
            our own), or all where it is not set.

    Returns:
        The manager. It never fails for a plugin's sake: see its `report()`.
    """
    selected = _selection() if only is None else set(only)
    manager = PluginManager()
    manager._register(_Plugin(BUILTIN, OURS, _version(OURS)), lambda: builtin)
    unseen = set(selected or ())
    for point in sorted(_entry_points(), key=lambda point: (point.name, point.value)):
        distribution = point.dist.name if point.dist is not None else None
        version = point.dist.version if point.dist is not None else None
        plugin = _Plugin(point.name, distribution, version)
        names = {point.name, *([distribution] if distribution else [])}
        unseen -= names
        if selected is not None and not names & selected:
            plugin.state = "skipped"
            plugin.problems.append(f"It is not among those chosen: {', '.join(sorted(selected))}.")
            manager._plugins.append(plugin)
            continue
        manager._register(plugin, point.load)
    for name, module in (plugins or {}).items():
        manager._register(_Plugin(name, None, None), partial(_given, module))
    for name in sorted(unseen):
        known = [plugin.name for plugin in manager._plugins]
        plugin = _Plugin(name, None, None)
        plugin.fail(
            f"{SELECTION} names it and nothing installed is called so.{nearest(name, known)}"
        )
        manager._plugins.append(plugin)
    manager._ask()
    manager._settle()
    return manager


def resolve(ref: str) -> Any:
    """Import what a reference names.

    Args:
        ref: `"module:attribute"`; the attribute may be dotted.

    Returns:
        The object.

    Raises:
        PluginError: `ref` has another form, the module cannot be imported, or has no such attribute
            (the message lists the nearest ones).
    """
    module_name, colon, path = ref.partition(":")
    if not (module_name and colon and path):
        raise PluginError(f"{ref!r} is not a reference. Expected 'module:attribute'.")
    try:
        found: Any = importlib.import_module(module_name)
    except Exception as error:
        raise PluginError(f"{ref!r}: importing {module_name} failed: {_told(error)}.") from error
    for name in path.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            raise PluginError(
                f"{ref!r}: {getattr(found, '__name__', found)!r} has no attribute {name!r}."
                f"{nearest(name, dir(found))}"
            ) from None
    return found


def _given(module: object) -> object:
    return module


def _entry_points() -> Iterable[metadata.EntryPoint]:
    return metadata.entry_points(group=ENTRY_POINT_GROUP)


def _selection() -> set[str] | None:
    listed = os.environ.get(SELECTION)
    if listed is None:
        return None
    return {name.strip() for name in listed.split(",") if name.strip()}


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _checked(returned: object, kind: type[_Spec]) -> list[_Spec]:
    """What a hook returned as a list, or a TypeError that says what it must be."""
    expected = f"an iterable of {kind.__name__}"
    if isinstance(returned, (str, bytes, Mapping)) or not isinstance(returned, Iterable):
        raise TypeError(f"it returned {type(returned).__name__}, expected {expected}")
    specs = list(returned)
    for spec in specs:
        if not isinstance(spec, kind):
            raise TypeError(
                f"it returned {type(spec).__name__} in its iterable, expected {expected}"
            )
    return specs


def _unmarked(module: object) -> list[str]:
    """Functions that look like hooks and are not marked as such."""
    candidates = [name for name in dir(module) if name.startswith("tl_ext_")]
    values = {name: inspect.getattr_static(module, name, None) for name in candidates}
    marker = f"{hookspecs.PROJECT}_impl"
    return [
        name for name, value in values.items() if callable(value) and not hasattr(value, marker)
    ]


def _told(error: BaseException) -> str:
    """An error in one line."""
    text = " ".join(str(error).split()).rstrip(".")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
