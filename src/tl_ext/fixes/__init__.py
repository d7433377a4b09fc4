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

from tl_ext.fixes.api import applied, apply, in_effect, probe, recommended, revert, specs, status
from tl_ext.fixes.ledger import FixStatus, Ledger
from tl_ext.fixes.patching.patches import Patch, every_patch, every_series, patches_root, series
from tl_ext.fixes.patching.verifying import PatchReport, verify
from tl_ext.fixes.probing import Finding, State
from tl_ext.fixes.proving import Proof, prove, reach
from tl_ext.fixes.releases import Agreement, agreement, expected, installed_release

__all__ = [
    "Agreement",
    "Finding",
    "FixStatus",
    "Ledger",
    "Patch",
    "PatchReport",
    "Proof",
    "State",
    "agreement",
    "applied",
    "apply",
    "every_patch",
    "every_series",
    "expected",
    "in_effect",
    "installed_release",
    "patches_root",
    "probe",
    "prove",
    "reach",
    "recommended",
    "revert",
    "series",
    "specs",
    "status",
    "verify",
]
