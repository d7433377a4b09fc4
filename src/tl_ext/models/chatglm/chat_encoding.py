"""The chats of ChatGLM's tokenizers: ids that are exactly the original code's.

A chat is not the tokenized text of a chat: each part of a message is encoded by itself, and only what
the template writes is a special token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from transformers import BatchEncoding, PreTrainedTokenizerFast

from tl_ext.errors import InputError
from tl_ext.models.chatglm import chats, sentencepiece_model
from tl_ext.models.chatglm.token_formats import FORMATS, TokenFormat


class ChatEncoding(PreTrainedTokenizerFast):
    """What the tokenizers of all generations do with chats."""

    generation: str
    _tokenizer: Any  # a tokenizers.Tokenizer, from the beginning

    @property
    def _format(self) -> TokenFormat:
        return FORMATS[self.generation]

    def get_prefix_tokens(self) -> list[int]:
        """The ids that stand before a text: those of `[gMASK]` and `sop`."""
        return [self._tokenizer.token_to_id(name) for name in self._format.prefix]

    def get_chat_template(self, chat_template: str | None = None, tools: Any = None) -> str:
        """The template a chat is written with.

        ChatGLM3's published template leaves out what its code writes, metadata and tools. One that
        agrees with the code on plain messages is taken for it, and the whole of it is used.
        """
        template = str(super().get_chat_template(chat_template, tools))
        ours = self._format.chat_template
        if self.generation == "chatglm3" and chat_template is None and chats.agree(template, ours):
            return ours
        return template

    def apply_chat_template(
        self,
        conversation: Any,
        tools: Any = None,
        documents: Any = None,
        chat_template: str | None = None,
        add_generation_prompt: bool = False,
        continue_final_message: bool | str = False,
        tokenize: bool = True,
        sanitize_control_tokens: bool = True,
        padding: Any = False,
        truncation: Any = False,
        max_length: int | None = None,
        return_tensors: Any = None,
        return_dict: bool = True,
        return_assistant_tokens_mask: bool = False,
        tokenizer_kwargs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        """The ids of a chat, or its text, as the original `build_chat_input` gives them.

        What messages say is never read as a special token, so `sanitize_control_tokens` changes
        nothing. A message may have `"metadata"` and a system message `"tools"`.

        Args:
            conversation: Messages with `"role"` and `"content"`, or several lists of them.
            tools: Tools for the system message that the chat begins with.
            documents: For templates that read them.
            chat_template: Another template, or its name.
            add_generation_prompt: End with what the assistant's answer follows.
            continue_final_message: Leave the last message open.
            tokenize: Give ids; False gives the text.
            sanitize_control_tokens: Nothing.
            padding: As for `__call__`.
            truncation: Cut to `max_length`.
            max_length: The greatest length, in tokens.
            return_tensors: As for `__call__`.
            return_dict: Give masks and positions too; False gives the ids alone.
            return_assistant_tokens_mask: Not available.
            tokenizer_kwargs: Further arguments of `pad`.
            **kwargs: Further values for the template.

        Raises:
            InputError: A role could spell a special token, or the mask of the assistant's tokens is
                asked for.
        """
        given = {"conversation": conversation, "tools": tools, "documents": documents, **kwargs}
        options: dict[str, Any] = {
            "chat_template": chat_template,
            "add_generation_prompt": add_generation_prompt,
            "continue_final_message": continue_final_message,
            "tokenize": False,
        }
        if not tokenize:
            return super().apply_chat_template(**given, **options)
        if return_assistant_tokens_mask:
            raise InputError(
                "return_assistant_tokens_mask=True is not available here. Encode the chat up to the "
                "answer and with it, and compare the lengths."
            )
        chats.check_roles(conversation)
        marks = chats.Marks(self._specials(), given)
        rendered: Any = super().apply_chat_template(**marks.put(given), **options)
        texts = [rendered] if isinstance(rendered, str) else rendered
        rows = [self._chat_ids(marks.parts(text)) for text in texts]
        if truncation and max_length is not None:
            right = self.truncation_side == "right"
            rows = [row[:max_length] if right else row[-max_length:] for row in rows]
        alone = isinstance(rendered, str) and return_tensors is None
        features: dict[str, Any] = {"input_ids": rows[0] if alone else rows}
        encoded = self.pad(
            features,
            padding=padding,
            max_length=max_length,
            return_tensors=return_tensors,
            **(tokenizer_kwargs or {}),
        )
        return encoded if return_dict else encoded["input_ids"]

    def build_single_message(self, role: str, metadata: str, message: str) -> list[int]:
        """One message of a chat as ids, without the prefix; as in the original."""
        chat = [{"role": role, "metadata": metadata, "content": message}]
        ids = self.apply_chat_template(chat, return_dict=False)
        return list(ids)[len(self.get_prefix_tokens()) :]

    def build_chat_input(
        self, query: str, history: Sequence[Mapping[str, Any]] | None = None, role: str = "user"
    ) -> BatchEncoding:
        """A question after its history as tensors of one row, ready for the answer; as in the original."""
        chat = [*(history or ()), {"role": role, "content": query}]
        encoded: BatchEncoding = self.apply_chat_template(
            chat, add_generation_prompt=True, return_tensors="pt"
        )
        return encoded

    def _specials(self) -> list[str]:
        added = [token.content for token in self.added_tokens_decoder.values()]
        return list(dict.fromkeys([*self._format.specials, *added]))

    def _chat_ids(self, parts: list[chats.Part]) -> list[int]:
        pieces = self.generation != "glm4"
        return chats.ids_of(
            parts,
            prefix=self.get_prefix_tokens(),
            special=self._tokenizer.token_to_id,
            beginning=lambda text: self._text_ids(f" {text}" if pieces else text),
            following=self._text_ids,
        )

    def _text_ids(self, text: str) -> list[int]:
        """The ids of a text inside a chat: without a dummy prefix, and all of it text."""
        if self.generation == "glm4":
            return list(self._encode_without_added_tokens(text))
        space = sentencepiece_model.SPACE
        return [token.id for token in self._tokenizer.model.tokenize(text.replace(" ", space))]
