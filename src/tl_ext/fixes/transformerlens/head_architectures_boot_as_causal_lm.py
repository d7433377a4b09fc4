"""TransformerLens: a checkpoint with another head is loaded as a causal language model.

`boot_transformers` picks transformers' Auto class from lists of architecture names and takes
`AutoModelForCausalLM` for every name that is on none. An adapter for a classifier cannot say
otherwise, so transformers drops the classifier's weights and makes an unembedding at random.

The fix lets an adapter class name its Auto class in the attribute `hf_auto_class`, such as
`"AutoModelForSequenceClassification"`; an adapter without it is loaded as before.
Source: `get_hf_model_class_for_architecture` in `transformer_lens/model_bridge/sources`.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from tl_ext.fixes.probing import Finding, State
from tl_ext.fixes.tiny import DECODER
from tl_ext.upstream import adapter_factory

SLUG = "head-architectures-boot-as-causal-lm"
_NAME = "LlamaForCausalLM"  # a native name, so that booting gets as far as loading


def wrap(original: Callable[[str], Any]) -> Callable[[str], Any]:
    """The replacement for `get_hf_model_class_for_architecture`.

    Args:
        original: What is there now: an architecture's name to an Auto class of transformers.

    Returns:
        The same, that asks the architecture's adapter first.
    """

    @wraps(original)
    def with_the_adapters(architecture: str) -> Any:
        name = getattr(adapter_factory()._adapters.get(architecture), "hf_auto_class", None)
        if name is None:
            return original(architecture)
        import transformers

        return getattr(transformers, name)

    return with_the_adapters


def probe() -> Finding:
    """Boot an architecture whose adapter asks for a classifier, and see what transformers made.

    Returns:
        PRESENT where it is a causal language model, ABSENT where it is the classifier.
    """
    from transformer_lens.model_bridge import TransformerBridge
    from transformer_lens.model_bridge.supported_architectures.llama import (
        LlamaArchitectureAdapter,
    )

    class Adapter(LlamaArchitectureAdapter):
        hf_auto_class = "AutoModelForSequenceClassification"

        def prepare_model(self, hf_model: Any) -> None:
            raise _LoadedError(type(hf_model).__name__)

    config = {"model_type": "llama", "architectures": [_NAME], **DECODER}
    adapters = adapter_factory()._adapters
    before = adapters[_NAME]
    adapters[_NAME] = Adapter
    try:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "config.json").write_text(json.dumps(config), encoding="utf-8")
            TransformerBridge.boot_transformers(folder, load_weights=False, device="cpu")
    except _LoadedError as loaded:
        name = str(loaded)
    finally:
        adapters[_NAME] = before
    state = State.ABSENT if name == "LlamaForSequenceClassification" else State.PRESENT
    return Finding(state, f"an adapter that asks for a classifier got {name}")


class _LoadedError(Exception):
    """Ends the probe's boot where the model's class is known."""
