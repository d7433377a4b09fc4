"""The embedded model's tokenizer: byte-level BPE that treats French as GPT-2's does.

GPT-2's vocabulary was learned on English, so an English word is usually one token and a French one
several. That difference is what makes comparing words across languages hard, so it is reproduced:
the merges are learned on all English training sentences and only a small share of French text.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from transformers import PreTrainedTokenizerFast

from tl_ext.testbed.corpus import EQUALS, Pair, sentences

VOCABULARY_SIZE = 4096
END_OF_TEXT = "<|endoftext|>"
"""Beginning, end and padding in one, as for GPT-2."""


def learn_tokenizer(
    pairs: Sequence[Pair],
    *,
    context_length: int = 128,
    vocabulary_size: int = VOCABULARY_SIZE,
    french_share: float = 0.04,
    seed: int = 0,
) -> PreTrainedTokenizerFast:
    """Learn byte-level BPE merges, mostly on English.

    Args:
        pairs: Training pairs; held-out sentences must not be among them.
        context_length: The most tokens the model takes; kept as `model_max_length`.
        vocabulary_size: At most this many tokens, with all 256 bytes and the end-of-text token
            (a small corpus gives fewer).
        french_share: Share of the characters learned from that are French.
        seed: Draws the French sentences.

    Returns:
        A tokenizer that adds no space in front and pads on the right, whose end-of-text token is
        bos, eos, unk and pad at once. Like GPT-2's it adds no special token by itself.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    core.train_from_iterator(_learning_texts(pairs, french_share, seed), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TEXT,
        unk_token=END_OF_TEXT,
        pad_token=END_OF_TEXT,
        padding_side="right",
        add_prefix_space=False,
        clean_up_tokenization_spaces=False,
        model_max_length=context_length,
    )


def _learning_texts(pairs: Sequence[Pair], french_share: float, seed: int) -> list[str]:
    """Every English sentence, and as much French as its share of the characters allows.

    A sentence begins a text as often as it follows another in the documents, where a space stands
    before it; giving each sentence once in either place teaches both spellings of its first word.
    """
    english = sentences(pairs, "english")
    french = sentences(pairs, "french")
    random.Random(seed).shuffle(french)
    allowed = sum(map(len, english)) * french_share / (1 - french_share)
    texts: list[str] = []
    for sentence in french:
        if allowed <= 0:
            break
        allowed -= len(sentence)
        texts += [sentence, " " + sentence]
    for sentence in english:
        texts += [sentence, " " + sentence]
    return [*texts, EQUALS.rstrip() + "\n"]
