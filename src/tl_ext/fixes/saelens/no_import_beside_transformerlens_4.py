"""SAELens: `import sae_lens` fails beside TransformerLens 4.

TransformerLens 4.0 removed HookedTransformer and what belonged to it. SAELens imports it, or
HookedRootModule by way of its module, in eleven files, so that nothing of SAELens can be reached:
`No module named 'transformer_lens.HookedTransformer'`. Its own requirement, `transformer-lens<4`,
stands in the way of installing the two together; `pip install --no-deps sae-lens` does.

The fix is applied before `import sae_lens` and stays for the process. It points SAELens' own imports
of those names at what TransformerLens 4 has instead (HookedRootModule, the functions of `utils`) or
at stand-ins; TransformerLens itself is not touched, and to everybody else it
has no HookedTransformer, as before. What is left of SAELens is what works on a bridge:
SAETransformerBridge, training, `run_evals`, generation, every dictionary and loader.
HookedSAETransformer can be named but not made. A configuration whose `model_class_name` is
"HookedTransformer", the default, boots a TransformerBridge without weight processing and a warning
says so; where it asks for processing it is refused.

Source: `sae_lens/load_model.py`, `evals.py`, `saes/sae.py`, `training/activations_store.py`,
`analysis/hooked_sae_transformer.py`, `tutorial/tsea.py` and the four runners.
"""

from __future__ import annotations

from types import MappingProxyType

from tl_ext.fixes.probing import Finding, State
from tl_ext.fixes.redirecting import Redirection
from tl_ext.fixes.tiny import sae, sae_bridge

SLUG = "no-import-beside-transformerlens-4"
HOOK_POINT = "blocks.0.mlp.hook_out"

_STAND_INS = "tl_ext.fixes.saelens.stand_ins"
_MODEL = "transformer_lens.HookedTransformer"
_MLP = "transformer_lens.components.mlps.can_be_used_as_mlp:CanBeUsedAsMLP"
_UTILS = ("USE_DEFAULT_VALUE", "get_tokens_with_bos_removed", "lm_cross_entropy_loss")

NAMES = MappingProxyType(
    {
        "transformer_lens:HookedTransformer": f"{_STAND_INS}:HookedTransformer",
        f"{_MODEL}:HookedTransformer": f"{_STAND_INS}:HookedTransformer",
        f"{_MODEL}:HookedRootModule": "transformer_lens.HookedRootModule:HookedRootModule",
        f"{_MODEL}:Loss": f"{_STAND_INS}:Loss",
        f"{_MODEL}:Output": f"{_STAND_INS}:Output",
        _MLP: f"{_STAND_INS}:CanBeUsedAsMLP",
    }
    | {f"transformer_lens.utils:{name}": f"transformer_lens.utilities:{name}" for name in _UTILS}
)
"""Where SAELens looks for what TransformerLens 4 lacks, and where it finds it."""


def prepare() -> Redirection:
    """Let SAELens' imports find the names that TransformerLens lacks here.

    Returns:
        What can be taken back as long as SAELens was not imported. Beside TransformerLens 3, which
        has all the names, it changes nothing.
    """
    return Redirection("sae_lens", NAMES)


def probe() -> Finding:
    """Import SAELens and splice a dictionary into a tiny random model.

    Returns:
        PRESENT where the import fails for something that TransformerLens lacks, ABSENT where the
        splice gives what the same edit gives.
    """
    try:
        import sae_lens.analysis.sae_transformer_bridge  # noqa: F401
    except ImportError as error:
        if not str(error.name).startswith(("transformer_lens", "HookedTransformer")):
            raise
        return Finding(State.PRESENT, f"import sae_lens: {error}")
    import torch

    model, dictionary = sae_bridge(), sae(HOOK_POINT)
    ids = torch.tensor([[1, 2, 3]])
    by_hand = model.run_with_hooks(
        ids, fwd_hooks=[(HOOK_POINT, lambda x, hook: dictionary.decode(dictionary.encode(x)))]
    )
    if not torch.allclose(model.run_with_saes(ids, saes=[dictionary]), by_hand, atol=1e-6):
        return Finding(State.UNKNOWN, "a splice is not the edit it stands for")
    return Finding(State.ABSENT, "sae_lens is imported and a splice is the edit it stands for")
