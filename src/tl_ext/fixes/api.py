"""The process-wide ledger and the calls that use it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tl_ext.errors import TlExtError
from tl_ext.fixes.ledger import FixStatus, Ledger
from tl_ext.fixes.probing import Finding, State, run_probe
from tl_ext.fixes.releases import expected, importable
from tl_ext.plugins import FixSpec, PluginManager, Specs, build_manager

# One per process, because what it changes is: upstream's modules are shared by all code here.
process_ledger = Ledger()


def specs(*, manager: PluginManager | None = None) -> Specs[FixSpec]:
    """Every fix that is known, by slug.

    Args:
        manager: Where to look; None builds a manager.

    Returns:
        The fixes of this package and of installed plugins.
    """
    return (manager or build_manager()).fixes()


def apply(
    *slugs: str, manager: PluginManager | None = None, quiet: bool = False
) -> list[FixStatus]:
    """Put fixes in effect for the whole process, in the order given; import-time ones come first.

    Applies are counted: a fix goes when it was reverted as often as it was applied. An import-time
    fix must be applied before its upstream package is imported, and stays once that has happened.

    Args:
        slugs: The fixes' names; `*recommended()` for those that are called for here.
        manager: Where to look them up; None builds a manager.
        quiet: Do not write to standard error what was not in effect and now is.

    Returns:
        Where each stands now.

    Raises:
        PluginError: A slug is not known.
        FixError: A fix cannot be applied; those applied before it in this call are taken back.
    """
    known = specs(manager=manager)
    wanted = [known[slug] for slug in slugs]
    new = [spec.slug for spec in wanted if not process_ledger.count(spec)]
    done: list[FixSpec] = []
    try:
        # Applying a runtime fix imports the package that another one prepares.
        for spec in sorted(wanted, key=lambda spec: spec.kind != "import-time"):
            process_ledger.apply(spec)
            done.append(spec)
    except TlExtError:
        for spec in reversed(done):
            if not process_ledger.stays(spec):
                process_ledger.revert(spec)
        raise
    if new and not quiet:
        listed = ", ".join(dict.fromkeys(new))
        print(
            f"tl_ext: applied, for the whole process, the fixes {listed} "
            "(tl_ext.fixes.revert takes them back).",
            file=sys.stderr,
        )
    return process_ledger.status(*wanted)


def revert(*slugs: str, manager: PluginManager | None = None) -> list[FixStatus]:
    """Take one apply of each fix back, in the order given; any order will do.

    Args:
        slugs: The fixes' names.
        manager: Where to look them up; None builds a manager.

    Returns:
        Where each stands now.

    Raises:
        PluginError: A slug is not known.
        FixError: A fix is not applied, something else has changed what it had wrapped, or what an
            import-time fix has prepared was imported.
    """
    known = specs(manager=manager)
    for slug in slugs:
        process_ledger.revert(known[slug])
    return process_ledger.status(*(known[slug] for slug in slugs))


@contextmanager
def applied(*slugs: str, manager: PluginManager | None = None) -> Iterator[list[FixStatus]]:
    """Fixes for the length of a `with` block. Process-wide: other threads have them too.

    An import-time fix whose package was imported in the block outlives it: what was imported stays.

    Args:
        slugs: The fixes' names.
        manager: Where to look them up; None builds a manager.

    Yields:
        Where each stands.

    Raises:
        PluginError: A slug is not known.
        FixError: A fix cannot be applied, or not taken back.
    """
    manager = manager or build_manager()
    statuses = apply(*slugs, manager=manager, quiet=True)
    try:
        yield statuses
    finally:
        known = specs(manager=manager)
        revert(*(s for s in reversed(slugs) if not process_ledger.stays(known[s])), manager=manager)


def in_effect(slug: str, *, manager: PluginManager | None = None) -> bool:
    """Whether a fix is applied; `status` tells more and takes longer.

    Args:
        slug: The fix's name.
        manager: Where to look it up; None builds a manager.

    Raises:
        PluginError: The slug is not known.
    """
    return process_ledger.count(specs(manager=manager)[slug]) > 0


def status(*slugs: str, manager: PluginManager | None = None) -> list[FixStatus]:
    """Where fixes stand.

    Args:
        slugs: The fixes' names; none means all.
        manager: Where to look them up; None builds a manager.

    Returns:
        One record per fix.

    Raises:
        PluginError: A slug is not known.
    """
    known = specs(manager=manager)
    return process_ledger.status(*(known[slug] for slug in slugs or known))


def probe(
    slug: str, *, tree: str | Path | None = None, manager: PluginManager | None = None
) -> Finding:
    """Whether an upstream bug is there, by reproducing it.

    Args:
        slug: The fix's name.
        tree: For a source-only fix, the root of the source tree to look at.
        manager: Where to look it up; None builds a manager.

    Returns:
        PRESENT, ABSENT or UNKNOWN, with what was seen; UNKNOWN for a source-only fix without a tree.

    Raises:
        PluginError: The slug is not known.
        FixError: A tree was given for a fix of another kind, or is no folder.
    """
    spec = specs(manager=manager)[slug]
    return run_probe(spec, tree=None if tree is None else Path(tree))


def recommended(*, manager: PluginManager | None = None) -> tuple[str, ...]:
    """The fixes to apply here, for `apply(*recommended())`.

    Those whose row recommends them, that can be applied, and whose bug a probe finds in what is
    installed. The rows alone would be quicker and would misjudge a fork or a release they do not
    name; all probes together take seconds. What is in effect already is not named again. Of a package
    that imports only under one of these fixes nothing can be asked yet; there the rows are believed.

    Args:
        manager: Where to look; None builds a manager.

    Returns:
        Slugs, those of import-time fixes first. Probing imports the upstream packages; where an
        import-time fix should come before that, as `tl-ext fixes list` says, apply it by name.
    """
    candidates = [
        spec for spec in specs(manager=manager).values() if spec.recommended and spec.applicable
    ]
    candidates.sort(key=lambda spec: spec.kind != "import-time")
    usable = {upstream: importable(upstream) for upstream in {one.upstream for one in candidates}}
    chosen: list[FixSpec] = []
    for spec in candidates:
        if usable[spec.upstream] or spec.kind == "import-time":
            present = run_probe(spec).state is State.PRESENT
        else:
            opened = any(one.upstream == spec.upstream for one in chosen)
            present = opened and expected(spec) is State.PRESENT
        if present:
            chosen.append(spec)
    return tuple(spec.slug for spec in chosen)
