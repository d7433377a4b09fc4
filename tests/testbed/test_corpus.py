from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tl_ext.errors import InputError
from tl_ext.testbed.corpus import (
    EQUALS,
    Pair,
    Split,
    documents,
    read_pairs,
    same_sentence_key,
    sentence_groups,
    sentences,
    split_pairs,
)


def test_reads_pairs_without_repeats_and_with_plain_spaces(tmp_path: Path) -> None:
    file = tmp_path / "pairs.tsv"
    file.write_text(
        "Go!\tVa\u202f!\nGo!\tVa !\n\n Wait. \tAttends.\tCC-BY attribution\n", encoding="utf-8"
    )
    assert read_pairs(file) == (Pair("Go!", "Va !"), Pair("Wait.", "Attends."))


@pytest.mark.parametrize("line", ["no tab at all", "\tsans anglais", "no French\t  "])
def test_a_bad_line_is_named(tmp_path: Path, line: str) -> None:
    file = tmp_path / "pairs.tsv"
    file.write_text(f"Go!\tVa !\n{line}\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"pairs\.tsv, line 2: .*expected an English sentence"):
        read_pairs(file)


def test_no_file_no_pairs_and_no_text_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        read_pairs(tmp_path / "missing.tsv")
    (tmp_path / "empty.tsv").write_text("\n\n")
    with pytest.raises(InputError, match="no sentence pairs"):
        read_pairs(tmp_path / "empty.tsv")
    (tmp_path / "latin1.tsv").write_bytes("Summer.\tÉté.\n".encode("latin-1"))
    with pytest.raises(InputError, match="UTF-8"):
        read_pairs(tmp_path / "latin1.tsv")


def test_a_chain_of_shared_sentences_is_one_group() -> None:
    chain = [
        Pair("I sing.", "Je chante."),
        Pair("I do sing!", "Je chante !"),  # the first one's French, but for its end
        Pair("i do sing", "Moi, je chante."),  # the second one's English, but for its case
        Pair("You sing.", "Tu chantes."),
    ]
    assert sorted(map(len, sentence_groups(chain))) == [1, 3]


few_words = st.sampled_from(["a", "b", "c", "d", "e", "f", "g", "h", "A!", "b ?"])


@given(
    st.lists(st.builds(Pair, few_words, few_words), min_size=2, max_size=30, unique=True),
    st.integers(0, 5),
)
def test_no_sentence_is_on_both_sides(pairs: list[Pair], seed: int) -> None:
    assume(min(map(len, sentence_groups(pairs))) <= max(1, round(0.3 * len(pairs))))
    assume(len(sentence_groups(pairs)) > 1)
    split = split_pairs(pairs, held_out=0.3, seed=seed)
    assert sorted(map(repr, split.train + split.held_out)) == sorted(map(repr, pairs))
    for language in ("english", "french"):
        sides = [
            {same_sentence_key(getattr(p, language)) for p in side}
            for side in (split.train, split.held_out)
        ]
        assert not sides[0] & sides[1]


def test_a_split_without_two_sides_is_an_error() -> None:
    with pytest.raises(InputError, match="one side would be empty"):
        split_pairs([Pair("a", "b"), Pair("a", "c")], held_out=0.5)
    with pytest.raises(InputError, match="between 0 and 1"):
        split_pairs([Pair("a", "b"), Pair("c", "d")], held_out=1.0)


def test_one_pass_holds_every_sentence_once_and_every_pair_either_way(split: Split) -> None:
    made = documents(split.train, seed=3)
    for language in ("english", "french"):
        text = " ".join(d.text for d in made if d.kind == language)
        found = Counter(part + "." for part in text.removesuffix(".").split(". "))
        assert found == Counter(sentences(split.train, language))
    for kind, order in (("en-fr", ("english", "french")), ("fr-en", ("french", "english"))):
        lines = [line for d in made if d.kind == kind for line in d.text.split("\n")]
        assert Counter(lines) == Counter(
            EQUALS.join(getattr(pair, side) for side in order) for pair in split.train
        )


def test_documents_come_by_seed(split: Split) -> None:
    assert documents(split.train, seed=1) == documents(split.train, seed=1)
    assert documents(split.train, seed=1) != documents(split.train, seed=2)
