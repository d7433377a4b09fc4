"""Streams of texts: files, data sets and iterators give the same contexts, cut alike."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.tiny import tiny_model

from tl_ext.activations import stream
from tl_ext.activations.capture import capture
from tl_ext.activations.stream import Position, TextReader, captured, chunks
from tl_ext.errors import InputError

TEXTS = ["w5 w6 w7 w8 w9", "", "w10", "w11 w12"]


def read(source: object, **options: object) -> list[str]:
    return [text for _, text in TextReader(source, **options)]  # type: ignore[arg-type]


def test_every_kind_of_source_gives_its_texts(tmp_path: Path) -> None:
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(TEXTS) + "\n", encoding="utf-8")
    rows = [{"id": 1, "said": text} for text in TEXTS]
    assert read(path) == read(iter(TEXTS)) == read(tuple(TEXTS)) == TEXTS
    assert read(rows, column="said") == TEXTS
    assert TextReader(TEXTS).total == 4 and TextReader(iter(TEXTS)).total is None


def test_data_sets_are_read_by_column() -> None:
    datasets = pytest.importorskip("datasets")
    made = datasets.Dataset.from_dict({"said": TEXTS})
    assert read(made, column="said") == read(made.to_iterable_dataset(), column="said") == TEXTS
    with pytest.raises(InputError, match="'text'; it has said"):
        read(made)
    with pytest.raises(InputError, match="One split"):
        read(datasets.DatasetDict({"train": made}))


@given(st.text(st.sampled_from("ab \n"), max_size=200))
def test_a_whole_file_is_read_in_blocks_between_words(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = tmp_path_factory.mktemp("blocks") / "text.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream, "BLOCK", 7)
        blocks = read(path, file_texts="whole")
    assert "".join(blocks) == text
    assert all(following[0] in " \n" for following in blocks[1:])


def test_what_is_no_text_is_told(tmp_path: Path) -> None:
    for source, said in (
        ("w5 w6", "not one string"),
        (tmp_path / "none.txt", "no text file"),
        (3, "not int"),
        ([3], "Text 0 is int"),
    ):
        with pytest.raises(InputError, match=said):
            read(source)
    (tmp_path / "latin.txt").write_bytes("été\n".encode("latin-1"))
    with pytest.raises(InputError, match="not UTF-8"):
        read(tmp_path / "latin.txt")


def test_a_stream_continues_only_with_the_texts_it_began_with() -> None:
    reader = TextReader(TEXTS)
    for number, _ in reader:
        if number == 1:
            break
    assert reader.position.texts == 2
    again = TextReader(iter(TEXTS))
    again.skip(reader.position)
    assert [number for number, _ in again] == [2, 3]
    for other in (["w5", *TEXTS[1:]], TEXTS[:1], []):
        with pytest.raises(InputError, match="not those that were read before"):
            TextReader(other).skip(reader.position)
    TextReader([]).skip(Position())


@given(st.integers(2, 8), st.integers(1, 4))
def test_windows_follow_each_other(max_tokens: int, batch_size: int) -> None:
    model, reader = tiny_model("gpt2"), TextReader(TEXTS)
    (chunk,) = chunks(model, reader, max_tokens=max_tokens)
    assert reader.position.texts == 4
    joined: dict[int, list[int]] = {}
    for one in chunk:
        assert one.start == len(joined.get(one.text, [])) and 0 < len(one.ids) < max_tokens
        joined.setdefault(one.text, []).extend(one.ids)
    assert joined == {0: [5, 6, 7, 8, 9], 2: [10], 3: [11, 12]}
    (cut,) = chunks(model, TextReader(TEXTS), max_tokens=max_tokens, long_texts="cut")
    assert [(one.text, one.start) for one in cut] == [(0, 0), (2, 0), (3, 0)]
    seen = 0
    for batch in captured(model, cut, ["blocks.1.hook_resid_pre"], batch_size=batch_size):
        for row, text in enumerate(batch.part.texts.tolist()):
            alone = capture(
                model, [TEXTS[text]], ["blocks.1.hook_resid_pre"], max_tokens=max_tokens
            )
            torch.testing.assert_close(
                batch.part.activations["blocks.1.hook_resid_pre"][row][
                    batch.part.batch.content[row]
                ],
                alone.activations["blocks.1.hook_resid_pre"],
                atol=1e-5,
                rtol=1e-4,
            )
            seen += 1
    assert seen == 3


def test_chunks_hold_a_bounded_number_of_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("gpt2")
    monkeypatch.setattr(stream, "CHUNK_CHARACTERS", 15)
    sizes = [len(chunk) for chunk in chunks(model, TextReader(["w5 w6 w7"] * 5), max_tokens=9)]
    assert sizes == [2, 2, 1]
