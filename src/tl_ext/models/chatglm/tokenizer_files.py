"""Which files a tokenizer is built from, and what they tell about its generation."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from tl_ext.errors import InputError
from tl_ext.models.chatglm import generations, sentencepiece_model, tiktoken_model
from tl_ext.models.chatglm.token_formats import FORMATS, ROLES

_PUBLISHED_CODE = "tokenization_chatglm.py"


@dataclass(frozen=True)
class TokenizerFiles:
    """The files given to a tokenizer, and those that lie beside them.

    Attributes:
        vocab_file: A tokenizer.model, or None.
        tokenizer_file: A tokenizer.json, or None.
    """

    vocab_file: str | Path | None
    tokenizer_file: str | Path | None

    def saved_backend(self, name: str) -> Tokenizer | None:
        """What a tokenizer.json holds, where it is one that our tokenizer saved; else None.

        Args:
            name: The folder or hub id that was asked for.

        Raises:
            InputError: There is nothing else to build from.
        """
        if self.tokenizer_file is not None and Path(self.tokenizer_file).is_file():
            backend = Tokenizer.from_file(str(self.tokenizer_file))
            if _is_ours(backend):
                backend.no_padding()
                backend.no_truncation()
                return backend
        if self.vocab_file is None or not Path(self.vocab_file).is_file():
            given = f"vocab_file={self.vocab_file!r}, tokenizer_file={self.tokenizer_file!r}"
            raise InputError(
                f"{name or 'What was given'} has no tokenizer.model to build the tokenizer from, and no "
                f"tokenizer.json that it saved ({given}). Put the published tokenizer.model beside "
                "config.json, or pass tokenizer=... to what loads the model."
            )
        return None

    def built(self, generation: str, declared: Mapping[str, int]) -> Tokenizer:
        """The backend built from the tokenizer.model.

        Args:
            generation: Whose special tokens it has.
            declared: Special tokens and their ids, where the checkpoint declares them.
        """
        assert self.vocab_file is not None
        names = FORMATS[generation].specials
        if generation != "glm4":
            return sentencepiece_model.backend(self.vocab_file, names)
        return tiktoken_model.backend(self.vocab_file, declared or names)

    def generation(
        self, stated: str | None, saved: Tokenizer | None, given: Mapping[str, Any]
    ) -> str:
        """The generation stated, or told by the files.

        Args:
            stated: What the caller or tokenizer_config.json says, or None.
            saved: What a tokenizer.json holds, or None.
            given: What else the tokenizer is made with: the name that was asked for, the chat
                template, the tokens that are declared.

        Raises:
            InputError: An unknown generation is stated, one that the vocabulary contradicts, or none
                can be told.
        """
        if stated is not None and stated not in FORMATS:
            raise InputError(f"generation={stated!r}; one of {', '.join(FORMATS)} is expected.")
        told = next(filter(None, (_of_vocabulary(saved), self._of_format())), None)
        if "glm4" in (stated, told) and None not in (stated, told) and stated != told:
            raise InputError(
                f"generation={stated!r}, but the vocabulary is of {told}. Leave generation= out, or "
                "give the tokenizer.model of the checkpoint."
            )
        found = stated or told or next(filter(None, self._evidence(given)), None)
        if found is None:
            raise InputError(
                f"Nothing beside {self.vocab_file} tells whether it is ChatGLM2's tokenizer.model, with "
                "five special tokens, or ChatGLM3's, with nine. Pass generation='chatglm2' or "
                "'chatglm3', or write \"generation\" into tokenizer_config.json or config.json."
            )
        return found

    def _of_format(self) -> str | None:
        if self.vocab_file is None or not Path(self.vocab_file).is_file():
            return None
        return "glm4" if tiktoken_model.is_tiktoken(self.vocab_file) else None

    def _evidence(self, given: Mapping[str, Any]) -> Iterator[str | None]:
        """What tells ChatGLM2 from ChatGLM3, the surest first."""
        folder = Path(self.vocab_file or self.tokenizer_file or "").parent
        config = _json(folder / "config.json")
        yield config.get("generation")
        code = folder / _PUBLISHED_CODE
        if code.is_file():  # read, never run
            yield "chatglm3" if "<|observation|>" in code.read_text("utf-8") else "chatglm2"
        declared = map(str, (given.get("added_tokens_decoder") or {}).values())
        yield "chatglm3" if set(ROLES).intersection(declared) else None
        yield generations.of_tokenizer({"chat_template": given.get("chat_template")})
        yield generations.of_tokenizer(_json(folder / "tokenizer_config.json"))
        yield generations.of_name(str(config.get("_name_or_path") or ""))
        yield generations.of_name(str(given.get("name_or_path") or ""))
        yield generations.of_name(folder.name)
        yield generations.of_version(config.get("transformers_version"))


def _of_vocabulary(saved: Tokenizer | None) -> str | None:
    if saved is None:
        return None
    if saved.token_to_id("<sop>") is not None:
        return "glm4"
    return "chatglm2" if saved.token_to_id("<|observation|>") is None else "chatglm3"


def _is_ours(backend: Tokenizer) -> bool:
    def same(one: Any, other: Any) -> bool:
        return one is not None and bool(one.__getstate__() == other.__getstate__())

    return same(backend.normalizer, sentencepiece_model.normalizer()) or (
        same(backend.pre_tokenizer, tiktoken_model.pre_tokenizer()) and backend.model.ignore_merges
    )


def _json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
