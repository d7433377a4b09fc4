"""Tiny tokenizer files in the two published formats, made here.

The sentencepiece model has the settings of the published one: BPE, byte fallback, identity
normalisation, dummy prefix, digits split, runs of spaces as pieces. The tiktoken-style file is learnt by
counting pairs of bytes.
"""

from __future__ import annotations

import base64
import io
import json
from collections import Counter
from collections.abc import Mapping
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import regex
import sentencepiece

TEXTS = (
    "The cat sat on the mat, and the dog sat near the cat.",
    "She said that the weather was happy and the sun was bright today.",
    "Je suis heureux d'apprendre que l'été à la plage était génial.",
    "Le chat est sur la table; les chats sont heureux.",
    "你好世界，今天天气很好，我很快乐。",
    "人工智能正在改变世界，我们很快乐地学习。",
    "def f(x):    return x  +  1",
    "It costs 12 euros and 345 cents in the year 2024!",
    "hello hello world world happy happy heureuse heureux 快乐 快乐",
)
# The published pattern of GLM-4, and the names of its special tokens in the order of their ids.
GLM4_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
GLM4_SPECIALS = (
    *("<|endoftext|>", "[MASK]", "[gMASK]", "[sMASK]", "<sop>", "<eop>"),
    *("<|system|>", "<|user|>", "<|assistant|>", "<|observation|>"),
    *("<|begin_of_image|>", "<|end_of_image|>", "<|begin_of_video|>", "<|end_of_video|>"),
)
NAMES = {"chatglm2": "THUDM/chatglm2-6b", "chatglm3": "THUDM/chatglm3-6b"}


@cache
def sentencepiece_bytes(pieces: int = 420, **changes: Any) -> bytes:
    """A sentencepiece model of so many pieces, trained on `TEXTS`."""
    model = io.BytesIO()
    settings: dict[str, Any] = {
        "model_type": "bpe",
        "vocab_size": pieces,
        "byte_fallback": True,
        "normalization_rule_name": "identity",
        "add_dummy_prefix": True,
        "remove_extra_whitespaces": False,
        "split_digits": True,
        "allow_whitespace_only_pieces": True,
        "character_coverage": 0.98,
        "hard_vocab_limit": False,
        "num_threads": 1,
        "minloglevel": 2,
    }
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS * 3), model_writer=model, **(settings | changes)
    )
    return model.getvalue()


@cache
def tiktoken_ranks(merges: int = 200) -> dict[bytes, int]:
    """The 256 bytes and so many joins of the most frequent neighbours of `TEXTS`."""
    ranks = {bytes([byte]): byte for byte in range(256)}
    words = [
        [bytes([byte]) for byte in word.encode()]
        for text in TEXTS
        for word in regex.findall(GLM4_PATTERN, text)
    ]
    for _ in range(merges):
        pairs = Counter(left + right for word in words for left, right in pairwise(word))
        best = max(pairs, key=lambda joined: (pairs[joined], joined))
        ranks[best] = len(ranks)
        words = [_joined(word, best) for word in words]
    return ranks


def write_sentencepiece(
    folder: Path, *, generation: str = "chatglm3", config: Mapping[str, Any] | None = None
) -> Path:
    """A folder with the tokenizer files of a published ChatGLM2 or ChatGLM3."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.model").write_bytes(sentencepiece_bytes())
    published = {
        "name_or_path": NAMES[generation],
        "remove_space": False,
        "do_lower_case": False,
        "tokenizer_class": "ChatGLMTokenizer",
        "auto_map": {"AutoTokenizer": ["tokenization_chatglm.ChatGLMTokenizer", None]},
    }
    _write_json(folder / "tokenizer_config.json", {**published, **(config or {})})
    return folder


def write_tiktoken(folder: Path, *, declared: bool = True, **config: Any) -> Path:
    """A folder with the tokenizer files of a published GLM-4.

    Args:
        folder: Where to.
        declared: Whether tokenizer_config.json says which ids the special tokens have.
        **config: Further keys of tokenizer_config.json.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ranks = tiktoken_ranks()
    lines = [b"%s %d\n" % (base64.b64encode(token), rank) for token, rank in ranks.items()]
    (folder / "tokenizer.model").write_bytes(b"".join(lines))
    published: dict[str, Any] = {
        "auto_map": {"AutoTokenizer": ["tokenization_chatglm.ChatGLM4Tokenizer", None]},
        "clean_up_tokenization_spaces": False,
        "do_lower_case": False,
        "eos_token": "<|endoftext|>",
        "pad_token": "<|endoftext|>",
        "model_max_length": 128000,
        "padding_side": "left",
        "remove_space": False,
        "tokenizer_class": "ChatGLM4Tokenizer",
    }
    if declared:
        published["added_tokens_decoder"] = {
            str(len(ranks) + n): {
                "content": name,
                "lstrip": False,
                "normalized": False,
                "rstrip": False,
                "single_word": False,
                "special": True,
            }
            for n, name in enumerate(GLM4_SPECIALS)
        }
        published["additional_special_tokens"] = list(GLM4_SPECIALS)
    _write_json(folder / "tokenizer_config.json", {**published, **config})
    return folder


def tiktoken_ids(text: str) -> list[int]:
    """What tiktoken gives: per word the neighbours of the best rank joined, the leftmost first."""
    ranks = tiktoken_ranks()
    ids: list[int] = []
    for word in regex.findall(GLM4_PATTERN, text):
        raw = word.encode()
        parts = [raw] if raw in ranks else [bytes([byte]) for byte in raw]
        while True:
            known = [
                (ranks[a + b], n) for n, (a, b) in enumerate(pairwise(parts)) if a + b in ranks
            ]
            if not known:
                break
            n = min(known)[1]
            parts[n : n + 2] = [parts[n] + parts[n + 1]]
        ids += [ranks[part] for part in parts]
    return ids


def _joined(word: list[bytes], best: bytes) -> list[bytes]:
    out: list[bytes] = []
    for part in word:
        if out and out[-1] + part == best:
            out[-1] += part
        else:
            out.append(part)
    return out


def _write_json(file: Path, content: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(content, ensure_ascii=False, indent=2), encoding="utf-8")
