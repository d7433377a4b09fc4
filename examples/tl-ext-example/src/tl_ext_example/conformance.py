"""Which tiny models the conformance checks draw of this package's architecture.

```
tl-ext conformance ExampleLlamaForCausalLM
```
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tl_ext.conformance import ConformanceSpec
from tl_ext_example.model import ExampleLlamaConfig, ExampleLlamaForCausalLM


def draw_config(draw: Callable[[Any], Any]) -> ExampleLlamaConfig:
    """A config of one or two layers, with as many key and value heads as others or half as many."""
    from hypothesis import strategies as st

    shared = draw(st.integers(1, 2))
    return ExampleLlamaConfig(
        vocab_size=61,
        hidden_size=12,
        intermediate_size=14,
        num_hidden_layers=draw(st.integers(1, 2)),
        num_attention_heads=shared * draw(st.integers(1, 2)),
        num_key_value_heads=shared,
        head_dim=4,
        max_position_embeddings=32,
    )


def build(config: Any) -> ExampleLlamaForCausalLM:
    """A model of a config; scores and patterns are only there with eager attention."""
    config._attn_implementation = "eager"
    return ExampleLlamaForCausalLM(config)


SPEC = ConformanceSpec("ExampleLlamaForCausalLM", draw_config, build=build)
