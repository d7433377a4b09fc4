"""ARENA's course files, which no package installs: their bugs, and our function in the course's place.

```python
from tl_ext.fixes import arena

arena.put_into(utils)  # the course's module, as you imported it
utils.plot_features_in_2d(model.W, colors=model.importance)
arena.take_out_of(utils)
```

The module is yours, so nothing is looked for: the function is put where you say, through the ledger.
Calls are counted, the original comes back with the last of them, and a value that somebody else has put
there since stops it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from tl_ext.errors import FixError
from tl_ext.fixes.api import process_ledger
from tl_ext.fixes.ledger import FixStatus
from tl_ext.plugins.specs import FixSpec, Target

__all__ = ["in_place_of", "put_into", "take_out_of"]

_NAME = "plot_features_in_2d"


def put_into(utils: ModuleType) -> FixStatus:
    """Put our `plot_features_in_2d` in the place of the course's, under the course's arguments.

    Args:
        utils: The course's module, as it was imported.

    Returns:
        Where it stands: how often it was put there, and modules that hold the course's function by
        `from utils import ...` and go on calling it.

    Raises:
        FixError: The module is not imported under its name, has no such function or one with
            arguments that no version of the course takes, or holds a value that somebody else put
            there.
    """
    spec = _spec(utils)
    process_ledger.apply(spec)
    return process_ledger.status(spec)[0]


def take_out_of(utils: ModuleType) -> FixStatus:
    """Take one `put_into` back, and with the last of them the course's function is there again.

    Args:
        utils: The module.

    Returns:
        Where it stands now.

    Raises:
        FixError: It was not put there, or something else has changed what is there.
    """
    spec = _spec(utils)
    process_ledger.revert(spec)
    return process_ledger.status(spec)[0]


@contextmanager
def in_place_of(utils: ModuleType) -> Iterator[FixStatus]:
    """Our function in the course's place for the length of a `with` block.

    Args:
        utils: The course's module, as it was imported.

    Yields:
        Where it stands.

    Raises:
        FixError: It cannot be put there, or not taken out.
    """
    status = put_into(utils)
    try:
        yield status
    finally:
        take_out_of(utils)


def _spec(utils: ModuleType) -> FixSpec:
    """What the ledger is told: one fix per module, whose target is that module's function."""
    if not isinstance(utils, ModuleType):
        raise FixError(
            f"{utils!r:.60} is of type {type(utils).__name__}; the course's module is expected, as "
            "`import ... as utils` gives it."
        )
    name = utils.__name__
    if sys.modules.get(name) is not utils:
        raise FixError(
            f"The module {name!r} is not the one that is imported under this name. Import it in the "
            f"usual way, or put it into sys.modules[{name!r}]."
        )
    slug = "-".join(["plot-features-in-2d-in", *re.findall(r"[a-z0-9]+", name.lower())])
    here = __name__
    return FixSpec(
        slug,
        f"{_NAME} of {name} draws in few of the forms it is called with",
        "arena",
        "runtime",
        "now",
        f"{here}.{_NAME}_x_must_be_a_sequence:probe",
        (Target(f"{name}:{_NAME}", f"{here}.course:wrap"),),
    )
