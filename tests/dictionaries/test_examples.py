"""Examples of latents: what is planted is found, whatever the batches, and across interruptions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.dictionaries.planted import LATENTS, Planted, planted, words
from tests.dictionaries.test_reading import dictionary
from tests.tiny import tiny_model

from tl_ext.activations import stream
from tl_ext.dictionaries.dictionary import Dictionaries
from tl_ext.dictionaries.example_records import LatentExamples
from tl_ext.dictionaries.examples import latent_examples
from tl_ext.dictionaries.reading import background_statistics
from tl_ext.dictionaries.tally import LatentTally
from tl_ext.errors import DictionaryError, InputError, OutputError

TEXTS = [words(5, 12, 20, 7), words(12), "", words(19, 5, 19), words(12, 26)]

tokens = st.integers(4, 30)
texts_of_tokens = st.lists(st.lists(tokens, max_size=9), min_size=1, max_size=12)


def same(one: LatentExamples, other: LatentExamples) -> None:
    """Bit for bit."""
    assert one.tensors.keys() == other.tensors.keys()
    for name, tensor in one.tensors.items():
        assert tensor.dtype == other.tensors[name].dtype, name
        np.testing.assert_array_equal(tensor.numpy(), other.tensors[name].numpy(), err_msg=name)


def test_planted_latents_are_found_where_they_fire() -> None:
    found = latent_examples(tiny_model("llama"), Planted(), TEXTS, n=3, window=(2, 1))["planted"]
    contexts = found.contexts(5)  # of the tokens 5, 12, 19 and 26, which give 1, 2, 3 and 4
    assert [(one.text, one.token, one.activation) for one in contexts] == [
        (4, 1, 4.0),
        (3, 0, 3.0),
        (0, 1, 2.0),
    ]
    assert contexts[0].tokens == (" w12", " w26") and contexts[0].activations == (2.0, 4.0)
    assert contexts[1].tokens == (" w19", " w5") and contexts[1].peak == 0
    assert contexts[2].tokens == (" w5", " w12", " w20")
    assert found.tokens == 10
    assert float(found.firing_rate[5]) == pytest.approx(8 / 10)
    assert float(found.mean[5]) == pytest.approx((1 + 2 + 2 + 3 + 1 + 3 + 2 + 4) / 10)
    assert float(found.largest[5]) == 4
    assert found.contexts(1) == [] and float(found.largest[1]) == 0
    row = found.table().loc[1]
    assert np.isnan(row["q50"]) and np.isnan(row["mean_fired"]) and row["firing_rate"] == 0


def expected(texts: list[list[int]], n: int, room: int) -> dict[int, list[tuple[float, int, int]]]:
    """Peak, text and token of each latent's best contexts, by loops."""
    best: dict[int, list[tuple[float, int, int]]] = {latent: [] for latent in range(LATENTS)}
    for text, ids in enumerate(texts):
        for start in range(0, len(ids), room):
            peaks: dict[int, tuple[float, int]] = {}
            for place, token in enumerate(ids[start : start + room], start):
                latent, value = planted(token)
                if latent not in peaks or value > peaks[latent][0]:
                    peaks[latent] = (value, place)
            for latent, (value, place) in peaks.items():
                best[latent].append((value, text, place))
    return {
        latent: sorted(places, key=lambda one: (-one[0], one[1], one[2]))[:n]
        for latent, places in best.items()
    }


@given(texts_of_tokens, st.integers(1, 4), st.integers(1, 7), st.integers(2, 8))
def test_it_equals_brute_force(
    texts: list[list[int]], n: int, batch_size: int, max_tokens: int
) -> None:
    if not any(texts):
        return
    found = latent_examples(
        tiny_model("llama"),
        Planted(),
        [words(*ids) for ids in texts],
        n=n,
        batch_size=batch_size,
        max_tokens=max_tokens,
        lens=0,
    )["planted"]
    for latent, best in expected(texts, n, max_tokens - 1).items():
        contexts = found.contexts(latent)
        assert [(one.activation, one.text, one.token) for one in contexts] == best
        for one in contexts:
            ids = texts[one.text]
            assert one.tokens[one.peak] == f" w{ids[one.token]}"
            assert "".join(one.tokens).strip() in words(*ids)
            for place, value in enumerate(one.activations):
                fires, amount = planted(ids[one.token - one.peak + place])
                assert value == (amount if fires == latent else 0)
        values = [planted(token)[1] for ids in texts for token in ids if token % 7 == latent]
        assert int(found.tensors["fired"][latent]) == len(values)
        assert float(found.tensors["total"][latent]) == pytest.approx(sum(values))
    assert found.tokens == sum(map(len, texts))


@pytest.fixture(scope="module")
def dictionaries() -> Dictionaries:
    return Dictionaries(
        [
            dictionary("pre", "blocks.1.hook_resid_pre"),
            dictionary("z", "blocks.0.attn.hook_z", seed=1),
        ]
    )


def corpus(seed: int = 0, count: int = 60) -> list[str]:
    draw = np.random.default_rng(seed)
    return [words(*draw.integers(4, 61, draw.integers(1, 30))) for _ in range(count)]


@pytest.mark.parametrize("batch_size", [1, 7])
def test_batches_do_not_decide(dictionaries: Dictionaries, batch_size: int) -> None:
    texts = (
        corpus() + corpus()[:20]
    )  # equal texts: the first comes first, whatever shares its batch
    one, other = (
        latent_examples(tiny_model("gpt2"), dictionaries, texts, n=4, batch_size=size)
        for size in (32, batch_size)
    )
    for id in dictionaries:
        for name in ("fired", "text", "token", "ids"):
            assert torch.equal(one[id].tensors[name], other[id].tensors[name]), name
        for name in ("peak", "activations", "largest", "total"):
            torch.testing.assert_close(
                one[id].tensors[name], other[id].tensors[name], equal_nan=True, rtol=1e-4, atol=1e-5
            )


def test_statistics_are_those_of_the_background(dictionaries: Dictionaries) -> None:
    model = tiny_model("gpt2")
    found = latent_examples(model, dictionaries, corpus())
    known = background_statistics(model, dictionaries, corpus())
    for id in dictionaries:
        assert found.tokens == known[id].tokens
        torch.testing.assert_close(found[id].firing_rate, known[id].firing_rate)
        torch.testing.assert_close(found[id].largest, known[id].largest, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(found[id].mean, known[id].mean, rtol=1e-4, atol=1e-5)
        assert found[id].usual_norm == pytest.approx(known[id].usual_norm, rel=1e-3)


def test_a_dictionary_that_needs_context_gets_whole_contexts() -> None:
    class Following(Planted):
        def encode(self, x: torch.Tensor) -> torch.Tensor:
            assert x.ndim == 3
            return super().encode(x).cumsum(1)

    one = Following(needs_context=True)
    found = latent_examples(tiny_model("llama"), one, [words(5, 12), words(5)], n=2)["planted"]
    first = found.contexts(5)[0]
    # The prefix, token 2, fires latent 2.
    assert (first.text, first.token) == (0, 1) and first.activations == (1.0, 3.0)


def test_a_model_without_a_prefix_shows_its_first_token_without_a_value() -> None:
    found = latent_examples(
        tiny_model("qwen2"), dictionary("pre", "blocks.1.hook_resid_pre"), [words(5, 6, 7)]
    )["pre"]
    assert found.tokens == 2
    first = found.contexts(int(found.largest.argmax()))[0]
    assert first.tokens[0].strip() == "w5" and np.isnan(first.activations[0])


def test_chosen_latents_are_those_of_all(dictionaries: Dictionaries) -> None:
    model = tiny_model("gpt2")
    every = latent_examples(model, dictionaries, corpus(), n=3)
    some = latent_examples(model, dictionaries, corpus(), n=3, latents={"z": [9, 2]})
    assert list(some) == ["z"]
    for latent in (2, 9):
        assert some["z"].contexts(latent)[0].text == every["z"].contexts(latent)[0].text
        row = some["z"].row(latent)
        assert some["z"].firing_rate[row] == every["z"].firing_rate[latent]
        for one, other in zip(some["z"].raised(latent), every["z"].raised(latent), strict=True):
            assert one[0] == other[0] and one[1] == pytest.approx(other[1], rel=1e-4)
    with pytest.raises(InputError, match="Latent 3 of z was not looked at; there are 9, 2"):
        some["z"].contexts(3)


class Broken(Exception):
    pass


def breaking(texts: list[str], after: int) -> Iterator[str]:
    yield from texts[:after]
    raise Broken


def test_an_interrupted_stream_continues_to_the_same_result(
    dictionaries: Dictionaries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "CHUNK_TEXTS", 8)
    model, texts = tiny_model("gpt2"), corpus()
    whole = latent_examples(model, dictionaries, texts, n=3)
    for after in (30, 45):
        with pytest.raises(Broken):
            latent_examples(
                model, dictionaries, breaking(texts, after), n=3, out=tmp_path, save_every=0
            )
        assert {one.name for one in tmp_path.iterdir()} == {"unfinished.safetensors"}
    seen: list[int] = []
    monkeypatch.setattr(
        "tl_ext.dictionaries.examples.captured",
        lambda model, chunk, *rest, **more: (
            seen.extend(one.text for one in chunk) or stream.captured(model, chunk, *rest, **more)
        ),
    )
    same(latent_examples(model, dictionaries, iter(texts), n=3, out=tmp_path), whole)
    assert min(seen) == 40  # five chunks were kept
    assert {one.name for one in tmp_path.iterdir()} == {
        "contexts.parquet",
        "statistics.parquet",
        "tensors.safetensors",
    }
    # Finished, the same call reads nothing; texts added at the end are read on.
    seen.clear()
    same(latent_examples(model, dictionaries, texts, n=3, out=tmp_path), whole)
    assert seen == []
    more = latent_examples(model, dictionaries, [*texts, *corpus(1, 5)], n=3, out=tmp_path)
    assert set(seen) == set(range(60, 65)) and more.texts == 65


def test_interrupted_while_it_is_written_it_still_continues_to_the_same_result(
    dictionaries: Dictionaries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "CHUNK_TEXTS", 8)
    model, more = tiny_model("gpt2"), corpus()
    latent_examples(model, dictionaries, more[:48], n=3, out=tmp_path)

    def broken(*_: object) -> None:
        raise Broken

    with monkeypatch.context() as patched:
        # The contexts are those of all texts by now, the counts those of the first.
        patched.setattr("tl_ext.dictionaries.example_records.DictionaryExamples.table", broken)
        with pytest.raises(Broken):
            latent_examples(model, dictionaries, more, n=3, out=tmp_path)
    found = latent_examples(model, dictionaries, more, n=3, out=tmp_path)
    same(found, latent_examples(model, dictionaries, more, n=3))
    same(LatentExamples.load(tmp_path), found)


def test_a_folder_of_something_else_is_refused(dictionaries: Dictionaries, tmp_path: Path) -> None:
    model = tiny_model("gpt2")
    latent_examples(model, dictionaries, TEXTS, out=tmp_path)
    before = (tmp_path / "tensors.safetensors").read_bytes()
    with pytest.raises(InputError, match="another settings"):
        latent_examples(model, dictionaries, TEXTS, out=tmp_path, n=3)
    with pytest.raises(InputError, match="another dictionaries"):
        latent_examples(model, {"pre": dictionaries["z"]}, TEXTS, out=tmp_path)
    with pytest.raises(InputError, match="not those that were read before"):
        latent_examples(model, dictionaries, TEXTS[1:], out=tmp_path)
    assert (tmp_path / "tensors.safetensors").read_bytes() == before


def test_a_folder_that_cannot_be_written_to_is_told_before_anything_is_read(
    dictionaries: Dictionaries, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("x")
    texts = iter(TEXTS)
    with pytest.raises(OutputError, match="cannot be written to"):
        latent_examples(tiny_model("gpt2"), dictionaries, texts, out=tmp_path / "file")
    assert list(texts) == TEXTS


@pytest.mark.parametrize(("n", "before", "after"), [(10, 16, 8), (1, 0, 0)])
def test_memory_is_what_is_said(n: int, before: int, after: int) -> None:
    tally = LatentTally(3, n=n, before=before, after=after)
    assert tally.bytes == 3 * (788 + n * (20 + 8 * (before + 1 + after)))


def test_what_is_stored_is_what_was_found(dictionaries: Dictionaries, tmp_path: Path) -> None:
    found = latent_examples(tiny_model("gpt2"), dictionaries, corpus(), n=4, out=tmp_path)
    same(LatentExamples.load(tmp_path), found)
    same(LatentExamples.load(found.save(tmp_path / "again")), found)
    contexts = pq.read_table(tmp_path / "contexts.parquet").to_pandas()
    statistics = pq.read_table(tmp_path / "statistics.parquet").to_pandas()
    assert len(statistics) == 80
    latent = int(found["z"].largest.argmax())
    rows = contexts[(contexts["dictionary"] == "z") & (contexts["latent"] == latent)]
    for row, one in zip(rows.itertuples(), found["z"].contexts(latent), strict=True):
        assert (row.text, row.token, row.peak) == (one.text, one.token, one.peak)
        assert tuple(row.tokens) == one.tokens
        assert tuple(row.activations) == pytest.approx(one.activations)
        assert row.activation == one.activation
    raised = statistics[(statistics["dictionary"] == "z")].iloc[latent]["raised"]
    assert list(raised) == [token for token, _ in found["z"].raised(latent)]


def test_a_damaged_or_empty_folder_is_no_examples(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no finished examples"):
        LatentExamples.load(tmp_path)
    (tmp_path / "tensors.safetensors").write_bytes(b"\x80\x04not a safetensors file")
    with pytest.raises(InputError, match="holds no finished examples"):
        LatentExamples.load(tmp_path)


def test_bad_input_says_what_to_do(dictionaries: Dictionaries) -> None:
    model = tiny_model("gpt2")
    with pytest.raises(InputError, match="n is 0"):
        latent_examples(model, dictionaries, TEXTS, n=0)
    with pytest.raises(InputError, match="before is -1"):
        latent_examples(model, dictionaries, TEXTS, window=(-1, 2))
    with pytest.raises(InputError, match="no token to read"):
        latent_examples(model, dictionaries, ["", ""])
    with pytest.raises(InputError, match="no dictionary 'pree'"):
        latent_examples(model, dictionaries, TEXTS, latents={"pree": [1]})
    with pytest.raises(InputError, match="40 was asked for"):
        latent_examples(model, dictionaries, TEXTS, latents={"pre": [1, 40]})
    with pytest.raises(InputError, match="no latents to look at"):
        latent_examples(model, dictionaries, TEXTS, latents={"pre": []})
    with pytest.raises(InputError, match=r"max_tokens is 65; from 2 .* to 64"):
        latent_examples(model, dictionaries, TEXTS, max_tokens=65)
    found = latent_examples(model, dictionaries, TEXTS)
    with pytest.raises(DictionaryError, match="no examples of 'other'; there are those of pre, z"):
        found["other"]
    assert found.get("other") is None and "pre" in found
    assert json.loads(json.dumps(found.settings))["n"] == 10
    assert "2 dictionaries on 5 texts" in repr(found)
