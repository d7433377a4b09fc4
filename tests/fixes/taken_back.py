"""What a model does without a fix, in the middle of a test that has it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tl_ext import fixes


@contextmanager
def as_installed(slug: str) -> Iterator[None]:
    """Take a fix that is in effect back for the length of a block."""
    fixes.revert(slug)
    try:
        yield
    finally:
        fixes.apply(slug)
