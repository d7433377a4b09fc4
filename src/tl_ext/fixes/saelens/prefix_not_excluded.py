"""SAELens: `exclude_special_tokens=True` keeps the tokens a tokenizer puts before a text.

SAELens looks at BOS, EOS, padding and SEP. ChatGLM begins every text with two tokens that are none of
these, so a dictionary is trained and judged on them, and on activations there that are far larger than
any other.

The fix adds what stands before a text, or between two texts, and is not there yet.
Source: `sae_lens/util.py`, `get_special_token_ids`; four modules bind it by `from ... import`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from tl_ext.fixes.probing import Finding, State
from tl_ext.fixes.saelens.documents_not_separated_without_bos import separator_ids
from tl_ext.fixes.tiny import PREFIX, tokenizer_without_bos

SLUG = "prefix-not-excluded"


def wrap(special_ids: Callable[[Any], list[int]]) -> Callable[[Any], list[int]]:
    """The replacement for `get_special_token_ids`.

    Args:
        special_ids: What is there now.

    Returns:
        The same ids, and behind them those of the prefix, or of the separator, that are missing.
    """

    @wraps(special_ids)
    def with_prefix(tokenizer: Any) -> list[int]:
        ids = list(special_ids(tokenizer))
        return ids + [id for id in dict.fromkeys(separator_ids(tokenizer)) if id not in ids]

    return with_prefix


def probe() -> Finding:
    """Ask which tokens are special for a tokenizer that puts two of its own before a text.

    Returns:
        PRESENT where one of the two is missing, ABSENT where both are there.
    """
    from sae_lens.util import get_special_token_ids

    tokenizer = tokenizer_without_bos(PREFIX)
    missing = set(separator_ids(tokenizer)) - set(get_special_token_ids(tokenizer))
    if missing:
        names = tokenizer.convert_ids_to_tokens(sorted(missing))
        return Finding(State.PRESENT, f"{' and '.join(names)} of the prefix are trained on")
    return Finding(State.ABSENT, "the whole prefix is left out")
