"""Which tokens a decoder direction makes more likely, and less, if nothing after it intervened.

The direction is brought into the residual stream (hook_z through W_O), put through the model's own
final norm and multiplied by the unembedding. A norm is not linear: here it sees the direction alone,
so it centres it (LayerNorm), scales it to a root mean square of 1 and applies its weights; its bias
and the unembedding's, which are the same for every direction, are taken out. In a forward pass the
norm's scale comes from the whole residual stream instead, so that these numbers compare tokens of one
latent, and latents with each other, but are no logits that a forward pass would show.

Source: nostalgebraist 2020, interpreting GPT: the logit lens; for dictionaries Bricken et al. 2023,
Towards Monosemanticity.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tl_ext.dictionaries.dictionary import LATENTS_AT_ONCE, Dictionary
from tl_ext.errors import HookPointError
from tl_ext.models.hook_points import to_residual

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


@dataclass(frozen=True, eq=False)
class LensTokens:
    """The tokens at both ends of each latent's logit lens.

    Attributes:
        top: Ids of the tokens it raises most, highest first; -1 where its hook point shares no space
            with the residual stream, or the direction is zero.
        top_values: Their values.
        bottom: Ids of those it lowers most, lowest first.
        bottom_values: Their values.
    """

    top: Int[Tensor, "latent k"]
    top_values: Float[Tensor, "latent k"]
    bottom: Int[Tensor, "latent k"]
    bottom_values: Float[Tensor, "latent k"]


@torch.no_grad()
def lens(
    model: TransformerBridge, directions: Float[Tensor, "row d_model"]
) -> Float[Tensor, "row d_vocab"]:
    """Directions of the residual stream through the final norm and the unembedding.

    Args:
        model: A hooked model.
        directions: One a row; a row of zeros gives zeros.
    """
    # Long enough that the norm's epsilon is nothing beside it.
    length = directions.float().square().mean(-1, keepdim=True).sqrt()
    scaled = 100 * directions.float() / length.clamp(min=1e-30)
    both = torch.cat([scaled, torch.zeros_like(scaled[:1])]).to(model.W_U)
    logits: Tensor = model.unembed(model.ln_final(both[None]))[0].float()
    return logits[:-1] - logits[-1]


def lens_tokens(
    model: TransformerBridge,
    dictionary: Dictionary,
    latents: Int[Tensor, " latent"],
    *,
    k: int = 10,
) -> LensTokens:
    """The tokens that latents' decoder directions raise and lower most.

    Args:
        model: The model the dictionary belongs to.
        dictionary: Any dictionary; its directions act at `hook_out`.
        latents: Which latents.
        k: How many tokens at each end; 0: nothing is computed.

    Returns:
        On the CPU, a row per latent.
    """
    k = min(k, int(model.cfg.d_vocab))
    ids = torch.full((2, len(latents), k), -1)
    values = torch.full((2, len(latents), k), torch.nan)
    step = max(1, LATENTS_AT_ONCE // int(model.cfg.d_vocab))
    for first in range(0, len(latents) if k else 0, step):
        which = latents[first : first + step].to(dictionary.directions.device)
        rows = dictionary.directions[which].detach().float()
        try:
            rows = to_residual(model, dictionary.hook_out, rows)
        except HookPointError:
            break
        logits = lens(model, rows.to(model.W_U.device))
        for end, largest in enumerate((True, False)):
            found = logits.topk(k, dim=-1, largest=largest)
            some = (rows != 0).any(-1).cpu()[:, None]
            ids[end, first : first + step] = torch.where(some, found.indices.cpu(), -1)
            values[end, first : first + step] = torch.where(some, found.values.cpu(), torch.nan)
    return LensTokens(ids[0].int(), values[0], ids[1].int(), values[1])
