"""Which latents fire on a concept, and which of them belong to it rather than to its frame."""

from __future__ import annotations

import math

import pandas as pd
import torch
from jaxtyping import Float
from scipy.stats import t
from torch import Tensor

from tl_ext.errors import InputError

LEAST_SHARE = 0.5  # of a concept's texts, for a latent to be said to fire on it


def activation_table(
    latents: Float[Tensor, "text d_latent"], **labels: str | int | None
) -> pd.DataFrame:
    """How strongly each latent fires on a concept, over its texts.

    Args:
        latents: One row a text (occurrences already averaged).
        labels: Columns that say what the rows are about, put first.

    Returns:
        A row per latent that fired on at least one text, the strongest first: `latent`, `activation`
        (mean over all texts, in the dictionary's units), `share` (of the texts it fired on, 0 to 1),
        `largest`, `texts`.

    Raises:
        InputError: No texts.
    """
    _some_texts(latents)
    values = latents.float()
    mean, share, largest = values.mean(0), (values > 0).float().mean(0), values.amax(0)
    live = torch.nonzero(share > 0).flatten()
    table = pd.DataFrame(
        {
            **{name: [label] * len(live) for name, label in labels.items()},
            "latent": live.numpy(),
            "activation": mean[live].numpy(),
            "share": share[live].numpy(),
            "largest": largest[live].numpy(),
            "texts": len(values),
        }
    )
    return table.sort_values(["activation", "latent"], ascending=[False, True], ignore_index=True)


def beyond_controls(
    concept: Float[Tensor, "text d_latent"], controls: Float[Tensor, "text d_latent"]
) -> pd.DataFrame:
    """What a latent does at the concept's words beyond what it does at control words.

    The control words stand in the same frames, so a latent that answers to the frame ("I'm so ...")
    shows no difference. The interval is Welch's; it is about one latent looked at by itself and is not
    corrected for how many were looked at.

    Args:
        concept: Latents at the concept's words, one row a text.
        controls: Latents at the control words, one row a text. The number of texts may differ.

    Returns:
        A row per latent of the dictionary, in their order: `latent`, `activation`, `control` (means),
        `share` (of the concept's texts it fired on), `difference`, `low`, `high` (95 % interval of the
        difference; NaN where nothing varies).

    Raises:
        InputError: Fewer than two texts on a side, or two widths.
    """
    for name, side in (("concept", concept), ("controls", controls)):
        _some_texts(side, least=2, name=name)
    if concept.shape[1] != controls.shape[1]:
        raise InputError(
            f"The concept has {concept.shape[1]} latents and its controls {controls.shape[1]}: "
            "both must come from one dictionary."
        )
    concept, controls = concept.double(), controls.double()
    difference = concept.mean(0) - controls.mean(0)
    errors = [side.var(0, unbiased=True) / len(side) for side in (concept, controls)]
    error = torch.sqrt(errors[0] + errors[1])
    # Welch and Satterthwaite's degrees of freedom.
    freedom = error**4 / sum(
        e**2 / (len(s) - 1) for e, s in zip(errors, (concept, controls), strict=True)
    )
    # A spread of zero is no certainty: it is one text said twice.
    error[error == 0] = math.nan
    half = torch.from_numpy(t.ppf(0.975, freedom.numpy())) * error
    return pd.DataFrame(
        {
            "latent": range(concept.shape[1]),
            "activation": concept.mean(0).numpy(),
            "control": controls.mean(0).numpy(),
            "share": (concept > 0).double().mean(0).numpy(),
            "difference": difference.numpy(),
            "low": (difference - half).numpy(),
            "high": (difference + half).numpy(),
        }
    )


def belongs(table: pd.DataFrame) -> pd.Series:
    """Whether each latent of a `beyond_controls` table belongs to the concept.

    It fires on at least half of the texts and its interval beyond the controls lies above 0.
    """
    return (table["share"] >= LEAST_SHARE) & (table["low"] > 0)


def shared_and_private(
    first: pd.DataFrame, second: pd.DataFrame, firing_rate: Float[Tensor, " d_latent"] | None = None
) -> pd.DataFrame:
    """Latents that belong to two concepts, and those that belong to one alone.

    Args:
        first: `beyond_controls` of one concept.
        second: `beyond_controls` of the other, from the same dictionary.
        firing_rate: Share of background tokens on which each latent fires.

    Returns:
        A row per latent that belongs to either or fires on both: `latent`, `activation_a`,
        `activation_b`, `difference_a`, `low_a`, `difference_b`, `low_b` (beyond the controls),
        `firing_rate`, and `kind`: "shared" (belongs to both), "private a", "private b", "frame" (fires
        on both words, belongs to neither). The strongest joint activation first.

    Raises:
        InputError: The tables are not about the same latents.
    """
    if len(first) != len(second):
        raise InputError(
            f"The two tables hold {len(first)} and {len(second)} latents: both must come from one "
            "dictionary."
        )
    a, b = belongs(first), belongs(second)
    both_fire = (first["share"] >= LEAST_SHARE) & (second["share"] >= LEAST_SHARE)
    kind = pd.Series("", index=first.index)
    kind[both_fire] = "frame"
    kind[a & ~b] = "private a"
    kind[b & ~a] = "private b"
    kind[a & b] = "shared"
    table = pd.DataFrame(
        {
            "latent": first["latent"],
            "kind": kind,
            "activation_a": first["activation"],
            "activation_b": second["activation"],
            "difference_a": first["difference"],
            "low_a": first["low"],
            "difference_b": second["difference"],
            "low_b": second["low"],
            "firing_rate": math.nan if firing_rate is None else firing_rate.double().numpy(),
        }
    )[kind != ""]
    joint = table[["activation_a", "activation_b"]].min(axis=1)
    order = joint.sort_values(ascending=False, kind="stable").index
    return table.loc[order].reset_index(drop=True)


def _some_texts(latents: Tensor, *, least: int = 1, name: str = "latents") -> None:
    if latents.ndim != 2 or len(latents) < least:
        raise InputError(
            f"{name} has shape {tuple(latents.shape)}; [text d_latent] with at least {least} "
            f"text{'s' if least > 1 else ''} is expected."
        )
