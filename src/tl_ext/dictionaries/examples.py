"""The texts on which latents are highest, and what the latents do on text at large.

One pass over a stream serves every dictionary. What is kept is of fixed size, so the stream may be of
any length, and it can be interrupted and continued.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Int
from torch import Tensor
from tqdm.auto import tqdm

from tl_ext import upstream
from tl_ext.activations.digests import contents, digest, sha
from tl_ext.activations.stream import (
    Context,
    FileTexts,
    LongTexts,
    Position,
    TextReader,
    captured,
    chunks,
)
from tl_ext.dictionaries import example_files as files
from tl_ext.dictionaries.dictionary import Dictionary, by_id
from tl_ext.dictionaries.example_records import LatentExamples
from tl_ext.dictionaries.logit_lens import lens_tokens
from tl_ext.dictionaries.sketch import NormSketch
from tl_ext.dictionaries.tally import LatentTally, pieces
from tl_ext.errors import InputError, nearest
from tl_ext.models.hook_points import row_norms
from tl_ext.models.token_bytes import token_bytes

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

MAX_TOKENS = 256
"""The length of a context where none is given, or the model's own where that is shorter."""


@torch.no_grad()
def latent_examples(
    model: TransformerBridge,
    dictionaries: Mapping[str, Dictionary] | Dictionary,
    texts: Path | Iterable[Any],
    *,
    n: int = 10,
    latents: Mapping[str, Sequence[int]] | None = None,
    window: tuple[int, int] = (16, 8),
    column: str = "text",
    file_texts: FileTexts = "lines",
    max_tokens: int | None = None,
    long_texts: LongTexts = "windows",
    lens: int = 10,
    batch_size: int = 32,
    out: str | Path | None = None,
    save_every: float = 60.0,
    progress: str | None = None,
) -> LatentExamples:
    """The contexts in which latents are highest, and their statistics, in one pass over a stream.

    A context is a text, or a window of a text that is longer than `max_tokens`; windows do not overlap
    and each gets the model's prefix. A latent keeps at most one place of each context, the first of
    its highest there. Contexts are ordered by their peaks, equal ones by the order of the texts; peaks
    less than 0.02 % apart count as equal, so that the size of a batch does not decide. BOS, prefix,
    padding and first positions count nowhere.

    Memory besides the model's: `788 + n (20 + 8 w)` bytes per latent, where `w` is the number of tokens
    in a window (for 12 dictionaries of 24,576 latents, with the values set here, 0.88 GB), and what
    is held of one batch.

    Args:
        model: A hooked model.
        dictionaries: One, or several by id.
        texts: A path (a text file), a Hugging Face `Dataset` or `IterableDataset`, or any iterable of
            strings or of rows with a column of strings. It is read once.
        n: How many contexts of each latent are kept.
        latents: By dictionary id, which latents; None: all.
        window: How many tokens before a peak and after it are kept, as far as its context goes.
        column: The column of a data set that holds the texts.
        file_texts: What a text of a file is: each of its "lines", or the "whole" file.
        max_tokens: Length of a context, prefix included; None: the model's, at most 256.
        long_texts: What is done with texts that are longer: "windows" reads them all, "cut" their
            beginning.
        lens: How many tokens at each end of the logit lens are kept.
        batch_size: Contexts in a forward pass.
        out: Where everything is written when it is done; on the way, what is needed to continue. The
            same call with the same folder continues an interrupted stream, and goes on where
            texts have been added at the end. None: nothing is written.
        save_every: Seconds between two writings on the way.
        progress: The label of a progress bar; None: no bar.

    Returns:
        By dictionary id, on the CPU.

    Raises:
        InputError: No token to read, a latent that a dictionary lacks, a setting out of range, or a
            folder that holds examples of other texts, dictionaries or settings.
        HookPointError: A hook point the model lacks.
        DictionaryError: A dictionary of another width than its hook point.
        OutputError: The folder cannot be written to.

    Source: as the dashboards of Bricken et al. 2023, Towards Monosemanticity.
    """
    chosen = _chosen(by_id(dictionaries), latents)
    max_tokens = max_tokens or min(int(model.cfg.n_ctx), MAX_TOKENS)
    settings = {
        "n": n,
        "before": window[0],
        "after": window[1],
        "max_tokens": max_tokens,
        "long_texts": long_texts,
        "lens": lens,
    }
    _check(settings, batch_size)
    reader = TextReader(texts, column=column, file_texts=file_texts)
    reading = _Reading(model, chosen, n=n, window=window)
    folder = None if out is None else Path(out).expanduser()
    key: dict[str, object] = {}
    stored = None
    if folder is not None:
        files.prepare(folder)
        key = _key(model, chosen, settings)
        stored = files.stored(folder, key)
        if stored is not None:
            reader.skip(reading.restore(stored))
    saved = time.monotonic()
    with tqdm(
        total=reader.total,
        initial=reader.position.texts,
        desc=progress,
        unit="text",
        disable=progress is None,
    ) as bar:
        for chunk in chunks(model, reader, max_tokens=max_tokens, long_texts=long_texts):
            reading.take(chunk, batch_size)
            bar.update(reader.position.texts - bar.n)
            if folder is not None and time.monotonic() - saved >= save_every:
                files.save(folder, reading.state(reader.position), key)
                saved = time.monotonic()
    if not reading.tokens:
        raise InputError("The texts leave no token to read once prefix and first position are out.")
    tensors = reading.state(reader.position) | reading.lens(lens)
    tensors |= files.words_tensors(token_bytes(model.tokenizer, files.used(tensors)))
    tensors |= files.about_tensors(
        {
            "settings": settings,
            "dictionaries": {id: files.label(one) for id, (one, _) in chosen.items()},
        }
    )
    found = LatentExamples(tensors)
    if folder is not None:
        if stored is not None:
            # Interrupted between two files of another age, it goes on from here and not from them.
            files.save(folder, reading.state(reader.position), key)
        files.write(folder, tensors, found.values(), key)
    return found


Chosen = Mapping[str, tuple[Dictionary, Int[Tensor, " latent"]]]
"""Dictionaries, and which of their latents, by id."""


class _Reading:
    """Several dictionaries' tallies over one stream.

    Attributes:
        tokens: How many content tokens were read.
    """

    def __init__(
        self, model: TransformerBridge, chosen: Chosen, *, n: int, window: tuple[int, int]
    ) -> None:
        self.model, self.chosen = model, chosen
        self.device = torch.device(model.cfg.device or "cpu")
        self.tallies = {
            id: LatentTally(
                len(latents), n=n, before=window[0], after=window[1], device=self.device
            )
            for id, (_, latents) in chosen.items()
        }
        self.norms = {id: NormSketch() for id in chosen}
        self.tokens = 0

    def take(self, chunk: Sequence[Context], batch_size: int) -> None:
        """Read some contexts."""
        hook_points = list(dict.fromkeys(one.hook_in for one, _ in self.chosen.values()))
        for batch in captured(self.model, chunk, hook_points, batch_size=batch_size):
            content = batch.part.batch.content
            self.tokens += int(content.sum())
            for id, (dictionary, latents) in self.chosen.items():
                self.norms[id].add(row_norms(batch.part.activations[dictionary.hook_in][content]))
                every = len(latents) == dictionary.d_latent
                for piece in pieces(dictionary, batch.part, self.device):
                    self.tallies[id].take(batch, piece if every else piece.of(latents))

    def state(self, position: Position) -> dict[str, Tensor]:
        """All that is known at a position of the stream, on the CPU."""
        tensors = files.position_tensors(position) | {"tokens": torch.tensor(self.tokens)}
        for id, tally in self.tallies.items():
            tensors |= {f"{id}/{name}": one.cpu() for name, one in tally.tensors.items()}
            tensors[f"{id}/latents"] = self.chosen[id][1]
            tensors[f"{id}/norms"] = self.norms[id].counts
            tensors[f"{id}/usual_norm"] = torch.tensor(self.norms[id].median())
        return tensors

    def restore(self, tensors: Mapping[str, Tensor]) -> Position:
        """Take an earlier state; gives its position."""
        self.tokens = int(tensors["tokens"])
        for id, tally in self.tallies.items():
            tally.restore({name: tensors[f"{id}/{name}"] for name in tally.tensors})
            self.norms[id].counts.copy_(tensors[f"{id}/norms"])
        return files.position(tensors)

    def lens(self, k: int) -> dict[str, Tensor]:
        """The logit lens of every latent."""
        tensors: dict[str, Tensor] = {}
        for id, (dictionary, latents) in self.chosen.items():
            found = lens_tokens(self.model, dictionary, latents, k=k)
            tensors |= {f"{id}/lens/{name}": getattr(found, name) for name in files.LENS}
        return tensors


def _chosen(
    dictionaries: Mapping[str, Dictionary], latents: Mapping[str, Sequence[int]] | None
) -> Chosen:
    """Each dictionary with the latents to look at.

    Raises:
        InputError: No dictionary or no latent, or one that is not there.
    """
    if latents is None:
        chosen = {id: (one, torch.arange(one.d_latent)) for id, one in dictionaries.items()}
    else:
        for id in latents:
            if id not in dictionaries:
                raise InputError(f"There is no dictionary {id!r}.{nearest(id, dictionaries)}")
        chosen = {
            id: (one, torch.tensor(list(dict.fromkeys(latents[id])), dtype=torch.long))
            for id, one in dictionaries.items()
            if id in latents
        }
    if not sum(len(which) for _, which in chosen.values()):
        raise InputError("There are no latents to look at.")
    for id, (one, which) in chosen.items():
        wrong = which[(which < 0) | (which >= one.d_latent)].tolist()
        if wrong:
            raise InputError(
                f"{id} has {one.d_latent} latents, 0 to {one.d_latent - 1}; {wrong[0]} was asked for."
            )
    return chosen


def _check(settings: Mapping[str, Any], batch_size: int) -> None:
    least = {"n": 1, "before": 0, "after": 0, "lens": 0, "batch_size": 1}
    for name, value in {**settings, "batch_size": batch_size}.items():
        if name in least and value < least[name]:
            raise InputError(f"{name} is {value}; at least {least[name]} is expected.")
    if settings["long_texts"] not in ("windows", "cut"):
        raise InputError(
            f"long_texts is {settings['long_texts']!r}; 'windows' or 'cut' is expected."
        )


def _key(
    model: TransformerBridge, chosen: Chosen, settings: Mapping[str, Any]
) -> dict[str, object]:
    """Everything that results depend on besides the texts, as JSON values."""
    return {
        "versions": upstream.versions(),
        "model": digest(model.named_parameters()),
        "tokenizer": sha(repr(sorted(model.tokenizer.get_vocab().items()))),
        "dictionaries": {id: digest(contents(one)) for id, (one, _) in chosen.items()},
        "latents": {id: sha(repr(which.tolist())) for id, (_, which) in chosen.items()},
        "settings": dict(settings),
    }
