"""What this package adds to tl_ext. Names only: nothing here loads torch."""

from __future__ import annotations

from tl_ext.plugins import (
    AdapterSpec,
    AnalysisSpec,
    DictionarySourceSpec,
    ScorerSpec,
    hookimpl,
)


@hookimpl
def tl_ext_adapters() -> list[AdapterSpec]:
    return [
        AdapterSpec(
            architecture="ExampleLlamaForCausalLM",
            adapter="tl_ext_example.adapter:ExampleLlamaAdapter",
            conformance="tl_ext_example.conformance:SPEC",
            register="tl_ext_example.model:register",
        )
    ]


@hookimpl
def tl_ext_dictionary_sources() -> list[DictionarySourceSpec]:
    return [
        DictionarySourceSpec(
            scheme="example",
            open="tl_ext_example.dictionary:open_example",
            description="a dictionary that changes nothing, as example://HOOK_POINT/WIDTH",
        )
    ]


@hookimpl
def tl_ext_analyses() -> list[AnalysisSpec]:
    return [
        AnalysisSpec(
            name="example_lengths",
            title="How long activations are",
            needs=(),
            collect="tl_ext_example.analysis:collect",
            tabulate="tl_ext_example.analysis:tabulate",
            draw="tl_ext_example.analysis:draw",
            caption="Lengths grow with depth in most models; that is no statement about features.",
        )
    ]


@hookimpl
def tl_ext_scorers() -> list[ScorerSpec]:
    return [
        ScorerSpec(
            name="example_words",
            score="tl_ext_example.scorer:words",
            description="number of words in a generation",
            map_to_unit="tl_ext_example.scorer:words_to_unit",
        )
    ]
