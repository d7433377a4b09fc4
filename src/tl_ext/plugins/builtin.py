"""Our own hook implementations, by the road every plugin takes. Imports no torch."""

from __future__ import annotations

from tl_ext.plugins.hookspecs import hookimpl
from tl_ext.plugins.specs import (
    AdapterSpec,
    AnalysisSpec,
    DictionarySourceSpec,
    FixSpec,
    ScorerSpec,
)

# One row per architecture upstream lacks.
ADAPTERS: tuple[AdapterSpec, ...] = ()

# One row per analysis of the study, in the order of the page; the callables live in tl_ext.study.
ANALYSES: tuple[AnalysisSpec, ...] = ()

FIXES: tuple[FixSpec, ...] = (
    FixSpec(
        slug="registered-adapters-ignored-by-boot",
        symptom="boot_transformers refuses an architecture whose adapter is registered, or published "
        "as an entry point",
        upstream="transformer_lens",
        kind="runtime",
        takes_effect="at boot",
        probe="tl_ext.fixes.registered_adapters_ignored_by_boot:probe",
        wrap="tl_ext.fixes.registered_adapters_ignored_by_boot:wrap",
        targets=(
            "transformer_lens.factories.architecture_adapter_factory:SUPPORTED_ARCHITECTURES",
            # 3.9 looks in a copy of the name; 4.x asks the factory's module.
            "transformer_lens.model_bridge.sources.transformers:SUPPORTED_ARCHITECTURES?",
        ),
        needed_by="activate(), for architectures that plugins bring",
    ),
)

DICTIONARY_SOURCES: tuple[DictionarySourceSpec, ...] = (
    DictionarySourceSpec(
        scheme="saelens",
        open="tl_ext.dictionaries.saelens:open_release",
        description="a release in SAELens' registry, as saelens://RELEASE",
    ),
    DictionarySourceSpec(
        scheme="folder",
        open="tl_ext.dictionaries.loading:open_folder",
        description="a local folder of dictionaries in SAELens' format; a plain path means this",
    ),
    DictionarySourceSpec(
        scheme="testbed",
        open="tl_ext.dictionaries.loading:open_testbed",
        description="the dictionaries of the shipped bilingual model, as testbed://",
    ),
)

SCORERS: tuple[ScorerSpec, ...] = (
    ScorerSpec(
        name="fluency",
        score="tl_ext.steering.scores:fluency",
        description="mean log-probability per token under the unsteered model, in nats",
        map_to_unit="tl_ext.steering.scores:fluency_to_unit",
    ),
    ScorerSpec(
        name="diversity",
        score="tl_ext.steering.scores:diversity",
        description="share of distinct word n-grams within a generation, 0 to 1",
    ),
)


@hookimpl
def tl_ext_adapters() -> tuple[AdapterSpec, ...]:
    return ADAPTERS


@hookimpl
def tl_ext_fixes() -> tuple[FixSpec, ...]:
    return FIXES


@hookimpl
def tl_ext_analyses() -> tuple[AnalysisSpec, ...]:
    return ANALYSES


@hookimpl
def tl_ext_dictionary_sources() -> tuple[DictionarySourceSpec, ...]:
    return DICTIONARY_SOURCES


@hookimpl
def tl_ext_scorers() -> tuple[ScorerSpec, ...]:
    return SCORERS
