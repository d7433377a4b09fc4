"""How TransformerLens hooks the model: here exactly as it hooks a Llama."""

from __future__ import annotations

from transformer_lens.model_bridge.supported_architectures.llama import LlamaArchitectureAdapter


class ExampleLlamaAdapter(LlamaArchitectureAdapter):
    """Upstream's Llama adapter; a real one would name its own components."""
