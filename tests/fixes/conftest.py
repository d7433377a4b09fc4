"""What the tests of fixes share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tl_ext import fixes


@pytest.fixture(autouse=True)
def _upstream_as_installed(upstream_as_installed: None) -> None:
    """Each test begins without fixes, whatever ran before it in this process."""


@pytest.fixture
def fixed(request: pytest.FixtureRequest) -> Iterator[None]:
    """The fix that the module is about, its `SLUG`, in effect."""
    with fixes.applied(request.module.SLUG):
        yield
