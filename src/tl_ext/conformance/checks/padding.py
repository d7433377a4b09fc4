"""Rows and texts of unequal length: together each gives what it gives alone."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import torch

from tl_ext.conformance.batches import SIDES, padded
from tl_ext.conformance.checking import Findings, check
from tl_ext.conformance.texts import Kind, script

if TYPE_CHECKING:
    from tl_ext.conformance.subject import Subject

KINDS: tuple[Kind, ...] = ("apart", "one")


@check("M15", "padding", "causal")
def masked_padding_changes_no_real_token(subject: Subject, found: Findings) -> None:
    """Padded on either side under a mask, each row's real tokens have the logits they have alone."""
    rows = subject.rows
    truth = subject.alone(rows)
    # Also with a token that the rows have themselves, as where padding is BOS and EOS too.
    for side, pad in product(SIDES, (0, int(rows[0][0]))):
        batch = padded(rows, pad, side)
        with torch.no_grad():
            ways = {
                "forward": subject.bridge(batch.ids, attention_mask=batch.mask),
                "run_with_cache": subject.bridge.run_with_cache(
                    batch.ids, names_filter=[], attention_mask=batch.mask
                )[0],
            }
        for (way, logits), row in product(ways.items(), range(len(rows))):
            found.close(
                f"logits of row {row} from {way}, padded on the {side} with token {pad}",
                batch.real(logits, row),
                truth[row],
                script=f"""\
                rows, mask = torch.tensor({batch.ids.tolist()}), torch.tensor({batch.mask.tolist()})
                real = bridge(rows, attention_mask=mask)[{row}][mask[{row}].bool()]
                alone = reference(rows[{row}][mask[{row}].bool()][None]).logits[0]
                error = (real - alone).abs().max()""",
            )


@check("M16", "padding", "causal")
def texts_together_give_what_each_gives_alone(subject: Subject, found: Findings) -> None:
    """A list of texts, padded on either side, with BOS and without, gives each text's own logits."""
    for kind in KINDS:
        reader = subject.reader(kind)
        truths = {wanted: subject.alone(reader.ids(wanted)) for wanted in (True, False)}
        for side, asked in product(SIDES, (None, True, False)):
            truth = truths[reader.bridge.cfg.default_prepend_bos if asked is None else asked]
            with torch.no_grad():
                together = reader.bridge(reader.texts, prepend_bos=asked, padding_side=side)
            for row, alone in enumerate(truth):
                n = len(alone)
                real = together[row, :n] if side == "right" else together[row, -n:]
                bos = [reader.bos] * (len(alone) - len(reader.rows[row]))
                lines = f"""\
logits = bridge(texts, prepend_bos={asked}, padding_side={side!r})[{row}]
alone = reference(torch.tensor([{bos} + ids[{row}]])).logits[0]
error = (logits[{"-len(alone):" if side == "left" else ":len(alone)"}] - alone).abs().max()"""
                found.close(
                    f"logits of text {row} with prepend_bos={asked}, padded on the {side}, "
                    f"{'one token for padding and BOS' if kind == 'one' else 'padding apart'}",
                    real,
                    alone,
                    script=script(reader, lines),
                )
