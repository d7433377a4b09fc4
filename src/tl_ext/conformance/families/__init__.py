"""The architectures that are known here: which tiny models to draw of each, what is claimed and known."""

from __future__ import annotations

from collections.abc import Mapping

from tl_ext.conformance.spec import ConformanceSpec

FAMILIES: Mapping[str, ConformanceSpec] = {}
"""By architecture."""
