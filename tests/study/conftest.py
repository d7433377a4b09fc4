"""The small checkpoint and dictionaries of `tests.small_study`."""

from tests.small_study import background, checkpoint, dictionaries, small_steering

__all__ = ["background", "checkpoint", "dictionaries", "small_steering"]
