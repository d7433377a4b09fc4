"""Discovery: what other packages add to this one, and our own additions by the same road.

A plugin is a module named under the entry-point group `tl_ext` that implements some of the hooks in
[`hookspecs`][tl_ext.plugins.hookspecs]. A hook returns specs: names, and `"module:attribute"`
strings that are resolved when they are used, so that finding plugins loads neither torch nor a
model.
"""

from __future__ import annotations

from tl_ext.plugins.hookspecs import hookimpl
from tl_ext.plugins.manager import (
    ENTRY_POINT_GROUP,
    PluginManager,
    PluginStatus,
    Specs,
    build_manager,
    resolve,
)
from tl_ext.plugins.specs import (
    AdapterSpec,
    AnalysisSpec,
    DictionarySourceSpec,
    Family,
    FixSpec,
    ScorerSpec,
    Target,
    Verification,
)

__all__ = [
    "ENTRY_POINT_GROUP",
    "AdapterSpec",
    "AnalysisSpec",
    "DictionarySourceSpec",
    "Family",
    "FixSpec",
    "PluginManager",
    "PluginStatus",
    "ScorerSpec",
    "Specs",
    "Target",
    "Verification",
    "build_manager",
    "hookimpl",
    "resolve",
]
