"""The upstream bugs that are known, one row each, by upstream package. Imports no torch."""

from __future__ import annotations

from tl_ext.plugins.known_fixes.arena import ARENA
from tl_ext.plugins.known_fixes.saelens import SAE_LENS
from tl_ext.plugins.known_fixes.transformerlens import TRANSFORMER_LENS

FIXES = (*TRANSFORMER_LENS, *SAE_LENS, *ARENA)
