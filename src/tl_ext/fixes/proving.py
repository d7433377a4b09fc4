"""Whether fixes do here what they should, and which names of the installed releases they reach."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

from tl_ext.errors import FixError
from tl_ext.fixes import apart
from tl_ext.fixes.api import applied, specs
from tl_ext.fixes.ledger import FixStatus
from tl_ext.fixes.probing import State, run_probe
from tl_ext.fixes.releases import importable
from tl_ext.plugins import FixSpec, PluginManager


@dataclass(frozen=True)
class Proof:
    """What a fix's probe said, one after the other.

    Attributes:
        before: Without the fix.
        during: With it; None where it was not applied.
        after: With the fix taken back; None where it was not applied.
        unasked: Why there was nothing to prove; empty where there was.
    """

    before: State
    during: State | None = None
    after: State | None = None
    unasked: str = ""

    @property
    def right(self) -> bool:
        """Whether the fix does what it should, as far as that can be asked here."""
        if self.during is None:
            return bool(self.unasked)
        states = (self.before, self.during, self.after)
        return states == (State.PRESENT, State.ABSENT, State.PRESENT)

    def __str__(self) -> str:
        if self.during is None:
            return f"{self.before}; {self.unasked or 'its probe has no answer'}"
        seen = f"{self.before}; with the fix {self.during}; taken back, {self.after}"
        return f"{seen}: {'right' if self.right else 'WRONG'}"


def prove(slug: str, *, manager: PluginManager | None = None) -> Proof:
    """Prove a fix: the bug before, none with the fix, the bug again after taking it back.

    An import-time fix is proved in processes of its own, and has to be one of this package.

    Args:
        slug: The fix's name.
        manager: Where to look it up; None builds a manager.

    Returns:
        The states. A bug that is absent here needs no fix, and of a package that cannot be imported
        nothing is asked.

    Raises:
        PluginError: The slug is not known.
        FixError: The fix cannot be applied, or not taken back.
    """
    spec = specs(manager=manager)[slug]
    before = run_probe(spec).state
    if before is not State.PRESENT or not spec.applicable:
        return Proof(before, unasked=_unasked(spec, before))
    if spec.kind == "import-time":
        return Proof(*apart.states(slug))
    with applied(slug, manager=manager):
        during = run_probe(spec).state
    return Proof(before, during, run_probe(spec).state)


def _unasked(spec: FixSpec, before: State) -> str:
    """Why there is nothing to prove of a fix; empty where there is."""
    if not spec.applicable:
        return f"{spec.kind}: `tl-ext patches verify` proves its patch"
    if find_spec(spec.upstream) is None:
        return f"{spec.upstream} is not installed"
    if spec.kind == "runtime" and not importable(spec.upstream):
        return f"{spec.upstream} cannot be imported here, so there was nothing to ask"
    return "nothing to fix here" if before is State.ABSENT else ""


def reach(slug: str, *, manager: PluginManager | None = None) -> FixStatus:
    """Which names a fix wraps here, which it does not find, and which copies it does not reach.

    To see that, it is applied and taken back.

    Args:
        slug: The name of a runtime fix.
        manager: Where to look it up; None builds a manager.

    Returns:
        Where it stood while it was applied.

    Raises:
        PluginError: The slug is not known.
        FixError: The fix wraps nothing, its package cannot be imported, or it cannot be applied.
    """
    spec = specs(manager=manager)[slug]
    if spec.kind != "runtime":
        raise FixError(f"A fix that is {spec.kind} wraps nothing.")
    if not importable(spec.upstream):
        raise FixError(f"{spec.upstream} cannot be imported here.")
    with applied(slug, manager=manager) as (status,):
        return status
