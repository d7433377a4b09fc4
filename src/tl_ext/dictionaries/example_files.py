"""Examples of latents on disk, and the small things that are stored with them as tensors.

`contexts.parquet` has a row per latent and context, `statistics.parquet` a row per latent, and
`tensors.safetensors` the rest: counts, logit lens, vocabulary, and what the results depend on. On the
way everything is in `unfinished.safetensors`. Each file is replaced in one step, and nothing read is
ever run.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from tl_ext.activations import store
from tl_ext.activations.stream import Position
from tl_ext.dictionaries.dictionary import Dictionary
from tl_ext.errors import InputError, OutputError

if TYPE_CHECKING:
    import pyarrow as pa

    from tl_ext.dictionaries.example_records import DictionaryExamples

CONTEXTS, STATISTICS = "contexts.parquet", "statistics.parquet"
TENSORS, UNFINISHED = "tensors.safetensors", "unfinished.safetensors"
LENS = ("top", "top_values", "bottom", "bottom_values")
IN_CONTEXTS = ("peak", "text", "token", "ids", "activations")
COUNTED = ("fired", "total", "largest", "histogram", *IN_CONTEXTS)


def prepare(folder: Path) -> None:
    """Make the folder, so that one that cannot be written to is told before anything is read.

    Raises:
        OutputError: It cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise OutputError(
            f"{folder} cannot be written to: {error.strerror or error}. Give another folder."
        ) from error


def save(folder: Path, tensors: Mapping[str, Tensor], key: Mapping[str, object]) -> None:
    """Write what is needed to continue."""
    store.save(folder / UNFINISHED, tensors, key)


def stored(folder: Path, key: Mapping[str, object]) -> dict[str, Tensor] | None:
    """What to continue from: an interrupted stream, or a finished one; None where there is neither.

    Raises:
        InputError: What lies there was made from something else.
    """
    for name in (UNFINISHED, TENSORS):
        known = store.stored_key(folder / name)
        if known is None:
            continue
        differ = [part for part in key if known.get(part) != json.loads(json.dumps(key[part]))]
        if differ:
            raise InputError(
                f"{folder} holds examples of another {', '.join(differ)}. Give another folder, or "
                "delete this one."
            )
        return store.load(folder / UNFINISHED, key) if name == UNFINISHED else read(folder)
    return None


def write(
    folder: Path,
    tensors: Mapping[str, Tensor],
    examples: Iterable[DictionaryExamples],
    key: Mapping[str, object],
) -> Path:
    """Write everything, the file that says it is finished last.

    Args:
        folder: Made where it is missing.
        tensors: As `LatentExamples` holds them.
        examples: The same by dictionary.
        key: Everything the results depend on.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    examples = list(examples)
    for name, tables in (
        (CONTEXTS, map(_contexts, examples)),
        (STATISTICS, (pa.Table.from_pandas(one.table(), preserve_index=False) for one in examples)),
    ):
        first = next(tables)
        with store.replacing(folder / name) as path, pq.ParquetWriter(path, first.schema) as file:
            file.write_table(first)
            for table in tables:
                file.write_table(table.cast(first.schema))
    kept = {
        name: one for name, one in tensors.items() if name.rsplit("/", 1)[-1] not in IN_CONTEXTS
    }
    store.save(folder / TENSORS, kept, key)
    (folder / UNFINISHED).unlink(missing_ok=True)
    return folder


def read(folder: Path) -> dict[str, Tensor]:
    """All tensors of finished examples.

    Raises:
        InputError: There are none.
    """
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    folder = folder.expanduser()
    known = store.stored_key(folder / TENSORS)
    tensors = None if known is None else store.load(folder / TENSORS, known)
    if tensors is None or not (folder / CONTEXTS).is_file():
        raise InputError(
            f"{folder} holds no finished examples: {TENSORS} and {CONTEXTS} are expected, as "
            "latent_examples(..., out=folder) writes them."
        )
    said = about(tensors)
    table = pq.read_table(folder / CONTEXTS)
    for id in said["dictionaries"]:
        mine = table.filter(pc.equal(table["dictionary"], id))
        arrays = _padded(mine, tensors[f"{id}/latents"], said["settings"])
        tensors |= {f"{id}/{name}": one for name, one in arrays.items()}
    return tensors


def _contexts(examples: DictionaryExamples) -> pa.Table:
    """A row per latent and context, lists as long as the context reaches."""
    import pyarrow as pa

    held = {name: examples.tensors[name].numpy() for name in IN_CONTEXTS}
    row, rank = (held["text"] >= 0).nonzero()
    ids = held["ids"][row, rank]
    there = ids >= 0
    ends = np.concatenate([[0], there.sum(1).cumsum()]).astype(np.int32)
    known = {id: at for at, id in enumerate(examples.vocabulary)}
    words = pa.array([one.decode("utf-8", "replace") for one in examples.vocabulary.values()])
    place = np.zeros(max(known, default=0) + 1, dtype=np.int32)
    place[list(known)] = list(known.values())
    activations = held["activations"][row, rank][there]
    return pa.table(
        {
            "dictionary": pa.DictionaryArray.from_arrays(
                np.zeros(len(row), dtype=np.int32), pa.array([examples.id])
            ),
            "latent": examples.latents.numpy()[row],
            "rank": (rank + 1).astype(np.int16),
            "activation": held["peak"][row, rank],
            "text": held["text"][row, rank],
            "token": held["token"][row, rank],
            "peak": there[:, : examples.before].sum(1).astype(np.int16),
            "tokens": pa.ListArray.from_arrays(
                ends, pa.DictionaryArray.from_arrays(place[ids[there]], words)
            ),
            "ids": pa.ListArray.from_arrays(ends, ids[there]),
            "activations": pa.ListArray.from_arrays(
                ends, pa.array(activations, mask=np.isnan(activations))
            ),
        }
    )


def _padded(table: pa.Table, latents: Tensor, settings: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of a tally, from rows as `_contexts` writes them."""
    n, before = settings["n"], settings["before"]
    shape = (len(latents), n, before + 1 + settings["after"])
    arrays = {
        "peak": np.zeros(shape[:2], dtype=np.float32),
        "text": np.full(shape[:2], -1, dtype=np.int64),
        "token": np.full(shape[:2], -1, dtype=np.int64),
        "ids": np.full(shape, -1, dtype=np.int32),
        "activations": np.full(shape, np.nan, dtype=np.float32),
    }
    row_of = np.zeros(int(latents.max()) + 1, dtype=np.int64)
    row_of[latents.numpy()] = np.arange(len(latents))
    row = row_of[table["latent"].to_numpy()]
    rank = table["rank"].to_numpy().astype(np.int64) - 1
    for name, column in (("peak", "activation"), ("text", "text"), ("token", "token")):
        arrays[name][row, rank] = table[column].to_numpy()
    lists = table["ids"].combine_chunks()
    lengths = lists.value_lengths().to_numpy(zero_copy_only=False)
    item = np.arange(lengths.sum()) - np.repeat(lengths.cumsum() - lengths, lengths)
    column = item + np.repeat(before - table["peak"].to_numpy().astype(np.int64), lengths)
    where = (np.repeat(row, lengths), np.repeat(rank, lengths), column)
    arrays["ids"][where] = lists.flatten().to_numpy(zero_copy_only=False)
    activations = table["activations"].combine_chunks().flatten()
    arrays["activations"][where] = activations.to_numpy(zero_copy_only=False)
    return {name: torch.from_numpy(one) for name, one in arrays.items()}


def label(dictionary: Dictionary) -> dict[str, object]:
    """What is told of a dictionary that is not there any more."""
    return {
        "hook_point": dictionary.hook_in,
        "neuronpedia": dictionary.neuronpedia_id or "",
        "d_latent": dictionary.d_latent,
    }


def about_tensors(said: Mapping[str, object]) -> dict[str, Tensor]:
    """JSON values as a tensor."""
    return {"about": store.text_tensor(json.dumps(said))}


def about(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """What `about_tensors` was given."""
    said: dict[str, Any] = json.loads(store.tensor_text(tensors["about"]))
    return said


def position_tensors(position: Position) -> dict[str, Tensor]:
    """A position of a stream as tensors."""
    return {
        "position/texts": torch.tensor(position.texts),
        "position/digest": store.text_tensor(position.digest),
    }


def position(tensors: Mapping[str, Tensor]) -> Position:
    """The position that `position_tensors` was given."""
    return Position(int(tensors["position/texts"]), store.tensor_text(tensors["position/digest"]))


def used(tensors: Mapping[str, Tensor]) -> list[int]:
    """Every token id in contexts and logit lenses."""
    holding = [
        one.flatten()
        for name, one in tensors.items()
        if name.endswith(("/ids", "/lens/top", "/lens/bottom"))
    ]
    ids: list[int] = torch.cat([one.unique() for one in holding]).unique().tolist()
    return [id for id in ids if id >= 0]


def words_tensors(known: Mapping[int, bytes]) -> dict[str, Tensor]:
    """The bytes of tokens, joined, with where each ends."""
    lengths = torch.tensor([len(one) for one in known.values()], dtype=torch.long)
    return {
        "vocabulary/number": torch.tensor(list(known), dtype=torch.int32),
        "vocabulary/end": lengths.cumsum(0),
        "vocabulary/bytes": torch.tensor(list(b"".join(known.values())), dtype=torch.uint8),
    }


def words(tensors: Mapping[str, Tensor]) -> dict[int, bytes]:
    """The bytes of tokens that `words_tensors` was given."""
    joined = tensors["vocabulary/bytes"].numpy().tobytes()
    ends = tensors["vocabulary/end"].tolist()
    return {
        number: joined[start:end]
        for number, start, end in zip(
            tensors["vocabulary/number"].tolist(), [0, *ends[:-1]], ends, strict=True
        )
    }
