"""TransformerLens: `boot_transformers` ignores registered adapters of a new architecture name.

`ArchitectureAdapterFactory` keeps adapters in `_adapters`, a copy of `SUPPORTED_ARCHITECTURES` made
at import; `register_adapter` and entry-point discovery add to the copy. Booting first decides on a
name, and looks for it in `SUPPORTED_ARCHITECTURES` alone, before anything was discovered. So an
adapter for an existing name is used and one for a new name never is.

The fix puts a mapping in the place of `SUPPORTED_ARCHITECTURES` that looks into the factory too.
Both releases read that name each time they boot, and no body of upstream's is copied.
Source: `transformer_lens/factories/architecture_adapter_factory.py`,
`determine_architecture_from_hf_config`.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, MutableMapping
from types import SimpleNamespace
from typing import Any

from tl_ext.fixes.probing import Finding, State
from tl_ext.fixes.tiny import DECODER
from tl_ext.upstream import adapter_factory, stand_in_tokenizer

SLUG = "registered-adapters-ignored-by-boot"
_NAME = "TlExtProbeForCausalLM"


class KnownArchitectures(MutableMapping[str, Any]):
    """Upstream's table, and behind it what is registered and what installed packages publish.

    What the table itself has comes from the table; writes go to the table.
    """

    def __init__(self, table: MutableMapping[str, Any]) -> None:
        self._table = table

    def __getitem__(self, architecture: str) -> Any:
        if architecture in self._table:
            return self._table[architecture]
        return _registered()[architecture]

    def __setitem__(self, architecture: str, adapter: Any) -> None:
        self._table[architecture] = adapter

    def __delitem__(self, architecture: str) -> None:
        del self._table[architecture]

    def __iter__(self) -> Iterator[str]:
        yield from self._table
        yield from (name for name in _registered() if name not in self._table)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return f"KnownArchitectures({dict(self)!r})"


def wrap(table: MutableMapping[str, Any]) -> KnownArchitectures:
    """The replacement for `SUPPORTED_ARCHITECTURES`.

    Args:
        table: What is there now: architecture names to adapter classes.

    Returns:
        A mapping over it that knows registered adapters too.
    """
    return KnownArchitectures(table)


def ignored(architectures: Iterable[str]) -> list[str]:
    """Which of these architectures booting would refuse now; a cheap question, no model is made.

    Args:
        architectures: Model class names, as in a checkpoint's `config.json`.

    Returns:
        Those whose name booting cannot decide on.
    """
    decide = importlib.import_module(
        "transformer_lens.model_bridge.sources.transformers"
    ).determine_architecture_from_hf_config
    refused = []
    for name in architectures:
        try:
            decide(SimpleNamespace(architectures=[name]))
        except ValueError:
            refused.append(name)
    return refused


def probe() -> Finding:
    """Register an adapter under a new name and boot a tiny random model of that name.

    Returns:
        PRESENT where booting refuses the name or takes another adapter, ABSENT where it takes ours.
    """
    from transformer_lens.model_bridge import TransformerBridge
    from transformer_lens.model_bridge.supported_architectures.llama import (
        LlamaArchitectureAdapter,
    )

    adapter = type("TlExtProbeAdapter", (LlamaArchitectureAdapter,), {})
    factory = adapter_factory()
    factory.register_adapter(_NAME, adapter)
    try:
        bridge = TransformerBridge.boot_transformers(
            _NAME, hf_model=_tiny_model(), tokenizer=stand_in_tokenizer(), device="cpu"
        )
    except ValueError as error:
        if _NAME not in str(error):
            raise
        return Finding(State.PRESENT, f"booting refused {_NAME}, which is registered")
    finally:
        factory._adapters.pop(_NAME, None)
    if type(bridge.adapter) is not adapter:
        return Finding(State.PRESENT, f"booted with {type(bridge.adapter).__name__} instead")
    return Finding(State.ABSENT, "booted with the registered adapter")


def _tiny_model() -> Any:
    """A Llama of a few hundred random weights whose class has a name upstream does not know."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config_class = type("TlExtProbeConfig", (LlamaConfig,), {"model_type": "tl_ext_probe"})
    model_class = type(_NAME, (LlamaForCausalLM,), {"config_class": config_class})
    torch.manual_seed(0)
    config = config_class(**DECODER, architectures=[_NAME], attn_implementation="eager")
    return model_class(config).eval()


def _registered() -> dict[str, Any]:
    """The factory's own table, after the discovery that booting leaves for later."""
    factory = adapter_factory()
    factory.discover_entry_points()
    adapters: dict[str, Any] = factory._adapters
    return adapters
