"""Upstream bugs: a probe for each, a fix that can be taken back where one is possible, and a patch.

A fix changes a package of somebody else's for the whole process, for every thread, until it is
reverted; processes started afterwards do not inherit it. Importing this applies nothing.

```python
from tl_ext import fixes

fixes.probe("registered-adapters-ignored-by-boot").state  # PRESENT
with fixes.applied("registered-adapters-ignored-by-boot"):
    ...
```
"""

from __future__ import annotations

from tl_ext.fixes.api import applied, apply, in_effect, probe, revert, specs, status
from tl_ext.fixes.ledger import FixStatus, Ledger
from tl_ext.fixes.patches import Patch, patches_root, series
from tl_ext.fixes.probing import Finding, State

__all__ = [
    "Finding",
    "FixStatus",
    "Ledger",
    "Patch",
    "State",
    "applied",
    "apply",
    "in_effect",
    "patches_root",
    "probe",
    "revert",
    "series",
    "specs",
    "status",
]
