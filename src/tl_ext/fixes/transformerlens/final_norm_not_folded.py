"""TransformerLens: `logit_attrs` leaves the final norm's gain out where norms cannot be folded.

Compatibility mode folds norms into the weights that read them. Where an adapter cannot do that in the
blocks (`supports_fold_ln = False`: norms after the sublayer, joint projections, a gain stored as its
distance from one) it does not fold the final norm either, and warns that "analyses assuming folded LN
will be off". They are: `logit_attrs` and `apply_ln_to_stack` divide by the final norm's scale and know
nothing of its gain, so that attributions do not sum to the logits they attribute. Among these models
are GLM, GLM-4, OLMo-2 and 3, Nemotron and DeepSeek.

The final norm reads the residual stream and the unembedding alone reads it, so folding these two is
right whatever the blocks are like: log-probabilities stay, attributions sum to the logit difference (but
for `b_U`, as with every model). The fix does it for the families named below, on which it was tried;
not for Ouro and Raven, which use the final norm inside too, nor for heads with a layer of their own
before the unembedding. Norms in the blocks stay unfolded, and the warning stays true of them.
Source: `transformer_lens/weight_processing.py`, `ProcessWeights.process_weights`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from copy import copy
from functools import wraps
from typing import TYPE_CHECKING, Any

from tl_ext.fixes.probing import Finding, State
from tl_ext.fixes.tiny import DECODER, boot

if TYPE_CHECKING:
    from torch import Tensor

SLUG = "final-norm-not-folded"

NORM_THEN_UNEMBEDDING = frozenset(
    {
        "AfmoeArchitectureAdapter",
        "BambaArchitectureAdapter",
        "DeepSeekV2ArchitectureAdapter",
        "DeepSeekV3ArchitectureAdapter",
        "Glm4MoeLiteArchitectureAdapter",
        "GlmArchitectureAdapter",
        "GlmMoeDsaArchitectureAdapter",
        "GraniteMoeHybridArchitectureAdapter",
        "JambaArchitectureAdapter",
        "JetMoeArchitectureAdapter",
        "LagunaArchitectureAdapter",
        "NemotronArchitectureAdapter",
        "Olmo2ArchitectureAdapter",
        "OlmoHybridArchitectureAdapter",
        "Qwen3NextArchitectureAdapter",
        "Qwen3_5ArchitectureAdapter",
        "RwkvArchitectureAdapter",
    }
)
"""Adapters, and with them their subclasses, whose unembedding alone reads `ln_final`, and from it alone."""

ONE_PLUS_WEIGHT = frozenset(
    {"NemotronArchitectureAdapter", "Qwen3NextArchitectureAdapter", "Qwen3_5ArchitectureAdapter"}
)
"""Those whose norms store a gain as its distance from one, which 3.9 does not say in `cfg`."""


def wrap(original: Callable[..., dict[str, Tensor]]) -> Callable[..., dict[str, Tensor]]:
    """The replacement for `ProcessWeights.process_weights`.

    Args:
        original: What is there now.

    Returns:
        The same, after which the final norm is folded where it is wanted and the adapter refuses it.
    """
    signature = inspect.signature(original)

    @wraps(original)
    def process_weights(*args: Any, **options: Any) -> dict[str, Tensor]:
        given = signature.bind(*args, **options)
        given.apply_defaults()
        asked = given.arguments
        weights = original(*args, **options)
        if asked["fold_ln"] and _refused(asked["adapter"]):
            weights = _folded(weights, asked["cfg"], asked["adapter"])
        return weights

    return process_weights


def _refused(adapter: Any) -> bool:
    return not getattr(adapter, "supports_fold_ln", True) and _is_one_of(
        adapter, NORM_THEN_UNEMBEDDING
    )


def _is_one_of(adapter: Any, names: frozenset[str]) -> bool:
    return not names.isdisjoint(one.__name__ for one in type(adapter).__mro__)


def _folded(weights: dict[str, Tensor], cfg: Any, adapter: Any) -> dict[str, Tensor]:
    """What upstream's folding makes of the weights of a model without blocks."""
    from transformer_lens.weight_processing import ProcessWeights

    names = ("ln_final.weight", "ln_final.bias", "unembed.weight", "unembed.bias")
    held = {name: weights[name] for name in names if name in weights}
    if not {"ln_final.weight", "unembed.weight"} <= held.keys():
        return weights
    if _is_one_of(adapter, ONE_PLUS_WEIGHT):
        # Read by an edited norm too, which would else multiply by the folded gain's zeros.
        cfg.rmsnorm_uses_offset = True
    without_blocks = copy(cfg)
    without_blocks.n_layers = 0
    centred = cfg.normalization_type in ("LN", "LNPre") and not getattr(cfg, "final_rms", False)
    folded = ProcessWeights.fold_layer_norm(
        # Upstream too processes in single precision at least.
        {name: value.float() if value.itemsize < 4 else value for name, value in held.items()},
        without_blocks,
        fold_biases=centred,
        center_weights=centred,
        adapter=adapter,
    )
    return weights | {name: value.to(held[name].dtype) for name, value in folded.items()}


def probe() -> Finding:
    """Attribute a tiny GLM's logit difference to its whole residual stream.

    Returns:
        PRESENT where the attribution is another number than the difference, ABSENT where it is that.
    """
    import torch
    from transformers import GlmConfig

    bridge = boot(GlmConfig(**DECODER, head_dim=8, pad_token_id=0))
    bridge.enable_compatibility_mode(disable_warnings=True)
    logits, cache = bridge.run_with_cache(torch.tensor([[1, 2, 3]]))
    one, other = torch.tensor([1]), torch.tensor([2])
    given = cache.logit_attrs(cache["resid_post", -1][None], one, other)[0, 0, -1].item()
    true = (logits[0, -1, 1] - logits[0, -1, 2]).item()
    state = State.ABSENT if abs(given - true) < 1e-3 else State.PRESENT
    return Finding(state, f"attributions sum to {given:.3f}, the logit difference is {true:.3f}")
