"""The loss: the cross-entropy of each next token that is real, from the plain model's logits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from tl_ext.conformance.batches import SIDES, padded
from tl_ext.conformance.checking import Findings, check
from tl_ext.conformance.texts import script

if TYPE_CHECKING:
    from tl_ext.conformance.subject import Subject


@check("M19", "causal")
def the_loss_is_the_cross_entropy_of_the_next_token(subject: Subject, found: Findings) -> None:
    """Loss, loss by token, and both at once are what torch gives for the plain model's logits."""
    bridge, ids = subject.bridge, subject.ids
    truth = torch.stack([_losses(subject.truth[row], ids[row]) for row in range(len(ids))])
    with torch.no_grad():
        whole = bridge(ids, return_type="loss")
        each = bridge(ids, return_type="loss", loss_per_token=True)
        logits, both = bridge(ids, return_type="both")
    lines = """\
    logits = reference(ids).logits[:, :-1].flatten(0, 1)
    truth = torch.nn.functional.cross_entropy(logits, ids[:, 1:].flatten())
    error = (bridge(ids, return_type="loss") - truth).abs()"""
    found.close("loss", whole, truth.mean(), script=lines)
    found.close("loss of return_type='both'", both, truth.mean(), script=lines)
    found.close("logits of return_type='both'", logits, subject.truth)
    found.close("loss by token", each, truth)


@check("M19", "causal", "padding")
def the_loss_leaves_masked_padding_out(subject: Subject, found: Findings) -> None:
    """Of padded rows under a mask the loss is the mean over real tokens that follow a real one."""
    rows = subject.rows
    truth = [_losses(logits, row) for logits, row in zip(subject.alone(rows), rows, strict=True)]
    for side in SIDES:
        batch = padded(rows, 0, side)
        options = {"attention_mask": batch.mask, "return_type": "loss"}
        with torch.no_grad():
            whole = subject.bridge(batch.ids, **options)
            each = subject.bridge(batch.ids, loss_per_token=True, **options)
        found.close(
            f"loss of rows padded on the {side}",
            whole,
            torch.cat(truth).mean(),
            script=f"""\
            rows, mask = torch.tensor({batch.ids.tolist()}), torch.tensor({batch.mask.tolist()})
            losses = []
            for row, real in zip(rows, mask.bool()):
                logits = reference(row[real][None]).logits[0, :-1]
                losses.append(torch.nn.functional.cross_entropy(logits, row[real][1:], reduction="none"))
            loss = bridge(rows, attention_mask=mask, return_type="loss")
            error = (loss - torch.cat(losses).mean()).abs()""",
        )
        follows = batch.mask[:, 1:].bool() & batch.mask[:, :-1].bool()
        found.close(f"loss by token, padded on the {side}", each[follows], torch.cat(truth))


@check("M19", "causal", "padding")
def the_loss_of_texts_leaves_padding_out(subject: Subject, found: Findings) -> None:
    """The loss of a list of texts is the mean over all their tokens, whichever side is padded."""
    for kind in ("apart", "one"):
        reader = subject.reader(kind)
        rows = reader.ids(True)
        losses = [
            _losses(logits, row) for logits, row in zip(subject.alone(rows), rows, strict=True)
        ]
        for side in SIDES:
            options = {"prepend_bos": True, "padding_side": side, "return_type": "loss"}
            with torch.no_grad():
                loss = reader.bridge(reader.texts, **options)
            lines = f"""\
apart = [bridge(text, prepend_bos=True, return_type="loss", loss_per_token=True)[0] for text in texts]
loss = bridge(texts, prepend_bos=True, padding_side={side!r}, return_type="loss")
error = (loss - torch.cat(apart).mean()).abs()"""
            found.close(
                f"loss of texts padded on the {side}, tokenizer {kind!r}",
                loss,
                torch.cat(losses).mean(),
                script=script(reader, lines),
            )


def _losses(logits: Tensor, ids: Tensor) -> Tensor:
    """The cross-entropy of each token but the first [position - 1]."""
    return functional.cross_entropy(logits[:-1].float(), ids[1:], reduction="none").to(logits.dtype)
