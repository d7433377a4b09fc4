"""TransformerLens: the tokenizer it is given is read again from disk or hub.

Booting wants a tokenizer that begins a text with BOS. It gets one by loading the caller's anew, from
`name_or_path` with `add_bos_token=True`: tokens added since, the chat template and padding that were set
are lost without a word, a prefix of the tokenizer's own is replaced by BOS alone, and a tokenizer made
in memory ends in KeyError `'name_or_path'`. So does setting `bridge.tokenizer`.

Under the fix the model gets a copy of the caller's tokenizer that begins with BOS, as upstream's does.
A tokenizer with two tokens or more of its own before a text keeps them and is taken to begin with its
BOS, so `to_tokens` puts nothing more there; that `prepend_bos=False` leaves out all of them needs the fix
`multi-token-prefix` too. What upstream takes as it is (no BOS, or `add_bos_token` set) is still taken so.
A tokenizer that was not changed reads every text as before.
Source: `transformer_lens/utilities/tokenize_utils.py`, `get_tokenizer_with_bos`;
`transformer_lens/model_bridge/sources/_bridge_builder.py`, `detect_tokenizer_bos_eos`.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

from tl_ext.fixes.probing import Finding, State
from tl_ext.fixes.tiny import PREFIX, gpt2_bridge, tokenizer_without_bos
from tl_ext.upstream import has_bos, ids_before_text

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SLUG = "callers-tokenizer-reloaded-at-boot"


def wrap_get_tokenizer_with_bos(original: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(original)
    def get_tokenizer_with_bos(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
        if tokenizer.bos_token is None:
            kept: PreTrainedTokenizerBase = original(tokenizer)
            return kept
        stated = tokenizer.init_kwargs.get("add_bos_token")
        if getattr(tokenizer, "add_bos_token", False) if stated is None else stated:
            return tokenizer
        private = copy.deepcopy(tokenizer)
        if len(ids_before_text(private)) > 1:
            return private
        try:
            private.add_bos_token = True
        except (AttributeError, ValueError):
            # It cannot be told to, as with a BOS that has a colon in it; `to_tokens` puts BOS there.
            return copy.deepcopy(tokenizer)
        private.init_kwargs["add_bos_token"] = True
        return private

    return get_tokenizer_with_bos


def wrap_detect(original: Callable[..., tuple[bool, bool]]) -> Callable[..., tuple[bool, bool]]:
    @wraps(original)
    def detect_tokenizer_bos_eos(tokenizer: Any) -> tuple[bool, bool]:
        begins, ends = original(tokenizer)
        return begins or _begins_by_itself(tokenizer), ends

    return detect_tokenizer_bos_eos


def wrap_init(original: Callable[..., None]) -> Callable[..., None]:
    """For 3.9, where booting looks at the first token in the middle of a long function."""

    @wraps(original)
    def __init__(self: Any, model: Any, adapter: Any, tokenizer: Any, **options: Any) -> None:
        if tokenizer is not None and _begins_by_itself(tokenizer):
            adapter.cfg.tokenizer_prepends_bos = True
        original(self, model, adapter, tokenizer, **options)

    return __init__


def _begins_by_itself(tokenizer: Any) -> bool:
    """Whether a tokenizer with a BOS of its own puts two tokens or more before a text."""
    return has_bos(tokenizer) and len(ids_before_text(tokenizer)) > 1


def probe() -> Finding:
    """Boot with a tokenizer that was changed after it was read, and with one made in memory.

    Returns:
        PRESENT where the first has lost an added token, its chat template or its prefix, or the second
        is refused.
    """
    from transformers import PreTrainedTokenizerFast

    def booted(tokenizer: Any) -> Any:
        return gpt2_bridge(tokenizer).tokenizer

    made = tokenizer_without_bos(PREFIX)
    made.bos_token = PREFIX[-1]
    with tempfile.TemporaryDirectory() as folder:
        made.save_pretrained(folder)
        read: Any = PreTrainedTokenizerFast.from_pretrained(folder)
        read.add_tokens(["c"])
        read.chat_template = "{{ messages }}"
        given = {"'a c' is": read("a c")["input_ids"], "the template": read.chat_template}
        after = booted(read)
    got = {"'a c' is": after("a c")["input_ids"], "the template": after.chat_template}
    lost = [f"{what} {got[what]}, was {given[what]}" for what in given if got[what] != given[what]]
    try:
        booted(made)
    except KeyError as error:
        lost.append(f"one made in memory is refused with KeyError {error}")
    if lost:
        return Finding(State.PRESENT, f"of the tokenizer given to booting: {'; '.join(lost)}")
    return Finding(State.ABSENT, "added tokens, chat template and prefix are kept")
