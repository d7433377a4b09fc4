"""TransformerLens: the padding of left-padded tokens is attended to, as no mask is made for a tensor.

`bridge(bridge.to_tokens(texts))` is not `bridge(texts)` where padding is on the left: for a list of texts
a bridge masks the padding, for the tensor of the very same tokens it does not, and positions count from
the padding. HookedTransformer masked both, whenever `tokenizer.padding_side` was "left"; so does the
bridge's own `input_to_embed`.

For `generate` this is what upstream documents: "Required to generate correctly from an already-padded
token tensor: without it the pad tokens are treated as real context" (of `attention_mask`), and that
"deriving a mask on the default path would silently change behaviour for every existing caller". So
the fix leaves generation as it is: pass `attention_mask`, or `padding_side="left"` with tokens.

Under the fix `forward`, and `run_with_cache` and `run_with_hooks` with it, make HookedTransformer's mask:
for a decoder's tokens without mask or positions, and without a cache given or asked for, where
`padding_side`, of the call or else of the tokenizer, is "left". Ids are compared with padding's up to the
first other one, so where padding is EOS, one in the middle of a text stays what it is; one at the
beginning of a text cannot be told from padding. Rows of a corpus may begin with such an EOS, which is why
the fix is not among the recommended ones.
Source: `transformer_lens/model_bridge/transformer_bridge.py` (3.9: `bridge.py`), `forward`;
`transformer_lens/HookedTransformer.py` of 3.9, `input_to_embed`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from functools import wraps
from typing import Any

from tl_ext.fixes.probing import Finding, State
from tl_ext.fixes.tiny import gpt2_bridge, tokenizer_without_bos
from tl_ext.fixes.transformerlens.padding import holding, mask_given, mask_of_left_padding

SLUG = "left-padded-tokens-attended-to"

# Whether the next forward pass is a step of generation, which has its own rule about masks.
_generating: ContextVar[bool] = ContextVar("_generating", default=False)


def wrap_forward(original: Callable[..., Any]) -> Callable[..., Any]:
    signature = inspect.signature(original)

    @wraps(original)
    def forward(self: Any, input: Any, *args: Any, **options: Any) -> Any:
        step = _generating.get()
        with holding(_generating, False):  # what hooks run inside is no step of the generation
            given = signature.bind(self, input, *args, **options)
            asked = given.arguments | options
            side = asked.get("padding_side") or getattr(self.tokenizer, "padding_side", None)
            if not step and not _settled(asked) and side == "left" and _has_padding(self, input):
                mask = mask_of_left_padding(self, input, asked.get("prepend_bos"))
                if not bool(mask.all()):
                    given.arguments["attention_mask"] = mask
            return original(*given.args, **given.kwargs)

    return forward


def wrap_generate_tokens(original: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(original)
    def _generate_tokens(*args: Any, **options: Any) -> Iterator[Any]:
        steps = original(*args, **options)
        while True:
            with holding(_generating, True):
                try:
                    step = next(steps)
                except StopIteration:
                    return
            yield step

    return _generate_tokens


def _settled(asked: Mapping[str, Any]) -> bool:
    """Whether a call knows about masks and positions, or the step after it would have to."""
    placed = (asked.get(name) is not None for name in ("position_ids", "past_key_values"))
    if mask_given(asked) or any(placed):
        return True
    cached = asked.get("use_cache") or asked.get("use_past_kv_cache")
    return bool(cached) or asked.get("return_type") == "logits_and_cache"


def _has_padding(bridge: Any, tokens: Any) -> bool:
    """Whether these are tokens, of a model that reads on from them, in which padding may stand."""
    import torch

    if not isinstance(tokens, torch.Tensor) or tokens.is_floating_point() or tokens.ndim > 2:
        return False
    if bridge.tokenizer is None or bridge.tokenizer.pad_token_id is None:
        return False
    config = getattr(bridge.original_model, "config", None)
    two_parts = getattr(config, "is_encoder_decoder", False)
    return bool(bridge.adapter.supports_causal_loss) and not two_parts


def probe() -> Finding:
    """Read two texts as tokens padded on the left, padding being a token of its own.

    Returns:
        PRESENT where the shorter text's last logits are not those it has by itself.
    """
    tokenizer = tokenizer_without_bos()
    tokenizer.padding_side = "left"
    bridge = gpt2_bridge(tokenizer)
    together = bridge(bridge.to_tokens(["a b a", "b"]))[1, -1]
    apart = float((together - bridge(bridge.to_tokens("b"))[0, -1]).detach().abs().max())
    state = State.PRESENT if apart > 1e-3 else State.ABSENT
    return Finding(state, f"logits of padded tokens and of the text alone are apart by {apart:.2g}")
