"""Where a word stands in a text, and which tokens hold it.

Two questions, answered apart. `occurrences` finds the word among the characters of the text and
knows nothing of tokens. `word_spans` then asks the tokenizer which of its tokens hold at least one
byte of each occurrence: byte-level vocabularies split inside characters (快乐 is four GPT-2 tokens,
none of which is a character), so bytes, not characters, are what tokens are made of.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import cache
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import regex

from tl_ext.errors import InputError, WordNotFoundError, nearest

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Scripts written without spaces between words: there, a word may begin and end anywhere. The two
# prolonged sound marks belong to both kana and hence, for Unicode, to neither.
_UNSPACED_SCRIPTS = (
    *("Han", "Hiragana", "Katakana", "Bopomofo"),
    *("Thai", "Lao", "Khmer", "Myanmar", "Tai_Le", "New_Tai_Lue", "Tai_Tham", "Tai_Viet", "Ahom"),
    *("Javanese", "Balinese"),
)
_UNSPACED = "[" + "".join(rf"\p{{Script={name}}}" for name in _UNSPACED_SCRIPTS) + "ーｰ]"
# Plain \b, not the WORD flag's: UAX 29 sees one word in l'homme, \b sees two.
_BOUNDARY = regex.compile(rf"(?!\p{{M}})(?:\b|(?<={_UNSPACED}\p{{M}}*)|(?={_UNSPACED}))")
_MARK = regex.compile(r"\p{M}")
_WORD_CHARACTER = regex.compile(r"\w")
_WORDS = regex.compile(r"\w+")
_BYTE_TOKEN = regex.compile(r"<0x([0-9A-F]{2})>")


def occurrences(text: str, word: str) -> list[tuple[int, int]]:
    r"""Every place where `word` stands in `text` as a whole word, overlapping ones included.

    An end of the word that is a word character (`\w`) must lie on a Unicode `\b` of the `regex`
    module: "homme" stands in "l'homme", "heureu" does not stand in "heureux". Next to a character
    of a script without spaces every place is a boundary: 乐 stands in 快乐, "Tom" in 汤姆Tom. An
    end that is no word character ("C++") stands anywhere. No word begins or ends before a
    combining mark. Text and word are compared under canonical equivalence (NFC against NFD is no
    difference) and otherwise exactly: case counts.

    Args:
        text: The text to look in.
        word: The word, or several words as they stand in the text, without spaces around them.

    Returns:
        Half-open ranges of characters of `text` as it was given, in order. Empty where there are
        none.

    Raises:
        InputError: Text or word is empty or no valid Unicode, or the word has spaces around it.

    Examples:
        >>> occurrences("L'homme est un homme.", "homme")
        [(2, 7), (15, 20)]
    """
    _check(text, word)
    decomposed, begins = _decompose(text)
    target = unicodedata.normalize("NFD", word)
    bound_before = _WORD_CHARACTER.match(target[0]) is not None
    bound_after = _WORD_CHARACTER.match(target[-1]) is not None

    found: list[tuple[int, int]] = []
    start = decomposed.find(target)
    while start >= 0:
        end = start + len(target)
        if _ends_here(decomposed, start, bound_before) and _ends_here(decomposed, end, bound_after):
            found.append((begins[start], begins[end]) if begins else (start, end))
        start = decomposed.find(target, start + 1)
    return found


def word_spans(tokenizer: PreTrainedTokenizerBase, text: str, word: str) -> list[tuple[int, int]]:
    """The tokens that hold `word`, once for each place where it stands in `text`.

    Any tokenizer whose tokens spell the text, byte for byte, is read exactly, fast or slow:
    byte-level BPE (GPT-2, Qwen2, Llama 3) and SentencePiece with or without byte fallback (Llama 2,
    ChatGLM). One that changes the text first (lower case, NFKC, collapsed spaces) is read by its
    offsets, which only fast tokenizers have.

    Args:
        tokenizer: A Hugging Face tokenizer. It is called, never changed.
        text: The text.
        word: The word; see [`occurrences`][tl_ext.concepts.spans.occurrences] for what counts as
            one. Case counts.

    Returns:
        Half-open ranges into `tokenizer(text, add_special_tokens=False)["input_ids"]`, one for
        each occurrence: the tokens that hold at least one byte of it. For the rows of a padded
        batch add its `offset`.

    Raises:
        WordNotFoundError: The word does not stand in the text.
        InputError: Text or word is empty, or what was given is no tokenizer, or one that neither
            spells the text nor has offsets.

    Examples:
        >>> word_spans(gpt2, "Je suis heureux.", "heureux")  # " he", "ure", "ux"
        [(3, 6)]
    """
    return word_spans_many(tokenizer, [text], [word])[0]


def word_spans_many(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], words: Sequence[str]
) -> list[list[tuple[int, int]]]:
    """`word_spans` of many texts, each with its own word, with one call of the tokenizer.

    Args:
        tokenizer: A Hugging Face tokenizer.
        texts: The texts; one that comes several times is tokenized once.
        words: For each text the word to find in it.

    Returns:
        For each text the spans of its word.

    Raises:
        WordNotFoundError: A word does not stand in its text.
        InputError: There are not as many words as texts, one of them is empty, or the tokenizer
            neither spells a text nor has offsets.
    """
    if not hasattr(tokenizer, "convert_ids_to_tokens"):
        raise InputError(
            f"A tokenizer is expected, not {type(tokenizer).__name__}. Of a hooked model pass "
            "model.tokenizer."
        )
    for name, given in (("texts", texts), ("words", words)):
        if isinstance(given, str):
            raise InputError(f"{name} is one string: {given!r}. Give a list of them.")
    if len(texts) != len(words):
        raise InputError(f"{len(texts)} texts but {len(words)} words. Give one word for each text.")
    places = [occurrences(text, word) for text, word in zip(texts, words, strict=True)]
    for text, word, found in zip(texts, words, places, strict=True):
        if not found:
            raise not_found(text, word)
    distinct = list(dict.fromkeys(texts))
    tokens = dict(zip(distinct, _tokenize(tokenizer, distinct), strict=True))
    return [
        [tokens[text].holding(text, word, place) for place in found]
        for text, word, found in zip(texts, words, places, strict=True)
    ]


def not_found(text: str, word: str) -> WordNotFoundError:
    """The error for a word that does not stand in a text, with the nearest thing that does."""
    normal_text, normal_word = (unicodedata.normalize("NFC", each) for each in (text, word))
    candidates = list(dict.fromkeys(_WORDS.findall(normal_text)))
    other_case = [each for each in candidates if each.casefold() == normal_word.casefold()]
    if other_case:
        hint = f" It has {other_case[0]!r}: case counts, give the word as it is written there."
    elif around := [each for each in candidates if normal_word in each]:
        hint = f" It is only a part of {around[0]!r} there: give the whole word."
    else:
        hint = nearest(normal_word, candidates) or " Give a word as it is written in the text."
    return WordNotFoundError(f"The word {word!r} does not stand in the text {text!r}.{hint}")


def _check(text: str, word: str) -> None:
    for name, given in (("text", text), ("word", word)):
        if not isinstance(given, str):
            raise InputError(f"The {name} is {given!r}, not a string.")
        if not given:
            raise InputError(f"The {name} is empty (text {text!r}, word {word!r}).")
        try:
            given.encode()
        except UnicodeEncodeError as error:
            raise InputError(f"The {name} {given!r} is no valid Unicode: {error}.") from error
    if word != word.strip():
        raise InputError(
            f"The word {word!r} has spaces around it. Give {word.strip()!r}: a token such as "
            "' happy' counts as holding the word, its space and all."
        )


def _decompose(text: str) -> tuple[str, list[int] | None]:
    """The text under NFD, and for each place in it the place in `text`; None where they are equal.

    Marks may change their order under NFD, so a place inside a base and its marks has no place of
    its own in the text; it is given the beginning of the next base, where no word begins anyway.
    """
    if text.isascii() or unicodedata.is_normalized("NFD", text):
        return text, None
    clusters: list[str] = []
    for character in text:
        if clusters and unicodedata.combining(unicodedata.normalize("NFD", character)[0]):
            clusters[-1] += character
        else:
            clusters.append(character)
    pieces: list[str] = []
    begins: list[int] = []
    place = 0
    for cluster in clusters:
        piece = unicodedata.normalize("NFD", cluster)
        begins.append(place)
        place += len(cluster)
        begins.extend([place] * (len(piece) - 1))
        pieces.append(piece)
    return "".join(pieces), [*begins, place]


def _ends_here(decomposed: str, place: int, bound: bool) -> bool:
    if bound:
        return _BOUNDARY.match(decomposed, place) is not None
    return _MARK.match(decomposed, place) is None


class _Tokens(NamedTuple):
    """What each token of a text holds of it: half-open ranges, of its bytes or its characters."""

    ranges: Sequence[tuple[int, int]]
    in_bytes: bool

    def holding(self, text: str, word: str, place: tuple[int, int]) -> tuple[int, int]:
        start, end = place
        if self.in_bytes:
            start, end = len(text[:start].encode()), len(text[:end].encode())
        held = [i for i, (begin, over) in enumerate(self.ranges) if begin < end and over > start]
        if not held:
            raise InputError(
                f"The tokenizer gives no token to {word!r} in {text!r}: it drops these characters. "
                "Choose a word that it keeps."
            )
        return held[0], held[-1] + 1


def _tokenize(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[_Tokens]:
    if not texts:
        return []
    # verbose=False: a text longer than the model's context is nobody's concern here.
    encoded: Any = tokenizer(texts, add_special_tokens=False, verbose=False)
    result: list[_Tokens] = []
    for i, text in enumerate(texts):
        if encoded.is_fast:
            tokens = encoded[i].tokens
        else:
            tokens = tokenizer.convert_ids_to_tokens(encoded["input_ids"][i])
        spelled = _spelled(tokens, text)
        if spelled is not None:
            result.append(spelled)
        elif encoded.is_fast:
            result.append(_by_offsets(tokens, encoded[i].offsets))
        else:
            raise InputError(
                f"The tokens of {text!r} do not spell it (they begin {tokens[:8]}), and "
                f"{type(tokenizer).__name__} is a slow tokenizer, without offsets. Use its fast "
                "version."
            )
    return result


def _spelled(tokens: list[str], text: str) -> _Tokens | None:
    """The byte range of each token, where the tokens put together are the text and nothing else.

    Not a guess about the kind of tokenizer: whichever reading of the tokens gives back the text
    byte for byte is right about every token in it.
    """
    raw = text.encode()
    for read in (_byte_level, _sentencepiece):
        pieces = [read(token) for token in tokens]
        whole = b"".join(pieces)
        # One space more at the beginning: add_prefix_space, or SentencePiece's dummy prefix.
        for prefix in (b"", b" "):
            if whole == prefix + raw:
                ends = accumulate(map(len, pieces), initial=-len(prefix))
                return _Tokens(list(pairwise(ends)), in_bytes=True)
    return None


def _byte_level(token: str) -> bytes:
    """The bytes of a byte-level token, `Ġhappy` say. An added token may stand for itself."""
    table = _byte_of_character()
    try:
        return bytes([table[character] for character in token])
    except KeyError:
        return token.encode()


def _sentencepiece(token: str) -> bytes:
    """The bytes of a SentencePiece token: `▁happy`, or a byte such as `<0xE5>`."""
    if byte := _BYTE_TOKEN.fullmatch(token):
        return bytes([int(byte[1], 16)])
    return token.replace("▁", " ").encode()


@cache
def _byte_of_character() -> dict[str, int]:
    """The alphabet of byte-level BPE: bytes that print are themselves, the rest follow U+0100.

    Source: `bytes_to_unicode` of https://github.com/openai/gpt-2, src/encoder.py.
    """
    printed = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    table = {chr(byte): byte for byte in printed}
    others = (byte for byte in range(0x100) if byte not in printed)
    return table | {chr(0x100 + n): byte for n, byte in enumerate(others)}


def _by_offsets(tokens: list[str], offsets: Sequence[tuple[int, int]]) -> _Tokens:
    """The character range of each token, as a fast tokenizer reports it.

    A token of nothing but space is given nothing, for it holds neither end of a word; and the one
    that SentencePiece puts before a text claims the text's first character as its own.
    """
    return _Tokens(
        [
            offset if token.strip("▁Ġ ") else (0, 0)
            for token, offset in zip(tokens, offsets, strict=True)
        ],
        in_bytes=False,
    )
