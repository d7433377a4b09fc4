"""A hooked model with a tokenizer of words, and texts to give it."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

Kind = Literal["apart", "one", "changed"]
"""Which tokenizer: `"apart"`, where padding, BOS and EOS are three tokens; `"one"`, where they are one, as
for GPT-2; `"changed"`, which is `"apart"` after its owner added a token and set a chat template."""

ADDED = "<added>"
TEMPLATE = "{{ messages }}"


@dataclass(frozen=True)
class Reader:
    """A bridge that was booted with a tokenizer of words.

    Attributes:
        bridge: The hooked model.
        tokenizer: The tokenizer that it was booted with, which is the caller's.
        before: What that tokenizer was before booting, as `settings` tells it.
        rows: Tokens [position] of each text, without BOS.
        bos: The token that stands before a text.
        pad: The token of padding.
    """

    bridge: Any
    tokenizer: Any
    before: dict[str, Any]
    rows: tuple[Tensor, ...]
    bos: int
    pad: int

    @property
    def texts(self) -> list[str]:
        """The texts, of unequal length."""
        return [" ".join(f"w{id}" for id in row.tolist()) for row in self.rows]

    def ids(self, prepend_bos: bool | None) -> list[Tensor]:
        """The tokens [position] that each text should become.

        Args:
            prepend_bos: Whether BOS stands before it; None for what the bridge is configured to do.
        """
        wanted = self.bridge.cfg.default_prepend_bos if prepend_bos is None else prepend_bos
        before = torch.tensor([self.bos] * bool(wanted), dtype=torch.long)
        return [torch.cat([before, row]) for row in self.rows]


def settings(tokenizer: Any) -> dict[str, Any]:
    """What a tokenizer is, for whoever uses it.

    Args:
        tokenizer: The tokenizer.
    """
    return {
        "padding_side": tokenizer.padding_side,
        "special tokens": dict(tokenizer.special_tokens_map),
        "chat_template": tokenizer.chat_template,
        "vocabulary": tokenizer.get_vocab(),
        "ids of 'w3 w4'": tokenizer("w3 w4")["input_ids"],
    }


def reader(
    boot: Callable[[Any, Any], Any], reference: Any, rows: Sequence[Tensor], kind: Kind
) -> Reader:
    """Boot a plain model with a tokenizer of words, `w3` being the token 3.

    The tokenizer is read from a folder, as every published one is: upstream reads it from there again.

    Args:
        boot: Makes a bridge of a model and a tokenizer.
        reference: The plain model; a copy of it becomes the bridge's.
        rows: Tokens [position] of each text, none of them below 3.
        kind: Which tokenizer.
    """
    names = ("<one>",) * 3 if kind == "one" else ("<pad>", "<bos>", "<eos>")
    with tempfile.TemporaryDirectory() as folder:
        words = max(int(row.max()) for row in rows) + 1
        tokenizer = _saved(folder, names, words)
        if kind == "changed":
            tokenizer.add_tokens([ADDED])
            tokenizer.chat_template = TEMPLATE
        before = settings(tokenizer)
        bridge = boot(copy.deepcopy(reference), tokenizer)
    bos, pad = tokenizer.bos_token_id, tokenizer.pad_token_id
    return Reader(bridge, tokenizer, before, tuple(rows), bos, pad)


def _saved(folder: str, names: Sequence[str], words: int) -> Any:
    """A tokenizer of words that was saved to a folder and read from there."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    ids = {f"w{id}": id for id in range(words)}
    for id, name in enumerate(names):
        ids.pop(f"w{id}", None)
        ids.setdefault(name, id)
    made = Tokenizer(models.WordLevel(ids, unk_token=names[0]))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    pad, bos, eos = names
    PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token=bos, eos_token=eos, pad_token=pad
    ).save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


def script(found: Reader, lines: str) -> str:
    """Lines that make `bridge` anew with the tokenizer, and `texts`, and then compute `error`.

    Args:
        found: What a failure showed in.
        lines: What to do with `bridge`, `tokenizer`, `texts`, and `ids`, which are lists here.
    """
    names = dict.fromkeys((found.tokenizer.pad_token, found.tokenizer.bos_token, "<eos>"))
    if len(names) == 2:  # one special token
        names.pop("<eos>")
    pad, bos, eos = (*names, *names, *names)[:3]
    table = ", ".join(f"{name!r}: {id}" for id, name in enumerate(names))
    rows = [row.tolist() for row in found.rows]
    return _SCRIPT.format(rows=rows, table=table, pad=pad, bos=bos, eos=eos) + lines


_SCRIPT = """\
import tokenizers
ids = {rows}
texts = [" ".join(f"w{{id}}" for id in row) for row in ids]
table = {{f"w{{id}}": id for id in range(3, max(map(max, ids)) + 1)}} | {{{table}}}
words = Tokenizer(models.WordLevel(table, unk_token={pad!r}))
words.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
special = dict(pad_token={pad!r}, bos_token={bos!r}, eos_token={eos!r})
transformers.PreTrainedTokenizerFast(tokenizer_object=words, **special).save_pretrained("words")
tokenizer = transformers.AutoTokenizer.from_pretrained("words")
reference.config.architectures, again = model.config.architectures, copy.deepcopy(reference)
bridge = TransformerBridge.boot_transformers("tiny", hf_model=again, tokenizer=tokenizer, device="cpu")
"""
