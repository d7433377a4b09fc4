"""Tokenizers trained in a moment on a few sentences, one of each kind that there is."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

CORPUS = [
    "I am happy today, and so is the happy dog.",
    "L'homme est heureux ; la femme est heureuse.",
    "我很快乐，他也很快乐。",
] * 5


def byte_level(
    normalizer: normalizers.Normalizer | None = None, *, add_prefix_space: bool = False
) -> PreTrainedTokenizerFast:
    """Byte-level BPE, as GPT-2 and Qwen2 have; merges run across the edges of Chinese characters.

    The pre-tokenizer takes no regular expression, so a token may hold the end of one character and
    the beginning of the next.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(
        add_prefix_space=add_prefix_space, use_regex=False
    )
    tokenizer.decoder = decoders.ByteLevel()
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|end|>"],
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def sentencepiece(*, llama: bool) -> PreTrainedTokenizerFast:
    """BPE with byte fallback and a dummy prefix, in Llama's old spelling and the newer one."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    if llama:
        tokenizer.normalizer = normalizers.Sequence(
            [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        )
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=360,
        special_tokens=["<unk>", *(f"<0x{byte:02X}>" for byte in range(256))],
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS[:2], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")


def word_pieces() -> PreTrainedTokenizerFast:
    """BERT's: lower case, no accents, `##` inside words; its tokens never spell the text."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=120, special_tokens=["[UNK]"], show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]")


# Those whose tokens spell the text byte for byte: bytes can be counted independently.
EXACT: dict[str, Callable[[], PreTrainedTokenizerFast]] = {
    "byte-level": byte_level,
    "byte-level, prefix space": lambda: byte_level(add_prefix_space=True),
    "sentencepiece, llama": lambda: sentencepiece(llama=True),
    "sentencepiece, metaspace": lambda: sentencepiece(llama=False),
}
CHANGING: dict[str, Callable[[], PreTrainedTokenizerFast]] = {
    "byte-level, NFC": lambda: byte_level(normalizers.NFC()),
    "byte-level, NFD": lambda: byte_level(normalizers.NFD()),
    "byte-level, lower case": lambda: byte_level(normalizers.Lowercase()),
    "word pieces": word_pieces,
}


@cache
def trained(kind: str) -> PreTrainedTokenizerFast:
    """The tokenizer of this kind; treat it as read-only."""
    return (EXACT | CHANGING)[kind]()
