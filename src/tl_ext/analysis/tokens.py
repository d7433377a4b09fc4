"""How probable a text's own tokens are to the model."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tl_ext.errors import InputError


def probability_table(
    logits: Float[Tensor, "token vocabulary"],
    ids: Int[Tensor, " token"],
    strings: Sequence[str],
    *,
    skip: int = 0,
) -> pd.DataFrame:
    """The probability of each token given those before it.

    Args:
        logits: The model's output at each token, prefix included.
        ids: The tokens.
        strings: The tokens as text.
        skip: How many leading tokens (the prefix) are left out of the table.

    Returns:
        A row per token: `token` (its index in the text), `id`, `string`, `probability` (NaN for a
        first token with nothing before it), `rank` (1: the model's first choice; 0 where undefined).

    Raises:
        InputError: The three do not fit together.
    """
    if not len(logits) == len(ids) == len(strings):
        raise InputError(
            f"{len(logits)} rows of logits, {len(ids)} ids and {len(strings)} strings were given; "
            "one each per token is expected."
        )
    log_probabilities = torch.log_softmax(logits.double(), dim=-1)[:-1]
    chosen = log_probabilities.gather(-1, ids[1:, None]).squeeze(-1)
    rank = (log_probabilities > chosen[:, None]).sum(-1) + 1
    table = pd.DataFrame(
        {
            "token": range(-skip, len(ids) - skip),
            "id": ids.numpy(),
            "string": list(strings),
            "probability": [float("nan"), *chosen.exp().tolist()],
            "rank": [0, *rank.tolist()],
        }
    )
    return table.iloc[skip:].reset_index(drop=True)
