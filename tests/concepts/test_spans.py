from __future__ import annotations

import csv
import itertools
import unicodedata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st
from tests.concepts.trained_tokenizers import CHANGING, EXACT, byte_level, trained
from tests.tiny import tiny_model
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import bytes_to_unicode

from tl_ext.concepts import occurrences, word_spans, word_spans_many
from tl_ext.errors import InputError, WordNotFoundError

UNSPACED = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}ー]")
RUNS = regex.compile(rf"{UNSPACED.pattern}+|(?:(?!{UNSPACED.pattern})\w)+")


def brute_force(text: str, word: str) -> int:
    """How often the word stands in the text: every place tried, NFC, `\\b` asked of the parts."""
    text, word = (unicodedata.normalize("NFC", each) for each in (text, word))

    def boundary(place: int) -> bool:
        before, after = text[:place], text[place : place + 1]
        if after and regex.match(r"\p{M}", after):
            return False
        base = regex.sub(r"\p{M}+$", "", before)[-1:]
        return bool(
            UNSPACED.match(base)
            or UNSPACED.match(after)
            or bool(regex.match(r"\w", before[-1:])) != bool(regex.match(r"\w", after))
        )

    return sum(
        text.startswith(word, start) and boundary(start) and boundary(start + len(word))
        for start in range(len(text))
    )


def token_bytes(tokenizer: PreTrainedTokenizerBase, text: str) -> list[bytes]:
    """The bytes of each token of a byte-level tokenizer, by transformers' own table."""
    table = {character: byte for byte, character in bytes_to_unicode().items()}
    return [bytes(table[c] for c in token) for token in tokenizer.tokenize(text)]


class TestOccurrences:
    @pytest.mark.parametrize(
        ("text", "word", "expected"),
        [
            ("I'm so happy.", "happy", [(7, 12)]),
            ("happy", "happy", [(0, 5)]),
            ("unhappy, happy, happyish", "happy", [(9, 14)]),
            ("L'homme est un homme.", "homme", [(2, 7), (15, 20)]),
            ("J'ai l'homme", "l'", [(5, 7)]),
            ("l’homme", "homme", [(2, 7)]),
            ("heureux", "heureu", []),
            ("Happy", "happy", []),
            ("happy_go", "happy", []),
            ("C++ is not C", "C++", [(0, 3)]),
            ("C++ is not C", "C", [(0, 1), (11, 12)]),
            ("the new york of New York", "New York", [(16, 24)]),
            ("a b a b a", "a b a", [(0, 5), (4, 9)]),
        ],
    )
    def test_where_words_are_spaced(
        self, text: str, word: str, expected: list[tuple[int, int]]
    ) -> None:
        assert occurrences(text, word) == expected

    @pytest.mark.parametrize(
        ("text", "word", "expected"),
        [
            ("我很快乐。", "快乐", [(2, 4)]),
            ("我很快乐。", "乐", [(3, 4)]),
            ("哈哈哈", "哈哈", [(0, 2), (1, 3)]),
            ("我很happy。", "happy", [(2, 7)]),
            ("汤姆Tom和Tommy", "Tom", [(2, 5)]),
            ("コーヒーを飲む", "コーヒー", [(0, 4)]),
            ("ฉันมีความสุขมาก", "ความสุข", [(5, 12)]),
            ("我有15月5日", "5", [(5, 6)]),
        ],
    )
    def test_where_they_are_not(
        self, text: str, word: str, expected: list[tuple[int, int]]
    ) -> None:
        assert occurrences(text, word) == expected

    @pytest.mark.parametrize(
        ("text", "word", "expected"),
        [
            ("\u00e9t\u00e9", "e\u0301te\u0301", [(0, 3)]),
            ("e\u0301te\u0301", "\u00e9t\u00e9", [(0, 5)]),
            ("un e\u0301te\u0301 chaud", "chaud", [(9, 14)]),
            ("x a\u0323\u0307 y", "a\u0307\u0323", [(2, 5)]),  # the marks in another order
            ("\u212b", "\u00c5", [(0, 1)]),  # the angstrom sign is the letter
            ("\ud558 \ud55c", "\u1112\u1161", [(0, 1)]),  # 하 stands alone, not in 한
        ],
    )
    def test_canonically_equivalent_text(
        self, text: str, word: str, expected: list[tuple[int, int]]
    ) -> None:
        assert occurrences(text, word) == expected

    @pytest.mark.parametrize(
        ("text", "word"),
        [
            ("e\u0301", "e"),
            ("\u00e9", "e"),
            ("e\u0301te", "te"),
            ("e\u0301", "\u0301"),
            ("か\u3099", "か"),
            ("が", "か"),
            ("กิ", "ก"),
            ("C+\u0338", "C+"),
        ],
    )
    def test_no_boundary_before_a_combining_mark(self, text: str, word: str) -> None:
        assert occurrences(text, word) == []

    @given(st.text("aeé e\u0301\u0323'ュかが乐ー.1", max_size=12), st.data())
    def test_as_many_as_brute_force_finds(self, text: str, data: st.DataObject) -> None:
        start = data.draw(st.integers(0, len(text)))
        word = text[start : data.draw(st.integers(start, len(text)))]
        if not word.strip() or word != word.strip() or not regex.fullmatch(r"\w(.*\w)?", word):
            return
        assert len(occurrences(text, word)) == brute_force(text, word)
        for form in ("NFC", "NFD"):
            normal = unicodedata.normalize(form, text)
            assert len(occurrences(normal, word)) == brute_force(text, word)

    @given(st.text(min_size=1, max_size=15), st.text(min_size=1, max_size=2))
    def test_what_is_found_is_the_word(self, text: str, word: str) -> None:
        if word != word.strip():
            return
        for start, end in occurrences(text, word):
            assert unicodedata.normalize("NFC", text[start:end]) == unicodedata.normalize(
                "NFC", word
            )


class TestWordSpans:
    @pytest.mark.parametrize(
        ("text", "word", "expected"),
        [
            ("I'm so happy.", "happy", [(3, 4)]),
            ("happy", "happy", [(0, 1)]),
            ("Je suis heureux.", "heureux", [(3, 6)]),
            ("快乐 happy", "快乐", [(0, 4)]),
            ("快乐 happy", "乐", [(2, 4)]),
            ("快乐 happy", "happy", [(4, 5)]),
            ("l'homme est un homme", "homme", [(2, 4), (6, 8)]),
        ],
    )
    def test_gpt2(
        self,
        gpt2_tokenizer: PreTrainedTokenizerFast,
        text: str,
        word: str,
        expected: list[tuple[int, int]],
    ) -> None:
        assert word_spans(gpt2_tokenizer, text, word) == expected

    def test_a_token_that_holds_the_end_of_one_character_and_the_start_of_the_next(self) -> None:
        tokenizer = trained("byte-level")
        text = "快乐"
        pieces = token_bytes(tokenizer, text)
        inside = [
            piece
            for piece, end in zip(pieces, itertools.accumulate(map(len, pieces)), strict=True)
            if end - len(piece) < 3 < end
        ]
        assert inside, f"the point of this tokenizer is a token across the edge: {pieces}"
        (first,), (second,) = (word_spans(tokenizer, text, word) for word in text)
        assert first[1] == second[0] + 1

    @pytest.mark.parametrize("kind", EXACT)
    @pytest.mark.parametrize(
        ("text", "word"),
        [
            ("快乐 happy", "快乐"),
            ("happy 快乐", "快乐"),
            ("  happy\n\nhappy", "happy"),
            ("heureux, <|end|> heureux", "heureux"),
            ("e\u0301te\u0301 快", "été"),
            ("a  double  space", "double  space"),
        ],
    )
    def test_every_kind_that_spells_its_text(self, kind: str, text: str, word: str) -> None:
        tokenizer = trained(kind)
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        for start, end in word_spans(tokenizer, text, word):
            assert unicodedata.normalize("NFC", word) in unicodedata.normalize(
                "NFC", tokenizer.decode(ids[start:end])
            )
            for shorter in (ids[start + 1 : end], ids[start : end - 1]):
                assert unicodedata.normalize("NFC", word) not in unicodedata.normalize(
                    "NFC", tokenizer.decode(shorter)
                )

    def test_a_sentencepiece_prefix_is_no_part_of_the_first_word(self) -> None:
        tokenizer = trained("sentencepiece, llama")
        assert tokenizer.tokenize("快")[0] == "▁"
        assert word_spans(tokenizer, "快", "快") == [(1, 4)]

    @pytest.mark.parametrize("form", ["NFC", "NFD"])
    @pytest.mark.parametrize("kind", CHANGING)
    def test_a_tokenizer_that_changes_its_text(self, kind: str, form: str) -> None:
        tokenizer = trained(kind)
        text = unicodedata.normalize(form, "L'\u00c9T\u00c9 est HEUREUX")
        encoding: Any = tokenizer(text, add_special_tokens=False)
        for word in ("\u00c9T\u00c9", "HEUREUX", "est"):
            (span,) = word_spans(tokenizer, text, word)
            (place,) = occurrences(text, word)
            offsets = encoding[0].offsets[slice(*span)]
            covered = set().union(*(range(*offset) for offset in offsets))
            bases = {i for i in range(*place) if not unicodedata.combining(text[i])}
            assert bases <= covered
            for end in (offsets[0], offsets[-1]):
                assert set(range(*place)) & set(range(*end)), "it holds nothing of the word"

    def test_a_slow_tokenizer_that_spells_its_text(self) -> None:
        tokenizer = trained("byte-level")
        text = "我很快乐 today"
        assert word_spans(slow(tokenizer), text, "快乐") == word_spans(tokenizer, text, "快乐")

    def test_a_slow_tokenizer_that_does_not_is_an_error(self) -> None:
        with pytest.raises(InputError, match="slow tokenizer, without offsets"):
            word_spans(slow(trained("word pieces")), "I am Happy", "Happy")

    def test_a_word_the_tokenizer_drops_is_an_error(self) -> None:
        from tokenizers import normalizers

        tokenizer = byte_level(normalizers.Replace("x", ""))
        with pytest.raises(InputError, match="gives no token to 'x'"):
            word_spans(tokenizer, "a x b", "x")

    @given(
        st.lists(st.sampled_from(["happy", "heureux", "l'homme", "été", "e\u0301", "快乐", "ß🙂"])),
        st.sampled_from(["happy", "heureux", "homme", "\u00e9t\u00e9", "快乐", "乐", "🙂"]),
        st.sampled_from([" ", "  ", "\n", ", ", "'"]),
    )
    def test_spans_cover_the_word_and_no_token_more(
        self, others: list[str], word: str, space: str
    ) -> None:
        text = space.join([*others, word, *others])
        assert_exact(trained("byte-level"), text, word)

    @given(
        st.text(max_size=12), st.text("abéü乐がж1", min_size=1, max_size=4), st.text(max_size=12)
    )
    def test_on_the_real_tokenizer(
        self, gpt2_tokenizer: PreTrainedTokenizerFast, before: str, word: str, after: str
    ) -> None:
        assert_exact(gpt2_tokenizer, f"{before} {word} {after}", word)


def assert_exact(tokenizer: PreTrainedTokenizerBase, text: str, word: str) -> None:
    """Every span holds all bytes of its occurrence, and each end of it holds one."""
    pieces = token_bytes(tokenizer, text)
    assert b"".join(pieces) == text.encode()
    ends = list(itertools.accumulate(map(len, pieces)))
    spans = word_spans(tokenizer, text, word)
    places = occurrences(text, word)
    assert len(spans) == len(places) > 0
    for (first, last), (start, end) in zip(spans, places, strict=True):
        begin_byte, end_byte = len(text[:start].encode()), len(text[:end].encode())
        assert text[start:end].encode() in b"".join(pieces[first:last])
        assert ends[first] - len(pieces[first]) <= begin_byte < ends[first]
        assert ends[last - 1] - len(pieces[last - 1]) < end_byte <= ends[last - 1]


def slow(tokenizer: PreTrainedTokenizerFast) -> Any:
    """The same tokens without offsets, as a tokenizer written in Python gives them."""

    class SlowEncoding(dict[str, Any]):
        is_fast = False

    class Slow(SimpleNamespace):
        def __call__(self, texts: list[str], **options: Any) -> SlowEncoding:
            return SlowEncoding(tokenizer(texts, **options))

    return Slow(convert_ids_to_tokens=tokenizer.convert_ids_to_tokens)


class TestErrors:
    @pytest.mark.parametrize(
        ("word", "hint"),
        [
            ("Happy", "It has 'happy': case counts"),
            ("hap", "only a part of 'happy'"),
            ("hapy", "Nearest: happy"),
            ("zebra", "Give a word as it is written"),
        ],
    )
    def test_an_absent_word_names_the_text_and_what_is_nearest(self, word: str, hint: str) -> None:
        with pytest.raises(WordNotFoundError) as caught:
            word_spans(trained("byte-level"), "I'm so happy.", word)
        assert '"I\'m so happy."' in str(caught.value)
        assert hint in str(caught.value)

    @pytest.mark.parametrize(
        ("text", "word", "message"),
        [
            ("", "happy", "text is empty"),
            ("happy", "", "word is empty"),
            ("so happy", " happy", "spaces around it"),
            ("so happy", 3, "not a string"),
            ("so \ud800", "so", "no valid Unicode"),
        ],
    )
    def test_what_is_no_text_or_no_word(self, text: str, word: Any, message: str) -> None:
        with pytest.raises(InputError, match=message):
            word_spans(trained("byte-level"), text, word)


class TestMany:
    def test_each_text_has_its_own_word(self) -> None:
        tokenizer = trained("byte-level")
        texts, words = ["I am happy", "I am happy", "快乐"], ["happy", "I", "乐"]
        assert word_spans_many(tokenizer, texts, words) == [
            word_spans(tokenizer, text, word) for text, word in zip(texts, words, strict=True)
        ]

    def test_no_texts_have_no_spans(self) -> None:
        assert word_spans_many(trained("byte-level"), [], []) == []

    def test_a_word_for_each_text(self) -> None:
        with pytest.raises(InputError, match="2 texts but 1 words"):
            word_spans_many(trained("byte-level"), ["a", "b"], ["a"])
        with pytest.raises(InputError, match="texts is one string"):
            word_spans_many(trained("byte-level"), "a", ["a"])


class TestRealSentences:
    @staticmethod
    def sentences(shared: Path) -> list[str]:
        found: list[str] = []
        for file in sorted((shared / "data" / "tatoeba").iterdir()):
            found += file.read_text(encoding="utf-8").splitlines()
        for file in sorted((shared / "data" / "tatoeba_pairs").glob("*.tsv")):
            with file.open(encoding="utf-8", newline="") as lines:
                for row in csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE):
                    found += row[:2]
        return sorted({each.strip() for each in found} - {""})

    def test_all_of_them(self, shared: Path, gpt2_tokenizer: PreTrainedTokenizerFast) -> None:
        sentences = self.sentences(shared)
        assert len(sentences) > 50_000
        texts: list[str] = []
        words: list[str] = []
        for i, text in enumerate(sentences):
            found = RUNS.findall(text) or [text]
            # One word of every sentence, and of every fortieth all of them.
            chosen = found if i % 40 == 0 else [found[i % len(found)]]
            for word in chosen:
                if UNSPACED.match(word):
                    word = word[i % len(word) :][:2]
                if i % 40 == 0:
                    assert len(occurrences(text, word)) == brute_force(text, word), (text, word)
                texts.append(text)
                words.append(word)
        spans = word_spans_many(gpt2_tokenizer, texts, words)
        encodings = gpt2_tokenizer.backend_tokenizer.encode_batch(sentences)
        token_ends = {
            text: list(itertools.accumulate(map(len, encoding.tokens)))
            for text, encoding in zip(sentences, encodings, strict=True)
        }
        for text, word, found in zip(texts, words, spans, strict=True):
            ends, raw = token_ends[text], text.encode()
            assert ends[-1] == len(raw)
            for first, last in found:
                begins = [0, *ends]
                within = raw[begins[first] : ends[last - 1]]
                assert word.encode() in within, (text, word)
                assert word.encode() not in within[ends[first] - begins[first] :], (text, word)
                assert word.encode() not in raw[begins[first] : begins[last - 1]], (text, word)


@pytest.mark.parametrize("given", [None, "a text"])
def test_what_is_no_tokenizer_is_told(given: object) -> None:
    with pytest.raises(InputError, match=r"A tokenizer is expected, not .*model\.tokenizer"):
        word_spans(given, "a text", "text")  # type: ignore[arg-type]


def test_a_model_is_no_tokenizer() -> None:
    with pytest.raises(InputError, match="A tokenizer is expected, not TransformerBridge"):
        word_spans(tiny_model(), "a text", "text")  # type: ignore[arg-type]
