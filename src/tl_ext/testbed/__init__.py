"""The embedded bilingual model: a small English and French GPT-2 with SAELens dictionaries.

It is shipped with the package, so that everything can be tried, taught and tested without a model hub.
`corpus`, `tokenizer`, `language_model` and `dictionaries` are the stages of its making, `build` runs
them in order, `card` measures the result, `background` samples text from it. This module itself loads
nothing.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

VERSION = "1"
"""Of the shipped weights; another build that is shipped gets another number."""


def folder() -> Path:
    """Where the shipped weights lie.

    The folder is an ordinary Hugging Face checkpoint with the tokenizer's files, the dictionaries below
    `dictionaries/<hook point>/` and the model card beside it.
    """
    return Path(str(files(__name__) / "weights"))
