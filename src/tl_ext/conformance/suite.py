"""The checks as a test file: `pytest --pyargs tl_ext.conformance.suite --tl-ext-adapter NAME`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each check of each architecture that the command line names."""
    import pytest

    from tl_ext.conformance.api import parametrize_with_checks
    from tl_ext.conformance.catalogue import spec_of
    from tl_ext.errors import TlExtError

    names = metafunc.config.getoption("tl_ext_adapter")
    if not names:
        raise pytest.UsageError("Name an architecture: --tl-ext-adapter Qwen2ForCausalLM")
    try:
        chosen = [spec_of(name) for name in names]
    except TlExtError as error:
        raise pytest.UsageError(str(error)) from error
    examples = metafunc.config.getoption("tl_ext_examples")
    mark = parametrize_with_checks(chosen, examples_asked=examples)
    metafunc.parametrize(*mark.args)


def test_conformance(check: Callable[[], None]) -> None:
    """What a check asks is so."""
    check()
