"""TransformerLens: `cfg.rotary_base` is 10000 whatever the model's is, under transformers 5.

transformers 5 keeps the base in `config.rope_parameters["rope_theta"]`; TransformerLens reads
`config.rope_theta`, which most configs no longer have, and leaves its own default. The model itself
computes with the right one. Qwen2.5's base is 1000000.

The fix reads it where it is. A config with one base for each kind of layer is left as it is: there is
no one number to tell.
Source: `map_default_transformer_lens_config` in `transformer_lens/model_bridge/sources`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from tl_ext.fixes.probing import Finding, State
from tl_ext.fixes.tiny import DECODER, boot

SLUG = "rotary-base-not-read"
_BASE = 500_000.0


def wrap(original: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The replacement for `map_default_transformer_lens_config`.

    Args:
        original: What is there now: a transformers config to a copy with TransformerLens' names.

    Returns:
        The same, that knows where transformers 5 keeps the base of the rotary embedding.
    """

    @wraps(original)
    def with_the_base(hf_config: Any) -> Any:
        mapped = original(hf_config)
        source = getattr(hf_config, "text_config", None) or hf_config
        parameters = getattr(source, "rope_parameters", None)
        base = parameters.get("rope_theta") if isinstance(parameters, dict) else None
        if base is not None and not hasattr(source, "rope_theta"):
            mapped.rotary_base = base
        return mapped

    return with_the_base


def probe() -> Finding:
    """Boot a tiny random model with a base of its own and read it off `cfg`.

    Returns:
        PRESENT where `cfg.rotary_base` is another number, ABSENT where it is the model's.
    """
    from transformers import Qwen2Config

    rope = {"rope_type": "default", "rope_theta": _BASE}
    told = boot(Qwen2Config(**DECODER, rope_parameters=rope)).cfg.rotary_base
    state = State.ABSENT if told == _BASE else State.PRESENT
    return Finding(state, f"the model's base is {_BASE:.0f}, cfg.rotary_base is {told}")
