"""The architectures that are checked: what is drawn of each, what it claims, and what fails upstream."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from tl_ext import upstream
from tl_ext.conformance.families import (
    gpt2_like,
    latent_attention,
    llama_like,
    mixtures,
    own,
    parallel,
    post_norm,
)
from tl_ext.conformance.spec import ConformanceSpec

FAMILIES: Mapping[str, ConformanceSpec] = MappingProxyType(
    {
        spec.name: spec
        # Ours last: what they register and mend holds for the whole process from then on.
        for room in (gpt2_like, llama_like, parallel, post_norm, mixtures, latent_attention, own)
        for spec in room.SPECS
    }
)
"""By architecture, as checkpoints name it."""


def here() -> dict[str, ConformanceSpec]:
    """The specs whose architecture the installed TransformerLens has an adapter for, and our own."""
    known = {*upstream.own_architectures(), *(spec.name for spec in own.SPECS)}
    return {name: spec for name, spec in FAMILIES.items() if name in known}
