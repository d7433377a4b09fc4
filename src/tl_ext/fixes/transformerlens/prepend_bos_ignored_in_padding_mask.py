"""TransformerLens: a call's `prepend_bos` is not asked when the mask of its padding is made.

A list of texts given to `forward` (with left padding) or to `generate` is padded, and the mask over the
padding is found by comparing ids with padding's. Where padding and BOS are one token, as for GPT-2, the
mask has to know whether the last of the leading ones is BOS. It goes by `cfg.default_prepend_bos`,
whatever `prepend_bos` the call was given: with False the last padding of every shorter text is attended
to, and with True, where the default is False, its BOS is not. Logits and continuations are then not
those of each text alone.

Under the fix the mask follows the call's `prepend_bos`, in `forward`, `run_with_cache`, `generate` and
`generate_stream`. Where that is None or the default, where padding and BOS are two tokens, where a mask
is given, or one text, upstream's code runs as it is. A text that itself begins with the padding token is
still taken to begin after it: the mask compares ids, and pass `attention_mask` for such texts.
Source: `transformer_lens/model_bridge/transformer_bridge.py` (3.9: `bridge.py`), `forward`,
`_generate_tokens`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import wraps
from itertools import islice
from typing import TYPE_CHECKING, Any

from tl_ext.fixes.probing import Finding, State
from tl_ext.fixes.tiny import gpt2_bridge, tokenizer_without_bos
from tl_ext.fixes.transformerlens.padding import holding, mask_given, mask_of_left_padding

if TYPE_CHECKING:
    from torch import Tensor

SLUG = "prepend-bos-ignored-in-padding-mask"

# What the innermost generation was asked; the loop that makes the mask is not told.
_asked: ContextVar[bool | None] = ContextVar("_asked", default=None)


def wrap_forward(original: Callable[..., Any]) -> Callable[..., Any]:
    signature = inspect.signature(original)

    @wraps(original)
    def forward(self: Any, input: Any, *args: Any, **options: Any) -> Any:
        if not isinstance(input, list) or len(input) < 2:
            return original(self, input, *args, **options)
        given = signature.bind(self, input, *args, **options)
        asked, side = given.arguments.get("prepend_bos"), given.arguments.get("padding_side")
        if (
            not mask_given(given.arguments | options)
            and _is_misled(self, asked)
            and (side or self.tokenizer.padding_side) == "left"
        ):
            tokens = self.to_tokens(input, prepend_bos=asked, padding_side="left")
            given.arguments["attention_mask"] = mask_of_left_padding(self, tokens, asked)
        return original(*given.args, **given.kwargs)

    return forward


def wrap_generate(original: Callable[..., Any]) -> Callable[..., Any]:
    signature = inspect.signature(original)

    @wraps(original)
    def generate(self: Any, *args: Any, **options: Any) -> Any:
        given = signature.bind(self, *args, **options)
        with holding(_asked, given.arguments.get("prepend_bos")):
            return original(self, *args, **options)

    return generate


def wrap_generate_stream(original: Callable[..., Any]) -> Callable[..., Any]:
    signature = inspect.signature(original)

    @wraps(original)
    def generate_stream(self: Any, *args: Any, **options: Any) -> Iterator[Any]:
        given = signature.bind(self, *args, **options)
        stream = original(self, *args, **options)
        # The loop is entered on the way to the first piece; what is read between pieces is not ours.
        with holding(_asked, given.arguments.get("prepend_bos")):
            first = list(islice(stream, 1))
        yield from first
        yield from stream

    return generate_stream


def wrap_generate_tokens(original: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(original)
    def _generate_tokens(self: Any, current_tokens: Tensor, *args: Any, **options: Any) -> Any:
        asked = _asked.get()
        found_by_upstream = options["_is_batched_list"] and not options["is_encoder_decoder"]
        masked = options.get("initial_attention_mask") is not None
        if found_by_upstream and not masked and _is_misled(self, asked):
            options["initial_attention_mask"] = mask_of_left_padding(self, current_tokens, asked)
        return original(self, current_tokens, *args, **options)

    return _generate_tokens


def _is_misled(bridge: Any, asked: bool | None) -> bool:
    """Whether upstream would make another mask than the one that was asked for."""
    tokenizer = bridge.tokenizer
    if asked is None or tokenizer is None or tokenizer.pad_token_id is None:
        return False
    one_token = tokenizer.pad_token_id == tokenizer.bos_token_id
    return one_token and bool(asked) != bool(getattr(bridge.cfg, "default_prepend_bos", True))


def probe() -> Finding:
    """Read two texts together with `prepend_bos=False`, padding and BOS being one token.

    Returns:
        PRESENT where the shorter text's last logits are not those it has by itself.
    """
    tokenizer = tokenizer_without_bos()
    tokenizer.pad_token = "<end>"  # and booting makes it BOS too
    bridge = gpt2_bridge(tokenizer)
    options = {"prepend_bos": False, "padding_side": "left"}
    new = {"prepend_bos": False, "max_new_tokens": 1, "output_logits": True, "verbose": False}
    texts = ["a b a", "b"]
    read = [bridge(some, **options)[-1, -1] for some in (texts, texts[1:])]
    made = [bridge.generate(some, **new).logits[0][-1] for some in (texts, texts[1:])]
    apart = {
        "forward": float((read[0] - read[1]).detach().abs().max()),
        "generate": float((made[0] - made[1]).abs().max()),
    }
    told = ", ".join(f"{name} {far:.2g}" for name, far in apart.items())
    state = State.PRESENT if max(apart.values()) > 1e-3 else State.ABSENT
    return Finding(state, f"prepend_bos=False: logits together and alone are apart by {told}")
