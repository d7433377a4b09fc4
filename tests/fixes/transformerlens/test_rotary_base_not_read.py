"""`cfg.rotary_base` is the base the model computes with."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import transformers as hf

from tl_ext import fixes
from tl_ext.fixes.transformerlens.rotary_base_not_read import SLUG


def mapped(config: Any) -> Any:
    sources = importlib.import_module("transformer_lens.model_bridge.sources.transformers")
    return getattr(sources.map_default_transformer_lens_config(config), "rotary_base", None)


@pytest.mark.parametrize("family", ["Qwen2Config", "LlamaConfig", "MistralConfig", "GlmConfig"])
def test_the_base_is_read_where_transformers_keeps_it(family: str) -> None:
    config = getattr(hf, family)(rope_parameters={"rope_type": "default", "rope_theta": 12345.0})
    assert mapped(config) is None
    with fixes.applied(SLUG):
        assert mapped(config) == 12345.0


def test_where_there_is_no_one_base_nothing_is_told() -> None:
    for config in (hf.GPT2Config(), hf.Gemma3TextConfig()):
        before = mapped(config)
        with fixes.applied(SLUG):
            assert mapped(config) == before


def test_a_base_that_upstream_reads_stays_upstreams() -> None:
    config = hf.LlamaConfig(rope_parameters={"rope_type": "default", "rope_theta": 12345.0})
    config.rope_theta = 77.0
    with fixes.applied(SLUG):
        assert mapped(config) == 77.0


def test_the_language_part_of_a_model_of_several_is_read() -> None:
    text = hf.LlamaConfig(rope_parameters={"rope_type": "default", "rope_theta": 12345.0})
    with fixes.applied(SLUG):
        assert mapped(hf.LlavaConfig(text_config=text)) == 12345.0
