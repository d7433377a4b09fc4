"""What the rows say of the releases that are installed, beside what a probe saw."""

from __future__ import annotations

from enum import StrEnum
from importlib import metadata, util
from typing import TYPE_CHECKING

from tl_ext.fixes.probing import Finding, State

if TYPE_CHECKING:
    from tl_ext.plugins.specs import FixSpec


class Agreement(StrEnum):
    """How a probe's finding stands to its row."""

    AGREES = "as recorded"
    CONTRADICTS = "not what is recorded"
    UNSAID = "release not recorded"
    UNANSWERED = "could not be asked"


def installed_release(upstream: str) -> str | None:
    """The release of an upstream package that is installed, as rows write it.

    Args:
        upstream: The package, as it is imported.

    Returns:
        `"4.3.0"`; for `sae_lens` with TransformerLens' release, `"6.54.12/4.3.0"`; None where it is
        not installed, or is no installed distribution.
    """
    packages = (upstream, "transformer_lens") if upstream == "sae_lens" else (upstream,)
    try:
        return "/".join(metadata.version(name.replace("_", "-")) for name in packages)
    except metadata.PackageNotFoundError:
        return None


def expected(spec: FixSpec) -> State | None:
    """What a fix's row says its probe answers here.

    Args:
        spec: The fix.

    Returns:
        PRESENT or ABSENT; None where the row says nothing about the installed release.
    """
    release = installed_release(spec.upstream)
    if release in spec.present_in:
        return State.PRESENT
    return State.ABSENT if release in spec.absent_in else None


def agreement(spec: FixSpec, finding: Finding) -> Agreement:
    """Whether a finding is what the fix's row says of the installed release.

    Args:
        spec: The fix.
        finding: What its probe saw.

    Returns:
        `CONTRADICTS` also where the row gives a state and the probe, its upstream package being
        importable, has none to say; `UNANSWERED` where there was nothing to ask: the package is not
        installed or cannot be imported, or a source-only probe had no tree.
    """
    if spec.kind == "source-only":
        return Agreement.UNANSWERED if finding.state is State.UNKNOWN else Agreement.UNSAID
    if finding.state is State.UNKNOWN and not importable(spec.upstream):
        return Agreement.UNANSWERED
    said = expected(spec)
    if said is None:
        return Agreement.UNSAID
    return Agreement.AGREES if finding.state is said else Agreement.CONTRADICTS


def importable(upstream: str) -> bool:
    """Whether an upstream package can be imported here; it is imported to find out.

    Args:
        upstream: The package, as it is imported.
    """
    import importlib

    if util.find_spec(upstream) is None:
        return False
    try:
        importlib.import_module(upstream)
    except Exception:
        return False
    return True
