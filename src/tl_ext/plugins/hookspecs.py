"""The hooks a plugin may implement.

A hook is called when specs are looked up, never in a forward pass. Each returns an iterable of
specs; one that raises or returns anything else is reported and its plugin's other hooks still
count.

```python
from tl_ext.plugins import AdapterSpec, hookimpl


@hookimpl
def tl_ext_adapters():
    return [AdapterSpec("MyModelForCausalLM", "my_package.adapter:MyAdapter")]
```
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from tl_ext.plugins.specs import (
        AdapterSpec,
        AnalysisSpec,
        DictionarySourceSpec,
        FixSpec,
        ScorerSpec,
    )

PROJECT = "tl_ext"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def tl_ext_adapters() -> Iterable[AdapterSpec]:  # type: ignore[empty-body]
    """Architectures to teach TransformerLens."""


@hookspec
def tl_ext_fixes() -> Iterable[FixSpec]:  # type: ignore[empty-body]
    """Upstream bugs, each with a probe and, where possible, a fix."""


@hookspec
def tl_ext_analyses() -> Iterable[AnalysisSpec]:  # type: ignore[empty-body]
    """Analyses for the study."""


@hookspec
def tl_ext_dictionary_sources() -> Iterable[DictionarySourceSpec]:  # type: ignore[empty-body]
    """Places dictionaries come from, keyed by scheme."""


@hookspec
def tl_ext_scorers() -> Iterable[ScorerSpec]:  # type: ignore[empty-body]
    """Scores of generated texts."""
