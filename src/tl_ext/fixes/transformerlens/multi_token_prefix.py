"""TransformerLens: a tokenizer's prefix of several tokens is taken for one BOS token.

ChatGLM's tokenizer puts `[gMASK] sop` before a text and has no BOS. Booting sets its BOS to EOS and
finds that a text does not begin with it. So `prepend_bos=True` puts EOS after the prefix,
`prepend_bos=False` removes nothing, and `to_single_token` and `get_token_position` always fail. Where
padding and EOS are one token, as for GLM-4, the last padding of a left-padded text counts as its BOS and
is attended to.

The fix makes the prefix what BOS is elsewhere, for tokenizers that themselves put two tokens or more
before a text: `prepend_bos` None or True gives prefix and text, False the text alone. Everything that
reads a string does so through `TransformerBridge.to_tokens`, so all of it agrees. The rows of
`tokenize_and_concatenate` begin with the prefix. Any other tokenizer goes to the original as it was.
Source: `transformer_lens/model_bridge/transformer_bridge.py` (3.9: `bridge.py`), `to_tokens`;
`transformer_lens/utilities/tokenize_utils.py`, `get_attention_mask`, `tokenize_and_concatenate`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

from tl_ext.fixes.probing import Finding, State
from tl_ext.fixes.tiny import PREFIX, gpt2_bridge, tokenizer_without_bos
from tl_ext.upstream import prefix_ids

if TYPE_CHECKING:
    from torch import Tensor

SLUG = "multi-token-prefix"


def wrap_to_tokens(original: Callable[..., Tensor]) -> Callable[..., Tensor]:
    @wraps(original)
    def to_tokens(
        self: Any,
        input: str | list[str],
        prepend_bos: bool | None = None,
        *args: Any,
        **options: Any,
    ) -> Tensor:
        if self.tokenizer is None or not _several(self.tokenizer):
            return original(self, input, prepend_bos, *args, **options)
        if prepend_bos is None or prepend_bos:
            # Asked for what the tokenizer is believed to do, upstream adds and removes nothing.
            as_it_is = getattr(self.cfg, "tokenizer_prepends_bos", True)
            return original(self, input, as_it_is, *args, **options)
        return _text_alone(self, input, *args, **options)

    return to_tokens


def wrap_get_attention_mask(original: Callable[..., Tensor]) -> Callable[..., Tensor]:
    @wraps(original)
    def get_attention_mask(
        tokenizer: Any, tokens: Tensor, prepend_bos: bool, *args: Any, **options: Any
    ) -> Tensor:
        # True makes upstream look for a BOS among the padding where both are one token.
        looked_for = prepend_bos and not (tokenizer is not None and _several(tokenizer))
        return original(tokenizer, tokens, looked_for, *args, **options)

    return get_attention_mask


def wrap_tokenize_and_concatenate(original: Callable[..., Any]) -> Callable[..., Any]:
    signature = inspect.signature(original)

    @wraps(original)
    def tokenize_and_concatenate(*args: Any, **options: Any) -> Any:
        given = signature.bind(*args, **options)
        given.apply_defaults()
        asked = given.arguments
        prefix = prefix_ids(asked["tokenizer"])
        if len(prefix) < 2 or not asked["add_bos_token"]:
            return original(*args, **options)
        formats = asked["set_format"]
        shorter = asked["max_length"] - len(prefix)
        asked |= {"add_bos_token": False, "max_length": shorter, "set_format": False}
        rows = original(*given.args, **given.kwargs).map(
            lambda some: {"tokens": [[*prefix, *row] for row in some["tokens"]]}, batched=True
        )
        if formats:
            rows.set_format(type="torch", columns=["tokens"])
        return rows

    return tokenize_and_concatenate


def _text_alone(
    bridge: Any,
    texts: str | list[str],
    padding_side: str | None = None,
    move_to_device: bool = True,
    truncate: bool = True,
) -> Tensor:
    """What `to_tokens` gives without the prefix; the options are its own."""
    found = bridge.tokenizer(
        [texts] if isinstance(texts, str) else texts,
        add_special_tokens=False,
        return_tensors="pt",
        padding=True,
        padding_side=padding_side,
        truncation=truncate,
        max_length=bridge.cfg.n_ctx if truncate else None,
    )
    tokens: Tensor = found["input_ids"].long()  # an empty text comes as floating point
    return tokens.to(bridge.cfg.device) if move_to_device else tokens


def _several(tokenizer: Any) -> bool:
    return len(prefix_ids(tokenizer)) > 1


def probe() -> Finding:
    """Boot a tiny random model with a tokenizer that puts two tokens before a text and has no BOS.

    Returns:
        PRESENT where `to_tokens` gives anything but prefix and text, or the text alone where that is
        asked for.
    """
    bridge = gpt2_bridge(tokenizer_without_bos(PREFIX))
    text, prefix = [0], [4, 5]
    expected = {None: prefix + text, True: prefix + text, False: text}
    given = {asked: bridge.to_tokens("a", prepend_bos=asked)[0].tolist() for asked in expected}
    if given == expected:
        return Finding(State.ABSENT, f"prepend_bos puts the prefix {prefix} there or leaves it out")
    told = ", ".join(f"prepend_bos={asked} gave {ids}" for asked, ids in given.items())
    return Finding(State.PRESENT, f"text {text}, prefix {prefix}: {told}")
