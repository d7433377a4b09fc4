"""Greedy generation: what a loop over the plain model's logits gives, with a cache, in batches, edited."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tl_ext.conformance.batches import Batch, padded
from tl_ext.conformance.checking import Findings, check
from tl_ext.conformance.checks.padding import KINDS
from tl_ext.conformance.plain_modules import Edit, hooked, places
from tl_ext.conformance.texts import script

if TYPE_CHECKING:
    from tl_ext.conformance.subject import Subject

STEPS = 3
"""How many tokens are generated: the prompt's, and two that go through a cache."""


@check("M22", "generates", "causal")
def greedy_generation_is_a_loop_over_the_logits(subject: Subject, found: Findings) -> None:
    """With a cache and without, greedy generation gives the tokens and logits of a loop by hand."""
    truth = [_by_hand(subject, row) for row in subject.ids]
    for cached in (True, False):
        out = _generated(subject.bridge, subject.ids, cached)
        _compare(found, out, truth, f"use_past_kv_cache={cached}", _loop_script(cached))


@check("M23", "generates", "causal", "padding")
def rows_generate_together_what_each_generates_alone(subject: Subject, found: Findings) -> None:
    """Padded rows under a mask generate what each generates alone, with a cache and without."""
    rows = subject.rows
    truth = [_by_hand(subject, row) for row in rows]
    for cached, pad in product((True, False), (0, int(rows[0][0]))):
        batch = padded(rows, pad, "left")
        out = _generated(subject.bridge, batch.ids, cached, attention_mask=batch.mask)
        told = f"padding {pad}, use_past_kv_cache={cached}"
        _compare(found, out, truth, told, _batch_script(batch, cached))


@check("M23", "generates", "causal", "padding")
def texts_generate_together_what_each_generates_alone(subject: Subject, found: Findings) -> None:
    """A list of texts, with BOS and without, generates what each text generates alone."""
    for kind in KINDS:
        reader = subject.reader(kind)
        truths = {
            wanted: [_by_hand(subject, row) for row in reader.ids(wanted)]
            for wanted in (True, False)
        }
        for asked in (None, True, False):
            truth = truths[reader.bridge.cfg.default_prepend_bos if asked is None else asked]
            out = _generated(reader.bridge, reader.texts, True, prepend_bos=asked)
            lines = f"""\
new = dict(max_new_tokens=1, prepend_bos={asked}, do_sample=False, verbose=False, output_logits=True)
seen = [bridge.generate(some, **new).logits[0][-1] for some in (texts, texts[1:])]
error = (seen[0] - seen[1]).abs().max()"""
            told = f"prepend_bos={asked}, tokenizer {kind!r}"
            _compare(found, out, truth, told, script(reader, lines))


@check("M24", "generates", "causal")
def an_edit_holds_in_every_step_of_generation(subject: Subject, found: Findings) -> None:
    """With noise added to the stream at every position, generation is a loop over the edited model."""
    truth = [_by_hand(subject, row, _edit(subject)) for row in subject.ids]
    for cached in (True, False):
        out = _edited_generation(subject, subject.ids, cached)
        told = f"{_edited(subject)} edited, use_past_kv_cache={cached}"
        _compare(found, out, truth, told, _loop_script(cached, _edited(subject)))


@check("M24", "generates", "causal", "padding")
def an_edit_holds_for_rows_that_generate_together(subject: Subject, found: Findings) -> None:
    """Padded rows under a mask and the same noise at every position generate as each does alone."""
    truth = [_by_hand(subject, row, _edit(subject)) for row in subject.rows]
    batch = padded(subject.rows, 0, "left")
    for cached in (True, False):
        out = _edited_generation(subject, batch.ids, cached, attention_mask=batch.mask)
        told = f"{_edited(subject)} edited, padded, use_past_kv_cache={cached}"
        _compare(found, out, truth, told, _batch_script(batch, cached, _edited(subject)))


@dataclass(frozen=True)
class _Greedy:
    """What greedy generation should give for a row, as far as rounding cannot lead elsewhere.

    Attributes:
        tokens: The new tokens [token]; fewer than the steps where two were as likely.
        logits: What they were chosen by, and those two [step, d_vocab].
    """

    tokens: Tensor
    logits: Tensor


def _by_hand(subject: Subject, row: Tensor, edit: Edit | None = None) -> _Greedy:
    """Choose the most likely token a few times, each time from a pass over all tokens so far."""
    steps, ids = [], row
    for _ in range(STEPS):
        with hooked(subject, places(subject)[_edited(subject)], edit) if edit else nullcontext():
            logits = subject.plain(ids[None])[0, -1]
        steps.append(logits)
        first, second = logits.float().topk(2).values
        if first - second <= 4 * subject.tolerance * logits.abs().max().clamp(min=1):
            break
        ids = torch.cat([ids, logits.argmax()[None]])
    return _Greedy(ids[len(row) :], torch.stack(steps))


def _edited(subject: Subject) -> str:
    """The hook point that edits are made at: the residual stream halfway up."""
    return f"blocks.{subject.bridge.cfg.n_layers // 2}.hook_in"


def _edit(subject: Subject) -> Edit:
    """Add the same noise at every position, however many there are."""
    noise = subject.noise(subject.cache[_edited(subject)])[0, 0]
    return lambda stream: stream + noise


def _generated(bridge: Any, prompt: Any, cached: bool, **options: Any) -> Any:
    with torch.no_grad():
        return bridge.generate(
            prompt,
            max_new_tokens=STEPS,
            do_sample=False,
            stop_at_eos=False,
            use_past_kv_cache=cached,
            return_type="tokens",
            output_logits=True,
            verbose=False,
            **options,
        )


def _edited_generation(subject: Subject, prompt: Tensor, cached: bool, **options: Any) -> Any:
    edit = _edit(subject)
    with subject.bridge.hooks(fwd_hooks=[(_edited(subject), lambda value, hook: edit(value))]):
        return _generated(subject.bridge, prompt, cached, **options)


def _compare(found: Findings, out: Any, truth: Sequence[_Greedy], told: str, lines: str) -> None:
    for row, right in enumerate(truth):
        for step, logits in enumerate(right.logits):
            what = f"logits of row {row} at step {step}, {told}"
            found.close(what, out.logits[step][row], logits, script=lines)
        tokens = out.sequences[row, -STEPS:][: len(right.tokens)]
        found.same(f"tokens of row {row}, {told}", tokens, right.tokens, script=lines)


def _hook_lines(name: str | None) -> str:
    """Lines that add noise at a hook point; none where there is no name."""
    return (
        ""
        if name is None
        else f"""\
noise = torch.randn(bridge.cfg.d_model)
bridge.hook_dict[{name!r}].add_hook(lambda value, hook: value + noise)
"""
    )


def _loop_script(cached: bool, name: str | None = None) -> str:
    """Generate, and compute the same logits in one pass over all that was generated."""
    return f"""\
{_hook_lines(name)}out = bridge.generate(ids, max_new_tokens={STEPS}, do_sample=False, verbose=False,
    stop_at_eos=False, output_logits=True, return_type="tokens", use_past_kv_cache={cached})
whole = bridge(out.sequences)[:, {-STEPS - 1}:-1]
error = (torch.stack(out.logits, dim=1) - whole).abs().max()"""


def _batch_script(batch: Batch, cached: bool, name: str | None = None) -> str:
    """Generate the rows together and each alone."""
    return f"""\
{_hook_lines(name)}rows, mask = torch.tensor({batch.ids.tolist()}), torch.tensor({batch.mask.tolist()})
options = dict(max_new_tokens={STEPS}, do_sample=False, stop_at_eos=False, verbose=False,
               output_logits=True, use_past_kv_cache={cached})
together = torch.stack(bridge.generate(rows, attention_mask=mask, **options).logits)
alone = [torch.stack(bridge.generate(row[real][None], **options).logits)
         for row, real in zip(rows, mask.bool())]
error = (together - torch.cat(alone, dim=1)).abs().max()"""
