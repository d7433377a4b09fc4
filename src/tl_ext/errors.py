"""What can go wrong, in few kinds.

A message of ours says what was given, what was expected and what to do next. Every error raised on
purpose is a [`TlExtError`][tl_ext.errors.TlExtError], so `except TlExtError` catches ours and lets a
bug of ours through.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class TlExtError(Exception):
    """The root of every error raised on purpose."""


class InputError(TlExtError, ValueError):
    """What the caller gave cannot be used: no texts, a wrong shape, an unknown option."""


class HookPointError(InputError):
    """A hook point the model lacks, or one that does not carry what was asked of it."""


class WordNotFoundError(InputError):
    """A word that does not stand in its text."""


class DictionaryError(TlExtError, ValueError):
    """A dictionary that is corrupt, incomplete, of another width, or made for another model."""


class UnsupportedModelError(TlExtError, ValueError):
    """A checkpoint that is refused, because it could only be computed wrongly."""


class PluginError(TlExtError):
    """A plugin that cannot be used, or two that claim one name."""


class FixError(TlExtError, RuntimeError):
    """A fix that cannot be applied, or cannot be taken back."""


class OutputError(TlExtError, OSError):
    """A result that cannot be written where it was asked for, or read back from there."""


def nearest(name: str, known: Iterable[str], *, count: int = 3) -> str:
    """The known names that look most like `name`, as the end of a sentence.

    Args:
        name: What was asked for.
        known: What there is.
        count: How many names at most.

    Returns:
        `" Nearest: a, b."`, or the empty string where nothing looks alike.
    """
    close = difflib.get_close_matches(name, list(known), n=count, cutoff=0.4)
    return f" Nearest: {', '.join(close)}." if close else ""
