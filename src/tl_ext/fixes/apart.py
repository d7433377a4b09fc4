"""The states of an import-time fix, each in a process of its own: what is imported stays imported."""

from __future__ import annotations

from collections.abc import Sequence

from tl_ext.errors import FixError
from tl_ext.fixes import api
from tl_ext.fixes.children import Children
from tl_ext.fixes.probing import State

STEPS: tuple[tuple[str, ...], ...] = ((), ("apply",), ("apply", "revert"))


def states(slug: str) -> tuple[State, State, State]:
    """What a fix's probe says without the fix, with it, and with it taken back before the import.

    Args:
        slug: An import-time fix of this package.

    Returns:
        The three states; each was found in a process that had imported no upstream package before.

    Raises:
        FixError: One of the processes came to no answer.
    """
    found = []
    with Children() as children:
        for steps in STEPS:
            outcome = children.call(f"{__name__}:state_after", slug, steps)
            if outcome.error:
                what = f"{slug} after {', '.join(steps) or 'nothing'}"
                raise FixError(f"Asking in a process of its own failed for {what}: {outcome.error}")
            found.append(State(outcome.result))
    before, during, after = found
    return before, during, after


def state_after(slug: str, steps: Sequence[str]) -> str:
    """What a fix's probe says in this process after some steps.

    Args:
        slug: The fix.
        steps: `"apply"` and `"revert"`, in any order.
    """
    for step in steps:
        (api.apply if step == "apply" else api.revert)(slug)
    return str(api.probe(slug).state)
