"""What the tests of fixes share."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _upstream_as_installed(upstream_as_installed: None) -> None:
    """Each test begins without fixes, whatever ran before it in this process."""
