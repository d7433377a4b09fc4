"""What the tokenizers of the published generations put around a text, and which tokens are special.

Source: the `tokenization_chatglm.py` that each checkpoint was published with.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tl_ext.models.chatglm import chat_templates

_MASKS = ("[MASK]", "[gMASK]", "[sMASK]")
ROLES = ("<|system|>", "<|user|>", "<|assistant|>", "<|observation|>")
_IMAGES = (
    *("<|begin_of_image|>", "<|end_of_image|>"),
    *("<|begin_of_video|>", "<|end_of_video|>"),
)
_UNK, _BOS, _EOS = "<unk>", "<s>", "</s>"


@dataclass(frozen=True)
class TokenFormat:
    """The special tokens of one generation and its way of writing a chat.

    Attributes:
        specials: The tokens behind the vocabulary of the file, in the order of their ids.
        prefix: What stands before a text.
        eos: What ends a text.
        pad: What short texts are filled up with.
        unk: The name of id 0, where there is one.
        chat_template: How a chat is written, where the checkpoint brings no template of its own.
        own: Names of the vocabulary that text is never read as.
        silent: The names among them that decode to nothing.
    """

    specials: tuple[str, ...]
    prefix: tuple[str, ...]
    eos: str
    pad: str
    unk: str | None
    chat_template: str
    own: frozenset[str] = field(default=frozenset())
    silent: frozenset[str] = field(default=frozenset())


_SENTENCEPIECE = frozenset({_UNK, _BOS, _EOS})

FORMATS = {
    "chatglm2": TokenFormat(
        specials=(*_MASKS, "sop", "eop"),
        prefix=("[gMASK]", "sop"),
        eos=_EOS,
        pad=_UNK,
        unk=_UNK,
        chat_template=chat_templates.CHATGLM2,
        own=_SENTENCEPIECE | {*_MASKS, "sop", "eop"},
        silent=_SENTENCEPIECE | {*_MASKS, "sop", "eop"},
    ),
    "chatglm3": TokenFormat(
        specials=(*_MASKS, "sop", "eop", *ROLES),
        prefix=("[gMASK]", "sop"),
        eos=_EOS,
        pad=_UNK,
        unk=_UNK,
        chat_template=chat_templates.CHATGLM3,
        own=_SENTENCEPIECE | {*_MASKS, "sop", "eop", *ROLES},
        silent=_SENTENCEPIECE,
    ),
    "glm4": TokenFormat(
        specials=("<|endoftext|>", *_MASKS, "<sop>", "<eop>", *ROLES, *_IMAGES),
        prefix=("[gMASK]", "<sop>"),
        eos="<|endoftext|>",
        pad="<|endoftext|>",
        unk=None,
        chat_template=chat_templates.GLM4,
    ),
}
