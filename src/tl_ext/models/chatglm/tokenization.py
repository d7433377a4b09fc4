"""The tokenizers of ChatGLM2, ChatGLM3 and GLM-4, fast, built from the published tokenizer.model.

They give the ids of the original tokenizers without their code: the prefix, left padding with its
positions, byte fallback, the text that ids spell, and chats. What the special words of a text are is
the one thing that differs: see [`ChatGLMTokenizer`][tl_ext.models.chatglm.tokenization.ChatGLMTokenizer].
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, processors
from transformers import AutoTokenizer, BatchEncoding, PreTrainedConfig

from tl_ext.models.chatglm import sentencepiece_model, tokenizer_files
from tl_ext.models.chatglm.chat_encoding import ChatEncoding
from tl_ext.models.chatglm.token_formats import FORMATS

_NO_ID = 2**32 - 1


class ChatGLMTokenizer(ChatEncoding):
    """The tokenizer of ChatGLM2, ChatGLM3, CodeGeeX2, GLM-4, LongWriter and CodeGeeX4.

    A text is preceded by its prefix, `[gMASK] sop`; there is no BOS token, and EOS never stands in for
    one. Special words inside a text are text, with one exception: where a GLM-4 checkpoint declares its
    special tokens in `added_tokens_decoder`, its own tokenizer reads them in a text, and so does this
    one, unless `split_special_tokens=True`. In a chat nothing that a message says becomes a special
    token. Ids beyond the vocabulary, which the padded embedding of the model can give, decode to
    nothing.

    Args:
        vocab_file: The published tokenizer.model.
        tokenizer_file: A tokenizer.json that this class saved; it is read where there is one.
        generation: `"chatglm2"`, `"chatglm3"` or `"glm4"`. None: what the files tell.
        encode_special_tokens: Read every special token in a text, inside words too, as the last
            published revisions do when asked to.
        **kwargs: As for `PreTrainedTokenizerFast`.

    Raises:
        InputError: There is no file to build from, it is of another kind than ChatGLM's, or the
            generation, on which the special tokens depend, cannot be told.

    Examples:
        >>> tokenizer = ChatGLMTokenizer.from_pretrained("chatglm3-6b")
        >>> tokenizer("你好")["input_ids"]
        [64790, 64792, 36474, 54591]
    """

    vocab_files_names = {"vocab_file": "tokenizer.model", "tokenizer_file": "tokenizer.json"}  # noqa: RUF012
    model_input_names = ["input_ids", "attention_mask", "position_ids"]  # noqa: RUF012
    padding_side = "left"

    def __init__(
        self,
        vocab_file: str | Path | None = None,
        tokenizer_file: str | Path | None = None,
        generation: str | None = None,
        encode_special_tokens: bool = False,
        **kwargs: Any,
    ) -> None:
        files = tokenizer_files.TokenizerFiles(vocab_file, tokenizer_file)
        backend: Tokenizer | None = kwargs.pop("tokenizer_object", None)
        backend = backend or files.saved_backend(str(kwargs.get("name_or_path") or ""))
        self.generation = files.generation(generation, backend, kwargs)
        self.encode_special_tokens = encode_special_tokens
        declared = _ids_by_name(kwargs.get("added_tokens_decoder") or {})
        self._tokenizer = backend or files.built(self.generation, declared)
        form = FORMATS[self.generation]
        if self.generation == "glm4":
            # As in the original, a text is searched for what the checkpoint declares.
            read = bool(declared) or encode_special_tokens
            kwargs.setdefault("split_special_tokens", not read)
        elif encode_special_tokens:
            self._tokenizer.add_special_tokens(
                [AddedToken(name, normalized=False) for name in form.specials]
            )
        for role, name in (
            ("eos_token", form.eos),
            ("pad_token", form.pad),
            ("unk_token", form.unk),
        ):
            if name is not None and kwargs.get(role) is None:
                kwargs[role] = name
        if kwargs.get("chat_template") is None:
            kwargs["chat_template"] = form.chat_template
        if vocab_file is not None:
            kwargs["vocab_file"] = str(vocab_file)
        super().__init__(  # type: ignore[no-untyped-call]
            generation=self.generation, encode_special_tokens=encode_special_tokens, **kwargs
        )
        self.update_post_processor()

    @classmethod
    def convert_to_native_format(
        cls, trust_remote_code: Any = False, **kwargs: Any
    ) -> dict[str, Any]:
        """Nothing: transformers' own conversions lose the leading spaces of a text."""
        return kwargs

    def update_post_processor(self) -> None:
        """Put the prefix before a text and EOS behind a pair of them, whatever BOS is said to be."""
        form = self._format
        before = " ".join(f"{name}:0" for name in form.prefix)
        names = (*form.prefix, form.eos)
        self._tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{before} $A:0",
            pair=f"{before} $A:0 $B:0 {form.eos}:0",
            special_tokens=[(name, self._tokenizer.token_to_id(name)) for name in names],
        )

    def _add_tokens(
        self, new_tokens: Sequence[str | AddedToken], special_tokens: bool = False
    ) -> int:
        # An added token is searched for in every text; the generation's own names are not.
        others = [token for token in new_tokens if str(token) not in self._format.own]
        return super()._add_tokens(others, special_tokens=special_tokens) if others else 0

    def __setattr__(self, key: str, value: Any) -> None:
        # Silent tokens have no name to be told by: pad_token_id = 2 means "</s>".
        if key.endswith("_token_id") and isinstance(value, int):
            key, value = key.removesuffix("_id"), self._tokenizer.id_to_token(value)
        super().__setattr__(key, value)  # type: ignore[no-untyped-call]

    def _encode_plus(self, *args: Any, **kwargs: Any) -> BatchEncoding:
        encoded = super()._encode_plus(*args, **kwargs)
        if "position_ids" not in self.model_input_names or "position_ids" in encoded:
            return encoded
        rows = [_positions(each.attention_mask) for each in encoded.encodings or ()]
        tensors, ids = kwargs.get("return_tensors"), encoded["input_ids"]
        one = tensors is None and not (ids and isinstance(ids[0], list))
        encoded["position_ids"] = rows[0] if one else rows
        return encoded.convert_to_tensors(tensors) if tensors else encoded

    def _pad(self, encoded_inputs: Any, *args: Any, **kwargs: Any) -> Any:
        given = encoded_inputs.pop("position_ids", None)
        length = len(encoded_inputs[self.model_input_names[0]])
        mask = encoded_inputs.get("attention_mask")
        padded = super()._pad(encoded_inputs, *args, **kwargs)
        if "position_ids" in self.model_input_names:
            positions = given or (list(range(length)) if mask is None else _positions(mask))
            padding = [0] * (len(padded[self.model_input_names[0]]) - length)
            left = (kwargs.get("padding_side") or self.padding_side) == "left"
            padded["position_ids"] = padding + positions if left else positions + padding
        return padded

    def convert_ids_to_tokens(
        self, ids: int | Iterable[int], skip_special_tokens: bool = False
    ) -> Any:
        """The names of tokens; the empty string for those that decode to nothing.

        Args:
            ids: One id or several, beyond the vocabulary too.
            skip_special_tokens: Leave out `all_special_ids`.
        """
        name, silent = self._tokenizer.id_to_token, {None, *self._format.silent}
        if isinstance(ids, int):
            return "" if ids < 0 or name(ids) in silent else name(ids)
        skipped = set(self.all_special_ids) if skip_special_tokens else set()
        # An id that nothing has stands for those below 0, which cannot be asked for.
        kept = [id if id >= 0 else _NO_ID for id in map(int, ids) if id not in skipped]
        return ["" if token in silent else token for token in map(name, kept)]

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        """The text that tokens spell."""
        if self.generation == "glm4":
            return str(super().convert_tokens_to_string(tokens))
        return sentencepiece_model.join(tokens)

    def _decode(
        self,
        token_ids: Any,
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
        **kwargs: Any,
    ) -> str:
        ids = token_ids["input_ids"] if isinstance(token_ids, Mapping) else token_ids
        ids = [ids] if isinstance(ids, int) else ids
        return self.convert_tokens_to_string(
            self.convert_ids_to_tokens(ids, skip_special_tokens=skip_special_tokens)
        )

    def _save_pretrained(
        self, save_directory: Any, file_names: tuple[str, ...], *args: Any, **kwargs: Any
    ) -> tuple[str, ...]:
        names = super()._save_pretrained(save_directory, file_names, *args, **kwargs)
        published = Path(getattr(self, "vocab_file", None) or "")
        copy = Path(save_directory, self.vocab_files_names["vocab_file"])
        if published.is_file() and not (copy.exists() and published.samefile(copy)):
            shutil.copyfile(published, copy)
        return (*names, str(copy)) if copy.exists() else names


class ChatGLM4Tokenizer(ChatGLMTokenizer):
    """The tokenizer of GLM-4, LongWriter and CodeGeeX4, under its published name."""


class _PublishedNames(PreTrainedConfig):
    """Stands for the config classes of tokenizer_config.json files that name our classes."""


def register_tokenizers() -> None:
    """Make `AutoTokenizer` know the published names. Additive and idempotent.

    They are not registered for `ChatGLMConfig`, which names its tokenizer itself: AutoTokenizer would
    then prefer the code in a published folder where it is told to trust it, and that code no longer runs
    (transformers 5.23, `explicit_local_code` in tokenization_auto.py).
    """
    for tokenizer_class in (ChatGLM4Tokenizer, ChatGLMTokenizer):
        AutoTokenizer.register(_PublishedNames, tokenizer_class, exist_ok=True)


def _ids_by_name(added: Mapping[int | str, Any]) -> dict[str, int]:
    return {
        str(token["content"] if isinstance(token, Mapping) else token): int(id)
        for id, token in added.items()
    }


def _positions(mask: Sequence[int]) -> list[int]:
    """The position of each token in its text; 0 on padding."""
    return [held * (seen - 1) for held, seen in zip(mask, accumulate(mask), strict=True)]
