"""The small checkpoint and dictionaries of `tests.small_study`, and few random sets."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.small_study import background, checkpoint, dictionaries, small_steering

__all__ = ["background", "checkpoint", "dictionaries", "small_steering"]


@pytest.fixture(scope="session", autouse=True)
def _few_random_sets() -> Iterator[None]:
    """Ablations against few random sets: what they find is tested elsewhere."""
    from tl_ext.study.analyses import ablation_effects

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ablation_effects, "RANDOM_SETS", 2)
        patched.setattr(ablation_effects, "RELABELLED_SETS", 3)
        yield
