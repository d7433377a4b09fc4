"""What the tests of ChatGLM share."""

from __future__ import annotations

import pytest

from tl_ext.models.chatglm.registration import register


@pytest.fixture(scope="session", autouse=True)
def _registered() -> None:
    register()
