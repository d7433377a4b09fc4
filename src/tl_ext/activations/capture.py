"""Read activations at hook points, in batches, and compute nothing that nobody asked for.

One pass serves every hook point; the forward pass ends as soon as the last of them has fired, so
reading layer 2 of 12 costs layers 0 to 2.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from tqdm.auto import tqdm

from tl_ext.errors import HookPointError, InputError
from tl_ext.models.hook_points import hooked, names
from tl_ext.models.tokens import Batch, batch, listed

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


@dataclass(frozen=True, eq=False, repr=False)
class CapturedBatch:
    """One batch of texts and what the model computed on it.

    Attributes:
        batch: The tokens; `batch.content` says which cells are text.
        texts: For each row the index of its text in the list that was given.
        activations: By hook point; head axes are flattened.
    """

    batch: Batch
    texts: Int[Tensor, " text"]
    activations: dict[str, Float[Tensor, "text token d_in"]]

    def __repr__(self) -> str:
        return (
            f"<CapturedBatch: {len(self.texts)} texts, {int(self.batch.content.sum())} content tokens"
            f"\n  {_shapes(self.activations)}>"
        )


@dataclass(frozen=True, eq=False, repr=False)
class Captured:
    """Activations at chosen tokens of all texts, one row a token, texts in the order given.

    Attributes:
        activations: By hook point.
        text: For each row the index of its text.
        token: For each row the index of its token in that text, prefix and padding not counted.
    """

    activations: dict[str, Float[Tensor, "row d_in"]]
    text: Int[Tensor, " row"]
    token: Int[Tensor, " row"]

    def __repr__(self) -> str:
        return (
            f"<Captured: {len(self.token)} tokens of {len(self.text.unique())} texts"
            f"\n  {_shapes(self.activations)}>"
        )


class _Complete(Exception):
    """Every hook point has fired; ends a forward pass early."""


def run(
    model: TransformerBridge, tokens: Batch, hook_points: str | Sequence[str]
) -> dict[str, Float[Tensor, "text token d_in"]]:
    """One forward pass up to the last hook point needed.

    Args:
        model: A hooked model.
        tokens: What it reads.
        hook_points: Where to read activations; one name or several.

    Returns:
        Activations by hook point, on the model's device, detached.

    Raises:
        InputError: An activation is NaN or infinite at a token.
        HookPointError: A hook point the model lacks, or one that did not fire.
    """
    hook_points = names(hook_points)
    activations: dict[str, Tensor] = {}

    def keep(name: str, activation: Tensor) -> None:
        activations[name] = activation.detach().clone()
        if len(activations) == len(functions):
            raise _Complete

    def keeper(name: str):  # type: ignore[no-untyped-def]
        return lambda activation: keep(name, activation)

    functions = {name: keeper(name) for name in hook_points}
    with torch.no_grad(), suppress(_Complete), hooked(model, functions):
        model(tokens.ids, return_type=None, **tokens.forward_arguments())
    silent = [name for name in hook_points if name not in activations]
    if silent:
        raise HookPointError(f"These hook points never fired in a forward pass: {silent}.")
    for name in hook_points:
        _check_finite(name, activations[name], tokens)
    return {name: activations[name] for name in hook_points}


def _check_finite(name: str, activation: Float[Tensor, "text token d_in"], tokens: Batch) -> None:
    # The whole tensor first: one reduction, and padding seldom holds anything that is not finite.
    if bool(activation.isfinite().all()):
        return
    bad = int((~activation[tokens.mask].isfinite()).any(-1).sum())
    if bad:
        raise InputError(
            f"The activation at {name} is NaN or infinite at {bad} of {int(tokens.mask.sum())} tokens. "
            "Look for weights that are not finite, an edit that is too strong, or a type with too "
            "small a range: load_model(..., dtype=torch.float32)."
        )


def _shapes(activations: dict[str, Tensor]) -> str:
    return ", ".join(f"{name} {list(each.shape)}" for name, each in activations.items())


def iterate(
    model: TransformerBridge,
    texts: Sequence[str],
    hook_points: str | Sequence[str],
    *,
    batch_size: int = 32,
    max_tokens: int | None = None,
    progress: str | None = None,
) -> Iterator[CapturedBatch]:
    """Read activations of many texts, a batch at a time.

    Texts of similar length share a batch, so little is spent on padding.

    Args:
        model: A hooked model.
        texts: What it reads.
        hook_points: Where to read activations; one name or several.
        batch_size: Texts in a forward pass.
        max_tokens: Cut texts to this many tokens; None: too long a text is an error.
        progress: The label of a progress bar; None: no bar.

    Yields:
        One [`CapturedBatch`][tl_ext.activations.capture.CapturedBatch] per batch. Only one is held at a
        time.

    Raises:
        InputError: No texts, no hook points, a batch size below 1, or an activation that is NaN or
            infinite at a token.
        HookPointError: A hook point the model lacks, or one that did not fire.
    """
    texts, points = listed(texts), tuple(dict.fromkeys(names(hook_points)))
    if not points:
        raise InputError("There are no hook points to read: an empty list was given.")
    if batch_size < 1:
        raise InputError(f"batch_size is {batch_size}; at least 1 text in a batch is needed.")
    order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
    with tqdm(total=len(texts), desc=progress, unit="text", disable=progress is None) as bar:
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            tokens = batch(model, [texts[index] for index in chosen], max_tokens=max_tokens)
            yield CapturedBatch(tokens, torch.tensor(chosen), run(model, tokens, points))
            bar.update(len(chosen))


def capture(
    model: TransformerBridge,
    texts: Sequence[str],
    hook_points: str | Sequence[str],
    *,
    batch_size: int = 32,
    max_tokens: int | None = None,
    progress: str | None = None,
) -> Captured:
    """Activations at every token of the texts that statistics may use.

    BOS, prefix, padding and the first position are left out (see `Batch.content`).

    Args:
        model: A hooked model.
        texts: What it reads.
        hook_points: Where to read activations; one name or several.
        batch_size: Texts in a forward pass.
        max_tokens: Cut texts to this many tokens; None: too long a text is an error.
        progress: The label of a progress bar; None: no bar.

    Returns:
        Rows on the CPU, in the order of the texts and of their tokens.

    Raises:
        InputError: No texts, no hook points, texts that leave no token to read, or an activation that
            is NaN or infinite at a token.
        HookPointError: A hook point the model lacks, or one that did not fire.
    """
    rows: dict[str, list[Tensor]] = {}
    text_parts, token_parts = [], []
    for part in iterate(
        model, texts, hook_points, batch_size=batch_size, max_tokens=max_tokens, progress=progress
    ):
        where = part.batch.content
        text, token = locate(part, where)
        text_parts.append(text)
        token_parts.append(token)
        for name, activation in part.activations.items():
            rows.setdefault(name, []).append(activation[where].cpu())
    text, token = torch.cat(text_parts), torch.cat(token_parts)
    if not len(text):
        raise InputError("The texts leave no token to read once prefix and first position are out.")
    width = int(token.max()) + 1
    order = torch.argsort(text * width + token)
    return Captured(
        activations={name: torch.cat(parts)[order] for name, parts in rows.items()},
        text=text[order],
        token=token[order],
    )


def locate(
    part: CapturedBatch, where: Bool[Tensor, "text token"]
) -> tuple[Int[Tensor, " row"], Int[Tensor, " row"]]:
    """For the true cells of a batch: the index of the text and of the token within it, on the CPU."""
    row, column = where.nonzero(as_tuple=True)
    token = column - part.batch.offset[row]
    return part.texts[row.cpu()], token.cpu()
