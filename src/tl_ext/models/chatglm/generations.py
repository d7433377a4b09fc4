"""Which published generation a checkpoint is of.

Two things depend on it that config.json does not spell out: what `rope_ratio` stretches, and how a chat
is written. What can be known is taken from what stands in the checkpoint; nothing is guessed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from tl_ext.errors import UnsupportedModelError

GENERATIONS = ("chatglm2", "chatglm3", "glm4")

_NAMES = (
    ("chatglm2", re.compile(r"chatglm2|codegeex2", re.IGNORECASE)),
    ("chatglm3", re.compile(r"chatglm3", re.IGNORECASE)),
    ("glm4", re.compile(r"glm-?4|codegeex4", re.IGNORECASE)),
)
# The versions that saved the published config.json files of the two generations that share a
# vocabulary; a file saved again carries another one and tells nothing.
_SAVED_BY = {"4.27.1": "chatglm2", "4.30.2": "chatglm3"}
_FIRST_GLM4_SPECIAL = 151329  # <|endoftext|>, which GLM-4 pads with


class Config(Protocol):
    """What of a config is read here."""

    generation: str | None
    rope_ratio: int | float
    transformers_version: str | None
    eos_token_id: int | list[int] | None
    pad_token_id: int | None


def tell(config: Config, others: Mapping[str, Any]) -> str | None:
    """The generation a config states, or that what stands in the checkpoint tells.

    Args:
        config: The config; its `generation` holds what was stated, or None.
        others: The keys of config.json that are no fields of the config, with `name_or_path`, the
            folder or hub id it was read from.

    Returns:
        One of `GENERATIONS`, or None where it cannot be told and nothing depends on it.

    Raises:
        UnsupportedModelError: An unknown generation is stated, or none can be told and `rope_ratio`
            depends on it.
    """
    if config.generation is not None:
        if config.generation not in GENERATIONS:
            raise UnsupportedModelError(
                f"generation={config.generation!r}, expected one of {', '.join(GENERATIONS)}."
            )
        return config.generation
    told = dict(_evidence(config, others))
    found = set(told.values())
    if not found:
        found = {each for each in [of_version(config.transformers_version)] if each}
    if len(found) == 1:
        return found.pop()
    later = found and "chatglm2" not in found  # these two write rope_ratio alike
    if later or config.rope_ratio == 1:
        return None
    why = "; ".join(f"{what} says {which}" for what, which in told.items())
    raise UnsupportedModelError(
        f"rope_ratio={config.rope_ratio} divides the positions in ChatGLM2 and multiplies the base of "
        f"the rotary embedding in ChatGLM3 and GLM-4, and this checkpoint does not tell which it is"
        f"{f' ({why})' if why else ''}. Pass generation= one of {', '.join(map(repr, GENERATIONS))} "
        'to from_pretrained, or write "generation" into its config.json.'
    )


def of_tokenizer(tokenizer_config: Mapping[str, Any]) -> str | None:
    """The generation that a tokenizer_config.json tells, or None.

    ChatGLM2 has no role tokens, so a chat is written in rounds there.
    """
    if tokenizer_config.get("tokenizer_class") == "ChatGLM4Tokenizer":
        return "glm4"
    named = of_name(str(tokenizer_config.get("name_or_path") or ""))
    if named is not None:
        return named
    template = json.dumps([tokenizer_config.get("chat_template")], ensure_ascii=False)
    if "<|user|>" in template or "<|assistant|>" in template or "message['role']" in template:
        return "chatglm3"
    if "[Round" in template:
        return "chatglm2"
    return None


def of_name(name: str) -> str | None:
    """The generation that a published model's name tells, or None.

    Args:
        name: A hub id or a path, whose last part is read.
    """
    last = re.split(r"[/\\]", name.rstrip("/\\"))[-1]
    found = [generation for generation, pattern in _NAMES if pattern.search(last)]
    return found[0] if len(found) == 1 else None


def of_version(transformers_version: str | None) -> str | None:
    """The generation whose published config.json this version of transformers saved, or None."""
    return _SAVED_BY.get(transformers_version or "")


def _evidence(config: Config, others: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What tells the generation, and which one it tells."""
    read_from = str(others.get("name_or_path") or "")
    eos = config.eos_token_id
    ids = [*(eos if isinstance(eos, list) else [eos]), config.pad_token_id]
    tokenizer = _tokenizer_config(Path(read_from)) if read_from else None
    told = {
        "_name_or_path in config.json": of_name(str(others.get("_name_or_path") or "")),
        "the name it was asked for by": of_name(read_from),
        "eos and pad": "glm4" if any((i or 0) >= _FIRST_GLM4_SPECIAL for i in ids) else None,
        "tokenizer_config.json": of_tokenizer(tokenizer) if tokenizer else None,
    }
    yield from ((what, which) for what, which in told.items() if which)


def _tokenizer_config(folder: Path) -> dict[str, Any] | None:
    """The tokenizer_config.json beside a config.json, where there is one that can be read."""
    file = folder / "tokenizer_config.json"
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
