"""The sentencepiece file of ChatGLM2, ChatGLM3 and CodeGeeX2, as a fast tokenizer.

Sentencepiece joins, again and again, the two neighbours whose union has the best score, the leftmost
of equals. Byte-level merges ranked by the score of their union do the same, once every way of
splitting a piece in two is among them.

Source: Kudo & Richardson 2018, SentencePiece (arXiv 1808.06226); `bpe_model.cc` and
`sentencepiece_processor.cc` of https://github.com/google/sentencepiece.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from sentencepiece import sentencepiece_model_pb2
from tokenizers import Regex, Tokenizer, decoders, models, normalizers
from tokenizers.normalizers import Normalizer

from tl_ext.errors import InputError

SPACE = "▁"
_NORMAL, _UNKNOWN, _CONTROL, _BYTE = 1, 2, 3, 6
_BPE = 2
_NAMES = {"unk": "<unk>", "bos": "<s>", "eos": "</s>"}


def backend(file: str | Path, specials: Sequence[str]) -> Tokenizer:
    """A fast tokenizer that gives the ids of a sentencepiece file.

    Args:
        file: The published tokenizer.model.
        specials: Names of the tokens behind the file's own; text is never read as one of them.

    Returns:
        The tokenizer, without what stands before a text.

    Raises:
        InputError: The file is no sentencepiece model, or one of another kind than ChatGLM's.
    """
    proto = _read(Path(file))
    vocabulary = {piece.piece: id for id, piece in enumerate(proto.pieces)}
    clash = sorted(set(specials) & set(vocabulary))
    if clash or len(vocabulary) != len(proto.pieces):
        raise InputError(
            f"{file} names one token twice ({', '.join(clash) or 'within itself'}), which ChatGLM's "
            "does not. Give the published tokenizer.model."
        )
    vocabulary |= {name: len(vocabulary) + n for n, name in enumerate(specials)}
    merges = _merges({each.piece: each.score for each in proto.pieces if each.type == _NORMAL})
    tokenizer = Tokenizer(
        models.BPE(
            vocab=vocabulary,
            merges=merges,
            unk_token=_NAMES["unk"],
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    tokenizer.normalizer = normalizer()
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace(SPACE, " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return tokenizer


def normalizer() -> Normalizer:
    """One space more before a text, and every space visible.

    The space is put in at the place before the first character; `Prepend` would make it a part of
    that character, and a lone space token would claim it in the offsets.
    """
    return normalizers.Sequence(
        [normalizers.Replace(Regex(r"\A"), SPACE), normalizers.Replace(" ", SPACE)]
    )


def join(pieces: Iterable[str]) -> str:
    """The text that pieces spell, as sentencepiece puts it together.

    Bytes that are no UTF-8 become one replacement mark each; the dummy prefix goes where it is the
    first thing of the text.
    """
    text = ""
    for is_byte, run in groupby(pieces, key=_is_byte):
        if is_byte:
            text += "".join(_characters(bytes(int(piece[3:5], 16) for piece in run)))
        else:
            spelled = "".join(run)
            # The dummy prefix is the first thing of the text or it is none.
            text += (spelled if text else spelled.removeprefix(SPACE)).replace(SPACE, " ")
    return text


def _read(file: Path) -> Any:
    messages: Any = sentencepiece_model_pb2
    proto = messages.ModelProto()
    try:
        proto.ParseFromString(file.read_bytes())
    except Exception as error:  # protobuf's DecodeError, whichever protobuf is installed
        raise InputError(f"{file} is no sentencepiece model: {error}.") from error
    for reason in _differences(proto):
        raise InputError(
            f"{file} {reason}, unlike ChatGLM's. It would be read with other ids here. Give the "
            "published tokenizer.model."
        )
    return proto


def _differences(proto: Any) -> Iterator[str]:
    trainer, spec = proto.trainer_spec, proto.normalizer_spec
    if trainer.model_type != _BPE:
        yield f"is a sentencepiece model of type {trainer.model_type}, not BPE"
    if spec.precompiled_charsmap or spec.remove_extra_whitespaces or not spec.add_dummy_prefix:
        yield "normalises texts"
    if trainer.treat_whitespace_as_suffix or not spec.escape_whitespaces:
        yield "writes spaces in another way"
    kinds = [piece.type for piece in proto.pieces]
    if others := set(kinds) - {_NORMAL, _UNKNOWN, _CONTROL, _BYTE}:
        yield f"has pieces of type {min(others)}"
    if kinds.count(_BYTE) != 256:
        yield f"has {kinds.count(_BYTE)} pieces for the 256 bytes"
    for role, name in _NAMES.items():
        id = getattr(trainer, f"{role}_id")
        if not 0 <= id < len(kinds) or proto.pieces[id].piece != name:
            yield f"has no {name} as its {role}"


def _merges(scores: dict[str, float]) -> list[tuple[str, str]]:
    """Every way of splitting a piece into two pieces, best score of the whole first."""
    ranked = [
        (-score, cut, whole[:cut], whole[cut:])
        for whole, score in scores.items()
        for cut in range(1, len(whole))
        if whole[:cut] in scores and whole[cut:] in scores
    ]
    ranked.sort()
    return [(left, right) for _, _, left, right in ranked]


def _is_byte(piece: str) -> bool:
    return len(piece) == 6 and piece.startswith("<0x")


def _characters(raw: bytes) -> Iterator[str]:
    """UTF-8 decoded; every byte that belongs to no character by itself is a replacement mark."""
    try:
        yield raw.decode()
        return
    except UnicodeDecodeError:
        start = 0
    while start < len(raw):
        for width in range(1, 5):
            try:
                yield raw[start : start + width].decode()
            except UnicodeDecodeError:
                continue
            start += width
            break
        else:
            yield "\ufffd"
            start += 1
