"""Concepts: words in texts, and the tokens that hold them.

A [`Concept`][tl_ext.concepts.concept.Concept] is texts in which a word says it; `word_spans` finds
the tokens of the word in any language and any tokenization. The built-in sets are in
`tl_ext.concepts.emotions`, one's own come from a YAML file through `load_concepts`. Nothing here
loads torch until it is given a tensor.
"""

from __future__ import annotations

from tl_ext.concepts.aggregation import aggregate
from tl_ext.concepts.concept import Concept, Example
from tl_ext.concepts.loading import dump_concepts, load_concepts, load_matched
from tl_ext.concepts.spans import occurrences, word_spans, word_spans_many

__all__ = [
    "Concept",
    "Example",
    "aggregate",
    "dump_concepts",
    "load_concepts",
    "load_matched",
    "occurrences",
    "word_spans",
    "word_spans_many",
]
