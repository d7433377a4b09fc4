"""The options of `pytest --pyargs tl_ext.conformance.suite`; every run of pytest loads this, and no more."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Which architectures the conformance suite asks about, and how thoroughly."""
    group = parser.getgroup("tl_ext", "conformance checks of tl_ext")
    group.addoption(
        "--tl-ext-adapter",
        action="append",
        default=[],
        metavar="NAME",
        help="an architecture to check, such as Qwen2ForCausalLM; may be given again",
    )
    group.addoption(
        "--tl-ext-examples",
        type=int,
        default=2,
        metavar="N",
        help="how many tiny models to draw of each (2)",
    )
