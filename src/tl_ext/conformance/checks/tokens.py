"""Texts and tokens: the hooked model reads as its caller's tokenizer does, and leaves that as it was."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import torch

from tl_ext.conformance.batches import SIDES, padded
from tl_ext.conformance.checking import Findings, check
from tl_ext.conformance.checks.padding import KINDS
from tl_ext.conformance.texts import ADDED, script, settings

if TYPE_CHECKING:
    from tl_ext.conformance.subject import Subject

_ASKED = (None, True, False)


@check("M17")
def texts_become_the_tokenizers_tokens(subject: Subject, found: Findings) -> None:
    """to_tokens gives the tokenizer's ids, with BOS before them where it is asked for, and its padding."""
    for kind, asked in product(KINDS, _ASKED):
        reader = subject.reader(kind)
        rows = reader.ids(asked)
        for text, row in zip(reader.texts, rows, strict=True):
            found.same(
                f"to_tokens({text!r}, prepend_bos={asked})",
                reader.bridge.to_tokens(text, prepend_bos=asked),
                row[None],
            )
        for side in SIDES:
            found.same(
                f"to_tokens of two texts, prepend_bos={asked}, padding_side={side!r}",
                reader.bridge.to_tokens(reader.texts, prepend_bos=asked, padding_side=side),
                padded(rows, reader.pad, side).ids,
            )


@check("M17")
def tokens_become_the_tokenizers_texts(subject: Subject, found: Findings) -> None:
    """to_string and to_str_tokens give the tokenizer's strings, of all tokens and of each."""
    for kind in KINDS:
        reader = subject.reader(kind)
        one_by_one = reader.tokenizer.convert_ids_to_tokens
        rows = reader.ids(True)
        for text, row in zip(reader.texts, rows, strict=True):
            given = {
                "to_string": (reader.bridge.to_string(row), reader.tokenizer.decode(row)),
                "to_str_tokens of the text": (
                    reader.bridge.to_str_tokens(text, prepend_bos=False),
                    text.split(),
                ),
                "to_str_tokens of the tokens": (
                    reader.bridge.to_str_tokens(row),
                    one_by_one(row.tolist()),
                ),
            }
            for what, (got, truth) in given.items():
                found.holds(what, got == truth, f"of {text!r} gives {got!r}; expected is {truth!r}")
        strings = reader.bridge.to_string(padded(rows, reader.pad, "right").ids)
        found.holds("to_string", len(strings) == len(rows), "of two rows does not give two strings")


@check("M18")
def the_callers_tokenizer_stays_as_it_was(subject: Subject, found: Findings) -> None:
    """Booting with a tokenizer, and reading and generating with it, leave it as it was."""
    for kind in (*KINDS, "changed"):
        reader = subject.reader(kind)
        with torch.no_grad():
            reader.bridge(reader.texts, padding_side="left")
        after = settings(reader.tokenizer)
        for what, was in reader.before.items():
            told = f"is {after[what]!r}; before booting it was {was!r}"
            found.holds(f"{what} of the caller's tokenizer", after[what] == was, told)


@check("M18")
def what_was_set_on_the_tokenizer_is_kept(subject: Subject, found: Findings) -> None:
    """The model reads tokens that were added to its tokenizer, and has its chat template."""
    reader = subject.reader("changed")
    id = reader.tokenizer.convert_tokens_to_ids(ADDED)
    ids = reader.bridge.to_tokens(ADDED, prepend_bos=False)[0].tolist()
    lines = f"""\
tokenizer.add_tokens([{ADDED!r}])
bridge = TransformerBridge.boot_transformers("tiny", hf_model=reference, tokenizer=tokenizer)
error = float(len(bridge.tokenizer) != len(tokenizer))"""
    found.holds(
        "an added token",
        ids == [id],
        f"becomes {ids}; its id is {id}",
        script=script(reader, lines),
    )
    template = reader.bridge.tokenizer.chat_template
    was = reader.before["chat_template"]
    found.holds("the chat template", template == was, f"is {template!r}; it was {was!r}")
