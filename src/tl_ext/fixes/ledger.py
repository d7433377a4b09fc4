"""Who changed what of somebody else's package, in which order, and how to take it back.

The ledger keeps, per (owner, name), what was there first and the ordered wrappers on top of it.
Reverting one fix rebuilds the rest of the chain from the original, so fixes may be taken back in
any order. Applies are counted: a fix goes when it was reverted as often as it was applied. A value
that neither upstream nor the ledger put there is never overwritten: the ledger stops with
[`FixError`][tl_ext.errors.FixError].

A name is read from `vars(owner)`: where a class only inherits it, reverting deletes our entry, so
that later changes to the base class show again.
"""

from __future__ import annotations

import importlib
import inspect
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tl_ext.errors import FixError, nearest
from tl_ext.fixes.redirecting import Redirection
from tl_ext.plugins.manager import resolve
from tl_ext.plugins.specs import FixSpec, Target

_MISSING: Any = object()


@dataclass(frozen=True)
class FixStatus:
    """Where one fix stands.

    Attributes:
        slug: The fix.
        applied: How many applies have not been reverted; 0: not in effect.
        targets: The names it wraps now, as `"module:attribute"`; of an import-time fix, those that
            its package finds elsewhere.
        absent: Declared targets that this release does not have.
        stray: Where modules not declared as targets hold the name that was wrapped, or still hold
            the wrapper; code there does not follow the fix.
    """

    slug: str
    applied: int
    targets: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    stray: tuple[str, ...] = ()


@dataclass
class _Layer:
    """One fix's wrapper at one name."""

    slug: str
    wrap: Callable[[Any], Any]
    value: Any = _MISSING


@dataclass
class _Slot:
    """One name of one owner: what was there and what lies on top of it."""

    target: str
    owner: Any
    name: str
    own: Any  # what vars(owner) held, or _MISSING where the name was inherited
    original: Any  # the same, looked up through the base classes
    layers: list[_Layer] = field(default_factory=list)

    @property
    def expected(self) -> Any:
        return self.layers[-1].value if self.layers else self.own

    def check(self) -> None:
        current = vars(self.owner).get(self.name, _MISSING)
        if current is not self.expected:
            raise FixError(
                f"{self.target} holds {_shown(current)}, which neither upstream nor the fixes "
                f"{[layer.slug for layer in self.layers]} put there. Take that change back first; "
                "the fixes stay as they are until then."
            )

    def rebuild(self, shared: dict[tuple[Any, ...], Any]) -> None:
        """Stack the layers on the original again; one object under one fix gets one wrapper."""
        below = self.original
        for layer in self.layers:
            key = (layer.slug, layer.wrap, id(below))
            if key not in shared:
                shared[key] = _wrapped(layer.wrap, below)
            below = layer.value = shared[key]

    def write(self) -> None:
        if self.expected is _MISSING:
            delattr(self.owner, self.name)
        else:
            setattr(self.owner, self.name, self.expected)


@dataclass
class _Entry:
    """One fix that is in effect."""

    count: int
    slots: list[_Slot]
    absent: tuple[str, ...]
    redirection: Redirection | None = None  # of an import-time fix

    @property
    def targets(self) -> tuple[str, ...]:
        if self.redirection is not None:
            return tuple(self.redirection.names)
        return tuple(slot.target for slot in self.slots)


class Ledger:
    """The record of applied fixes, for the whole process; one lock around every change."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._slots: dict[tuple[int, str], _Slot] = {}
        self._entries: dict[str, _Entry] = {}

    def apply(self, spec: FixSpec) -> None:
        """Put a fix in effect, or count one more apply where it is already.

        Args:
            spec: A fix of the runtime or the import-time kind.

        Raises:
            FixError: The fix is of another kind, a target does not exist and is not marked as such,
                a target holds a foreign value, wrapping failed, or what an import-time fix prepares
                is imported already. Nothing is changed then.
        """
        if spec.kind == "import-time":
            self._prepare(spec)
            return
        if spec.kind != "runtime":
            raise FixError(
                f"The fix {spec.slug!r} is {spec.kind} and cannot be applied to what is imported. "
                f"It has a patch: tl-ext patches export {spec.slug} --to CHECKOUT"
            )
        with self._lock:
            if spec.slug in self._entries:
                entry = self._entries[spec.slug]
                for slot in entry.slots:
                    slot.check()
                entry.count += 1
                return
            found, absent = self._locate(spec)
            slots = [slot for slot, _ in found]
            for slot in slots:
                slot.check()
            layers = [_Layer(spec.slug, resolve(target.wrap)) for _, target in found]
            for slot, layer in zip(slots, layers, strict=True):
                slot.layers.append(layer)
            self._change(slots, undo=lambda slot: slot.layers.pop())
            for slot in slots:
                self._slots.setdefault((id(slot.owner), slot.name), slot)
            self._entries[spec.slug] = _Entry(1, slots, absent)

    def revert(self, spec: FixSpec) -> None:
        """Take one apply of a fix back, and the fix itself with the last of them.

        Args:
            spec: The fix.

        Raises:
            FixError: It is not applied, a target holds a foreign value, or what an import-time fix
                has prepared was imported. Nothing is changed then.
        """
        with self._lock:
            entry = self._entries.get(spec.slug)
            if entry is None:
                raise FixError(
                    f"The fix {spec.slug!r} is not applied; applied are "
                    f"{', '.join(self._entries) or 'none'}."
                )
            for slot in entry.slots:
                slot.check()
            if entry.count > 1:
                entry.count -= 1
                return
            if entry.redirection is not None:
                if self.stays(spec):
                    raise FixError(
                        f"The fix {spec.slug!r} cannot be taken back: {spec.upstream} was imported "
                        "under it. A new process begins without it."
                    )
                entry.redirection.take_back()
            before = {id(slot): list(slot.layers) for slot in entry.slots}
            for slot in entry.slots:
                slot.layers = [layer for layer in slot.layers if layer.slug != spec.slug]
            self._change(entry.slots, undo=lambda slot: setattr(slot, "layers", before[id(slot)]))
            del self._entries[spec.slug]
            for slot in entry.slots:
                if not slot.layers:
                    del self._slots[id(slot.owner), slot.name]

    def count(self, spec: FixSpec) -> int:
        """How often a fix is applied; unlike `status`, without a look at every loaded module.

        Args:
            spec: The fix.
        """
        with self._lock:
            entry = self._entries.get(spec.slug)
            return 0 if entry is None else entry.count

    def stays(self, spec: FixSpec) -> bool:
        """Whether the last apply of a fix can no longer be taken back, its package being imported.

        Args:
            spec: The fix.
        """
        imported = spec.kind == "import-time" and spec.upstream in sys.modules
        return imported and self.count(spec) == 1

    def status(self, *specs: FixSpec) -> list[FixStatus]:
        """Where fixes stand.

        Args:
            specs: The fixes.

        Returns:
            Of each its count, targets, and modules that hold the wrapped name without being declared.
        """
        with self._lock:
            entries = {spec.slug: self._entries.get(spec.slug) for spec in specs}
            strays = _strays({slug: entry.slots for slug, entry in entries.items() if entry})
            return [
                FixStatus(slug, 0)
                if entry is None
                else FixStatus(slug, entry.count, entry.targets, entry.absent, strays[slug])
                for slug, entry in ((spec.slug, entries[spec.slug]) for spec in specs)
            ]

    def _prepare(self, spec: FixSpec) -> None:
        """Prepare an import, or count one more apply where it is prepared already."""
        with self._lock:
            entry = self._entries.get(spec.slug)
            if entry is None:
                if spec.upstream in sys.modules:
                    raise FixError(
                        f"The fix {spec.slug!r} must be applied before {spec.upstream} is imported, "
                        "and it is imported already. Apply it first in a new process, or run the "
                        f"script with: tl-ext fixes run {spec.slug} -- SCRIPT"
                    )
                assert spec.prepare is not None  # the spec sees to that
                entry = self._entries[spec.slug] = _Entry(0, [], (), resolve(spec.prepare)())
            entry.count += 1

    def _locate(self, spec: FixSpec) -> tuple[list[tuple[_Slot, Target]], tuple[str, ...]]:
        """The slots a fix's targets mean, known ones where there are, and the absent targets."""
        found, absent = [], []
        for target in spec.targets:
            slot = _slot(target.name)
            if slot is None:
                absent.append(target.name.removesuffix("?"))
            else:
                found.append((self._slots.get((id(slot.owner), slot.name), slot), target))
        if not found:
            raise FixError(
                f"The fix {spec.slug!r} found none of its targets ({', '.join(absent)}). "
                "This release of its upstream package is one it does not know."
            )
        return found, tuple(absent)

    def _change(self, slots: list[_Slot], *, undo: Callable[[_Slot], object]) -> None:
        """Rebuild and write slots, all or none."""
        values = [[layer.value for layer in slot.layers] for slot in slots]
        try:
            shared: dict[tuple[Any, ...], Any] = {}
            for slot in slots:
                slot.rebuild(shared)
        except Exception as error:
            for slot, old in zip(slots, values, strict=True):
                for layer, value in zip(slot.layers, old, strict=True):
                    layer.value = value
                undo(slot)
            raise FixError(f"Wrapping {slots[0].target} failed: {error!r}") from error
        for slot in slots:
            slot.write()


def _slot(target: str) -> _Slot | None:
    """A slot for a target as things are now; None for a target marked `?` that does not exist."""
    may_lack = target.endswith("?")
    module_name, _, path = target.removesuffix("?").partition(":")
    *parents, name = path.split(".")
    try:
        # A module under its old name may say so; it is not the user who imports it here.
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
            owner: Any = importlib.import_module(module_name)
        for parent in parents:
            owner = getattr(owner, parent)
        own = vars(owner).get(name, _MISSING)
        original = inspect.getattr_static(owner, name) if own is _MISSING else own
    except (ImportError, AttributeError) as error:
        if may_lack:
            return None
        known = dir(sys.modules[module_name]) if module_name in sys.modules else ()
        raise FixError(
            f"The target {target} does not exist: {error}.{nearest(name, known)}"
        ) from error
    return _Slot(target.removesuffix("?"), owner, name, own, original)


def _wrapped(wrap: Callable[[Any], Any], below: Any) -> Any:
    """Wrap a value; of methods that are dressed and of properties the function inside."""
    if isinstance(below, (staticmethod, classmethod)):
        return type(below)(wrap(below.__func__))
    if isinstance(below, property):
        return property(wrap(below.fget), below.fset, below.fdel, below.__doc__)
    return wrap(below)


def _strays(slots: Mapping[str, Iterable[_Slot]]) -> dict[str, tuple[str, ...]]:
    """Of each fix the names in loaded modules that hold the original of a slot, or a value of its chain."""
    watched: dict[int, set[str]] = {}
    declared: dict[str, set[tuple[int, str]]] = {}
    for slug, its in slots.items():
        # `from x import f` copies what a module holds; a method is looked up in its class.
        copied = [slot for slot in its if isinstance(slot.owner, type(sys))]
        declared[slug] = {(id(slot.owner), slot.name) for slot in copied}
        for slot in copied:
            for value in (slot.original, *(layer.value for layer in slot.layers)):
                watched.setdefault(id(value), set()).add(slug)
    found: dict[str, list[str]] = {slug: [] for slug in slots}
    for module_name, module in list(sys.modules.items()) if watched else ():
        # Ours hold the value to wrap it; a lazy module may answer anything to getattr.
        if module_name.partition(".")[0] == "tl_ext" or not isinstance(module, type(sys)):
            continue
        held = list(vars(module).items())
        # Together there are some hundred thousand names, and hardly a module holds one that is watched.
        if watched.keys().isdisjoint(map(id, [value for _, value in held])):
            continue
        for name, value in held:
            for slug in watched.get(id(value), ()):
                if (id(module), name) not in declared[slug]:
                    found[slug].append(f"{module_name}:{name}")
    return {slug: tuple(sorted(names)) for slug, names in found.items()}


def _shown(value: Any) -> str:
    if value is _MISSING:
        return "nothing"
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "..."
