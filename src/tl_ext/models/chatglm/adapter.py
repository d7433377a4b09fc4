"""The TransformerLens adapter of the ChatGLM family: upstream's for GLM, with its norms folded.

A converted ChatGLM is a GLM in all but name, so hook points, attention and rotary embedding are those
of `GlmArchitectureAdapter`. Source: `transformer_lens/model_bridge/supported_architectures/glm.py`.
"""

from __future__ import annotations

from typing import Any

from transformer_lens.model_bridge.supported_architectures.glm import GlmArchitectureAdapter

from tl_ext.errors import UnsupportedModelError


class ChatGLMArchitectureAdapter(GlmArchitectureAdapter):
    """Adapter for `ChatGLMModel` and `ChatGLMForConditionalGeneration`.

    Args:
        cfg: The bridge's configuration.
    """

    def __init__(self, cfg: Any) -> None:
        super().__init__(cfg)
        # Upstream refuses to fold because the checkpoint joins gate and up; what is folded is the
        # bridge's own state, which holds them apart. Refused, the final norm's gain stays out of
        # logit_attrs and apply_ln_to_stack.
        self.supports_fold_ln = True
        # Upstream knows one BOS token as the only thing to prepend and says GLM has none. The fix
        # multi-token-prefix gives the word its meaning here: [gMASK] and sop.
        self.cfg.default_prepend_bos = True

    def prepare_model(self, hf_model: Any) -> None:
        """Refuse the decoder without its head, which has the name that configs give the whole model.

        Raises:
            UnsupportedModelError: `hf_model` has no `lm_head`.
        """
        super().prepare_model(hf_model)
        if not hasattr(hf_model, "lm_head"):
            raise UnsupportedModelError(
                f"A {type(hf_model).__name__} without its language model head was given, as AutoModel "
                "makes it; hook points reach from the embedding to the logits. Load it through "
                "AutoModelForCausalLM, or pass its folder."
            )

    def postprocess_weights(self, bridge: Any) -> None:
        """Give the output biases that folding made the type of their weights.

        TransformerLens 3.9 leaves them in float32, and a model in half precision fails at its next
        forward pass. Ends with 3.9.
        """
        super().postprocess_weights(bridge)
        for block in bridge.blocks:
            projection = block.attn.o.original_component
            if projection.bias is not None:
                projection.bias.data = projection.bias.data.to(projection.weight.dtype)
