"""The whole making of the embedded model, from sentence pairs to card, in stages that resume.

Each stage writes its output whole or not at all and notes it in `build.json`; another run skips what is
noted there. An hour on two cores is enough, most of it spent on the language model and the dictionaries.
Where other programs want the same cores, set `OMP_WAIT_POLICY=PASSIVE` before Python starts: threads
that wait for each other by spinning lose most of their time then.
"""

from __future__ import annotations

import gc
import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

from tl_ext.activations.store import replacing
from tl_ext.errors import InputError, OutputError
from tl_ext.models.loading import load_model
from tl_ext.testbed import VERSION
from tl_ext.testbed import dictionaries as dictionary_stage
from tl_ext.testbed.corpus import Split, documents, read_pairs, split_pairs
from tl_ext.testbed.dictionaries import DictionaryTraining, hook_points
from tl_ext.testbed.language_model import ModelShape, ModelTraining, store_model, train_model
from tl_ext.testbed.tokenizer import VOCABULARY_SIZE, learn_tokenizer

RECORD = "build.json"
_ACTIVATIONS = ".activations"
# No pass over the pairs during the model's training has this number, so dictionaries see sentences in
# company that the model was not trained on.
_DICTIONARY_PASS = 90_001
_PACKAGES = ("torch", "transformers", "tokenizers", "transformer-lens", "sae-lens")


@dataclass(frozen=True, slots=True)
class BuildSettings:
    """Everything that, with the pairs and the seed, decides what is built.

    Attributes:
        held_out: Share of the pairs kept from all learning.
        vocabulary_size: Tokens at most.
        french_share: Share of French among the characters the tokenizer learns from.
        shape: Size of the language model.
        model: Its training.
        dictionaries: The training of the dictionaries.
    """

    held_out: float = 0.05
    vocabulary_size: int = VOCABULARY_SIZE
    french_share: float = 0.04
    shape: ModelShape = field(default_factory=ModelShape)
    model: ModelTraining = field(default_factory=ModelTraining)
    dictionaries: DictionaryTraining = field(default_factory=DictionaryTraining)


def build(
    pairs: Path,
    out: Path,
    *,
    seed: int = 0,
    settings: BuildSettings | None = None,
    threads: int = 2,
    progress: bool = True,
) -> Path:
    """Build the embedded model from sentence pairs.

    Args:
        pairs: A UTF-8 file with an English sentence, a tab and its French translation on each line.
        out: The folder to write: a Hugging Face checkpoint with its tokenizer, `dictionaries/`,
            `card.json`, `CARD.md` and `build.json`. Made if missing; a build of the same pairs, seed and
            settings is continued in it.
        seed: Decides the split, the documents and all weights. Threads and machine matter to the last
            digits of the weights all the same.
        settings: Sizes and lengths of training; the defaults are those of the shipped weights.
        threads: Of torch, while this runs.
        progress: Show progress bars (SAELens shows its own).

    Returns:
        `out`.

    Raises:
        InputError: Pairs that cannot be read or split, or a folder that holds another build.
        OutputError: SAELens is not installed, which trains the dictionaries.
    """
    settings = settings or BuildSettings()
    _need_saelens()
    split = split_pairs(read_pairs(pairs), held_out=settings.held_out, seed=seed)
    record = _Record.open(out, pairs, seed, settings, split)
    with _torch_threads(threads):
        record.stage("tokenizer", lambda: _tokenizer_stage(out, split, settings, seed))
        record.stage("language model", lambda: _model_stage(out, split, settings, seed, progress))
        _dictionary_stages(record, out, split, settings, seed, progress)
        record.stage("card", lambda: _card_stage(out, split, seed, record.content, progress))
    return out


class _Record:
    """`build.json`: what is being built, and which stages are done with what."""

    def __init__(self, file: Path, content: dict[str, Any]) -> None:
        self.file = file
        self.content = content

    @classmethod
    def open(
        cls, out: Path, pairs: Path, seed: int, settings: BuildSettings, split: Split
    ) -> _Record:
        """Begin a record, or take up the one that is there if it is of this very build."""
        file = out / RECORD
        plan = {
            "version": VERSION,
            "pairs_sha256": hashlib.sha256(pairs.read_bytes()).hexdigest(),
            "train_pairs": len(split.train),
            "held_out_pairs": len(split.held_out),
            "seed": seed,
            "settings": asdict(settings),
        }
        if not file.exists():
            out.mkdir(parents=True, exist_ok=True)
            return cls(file, {**plan, "packages": _versions(), "stages": {}})
        content = json.loads(file.read_text(encoding="utf-8"))
        other = [key for key, value in plan.items() if content.get(key) != value]
        if other:
            raise InputError(
                f"{out} holds a build of other {', '.join(other)}. Choose another folder, or delete "
                "this one to build anew."
            )
        return cls(file, content)

    def stage(self, name: str, run: Any) -> None:
        """Run a stage unless it is noted as done, and note how long it took and what it tells."""
        if name in self.content["stages"]:
            return
        start = time.monotonic()
        told: Mapping[str, Any] | None = run()
        seconds = round(time.monotonic() - start, 1)
        self.content["stages"][name] = {"seconds": seconds, **(told or {})}
        with replacing(self.file) as file:
            file.write_text(json.dumps(self.content, indent=1) + "\n", encoding="utf-8")


def _tokenizer_stage(out: Path, split: Split, settings: BuildSettings, seed: int) -> dict[str, Any]:
    tokenizer = learn_tokenizer(
        split.train,
        context_length=settings.shape.context_length,
        vocabulary_size=settings.vocabulary_size,
        french_share=settings.french_share,
        seed=seed,
    )
    with _whole(out, out) as folder:
        tokenizer.save_pretrained(folder)
    return {"vocabulary": len(tokenizer)}


def _model_stage(
    out: Path, split: Split, settings: BuildSettings, seed: int, progress: bool
) -> dict[str, Any]:
    from transformers import AutoTokenizer

    trained = train_model(
        AutoTokenizer.from_pretrained(out),
        split.train,
        split.held_out,
        shape=settings.shape,
        training=settings.model,
        seed=seed,
        progress=progress,
    )
    with _whole(out, out) as folder:
        store_model(trained.model, folder)
    return {"tokens_seen": trained.tokens_seen, "held_out_losses": trained.held_out_losses}


def _dictionary_stages(
    record: _Record, out: Path, split: Split, settings: BuildSettings, seed: int, progress: bool
) -> None:
    """Capture activations once, then train one dictionary after another on them."""
    points = hook_points(settings.shape.layers)
    captured = out / _ACTIVATIONS
    missing = [point for point in points if f"dictionary {point}" not in record.content["stages"]]

    def capture() -> dict[str, Any]:
        texts = documents(split.train, seed=seed * 100_003 + _DICTIONARY_PASS)
        tokens = dictionary_stage.capture_activations(
            load_model(out, device="cpu"),
            [text.text for text in texts],
            captured,
            points=points,
            tokens=settings.dictionaries.captured_tokens,
            progress=progress,
        )
        return {"tokens": tokens}

    def train(point: str) -> None:
        dictionary = dictionary_stage.train_dictionary(
            dictionary_stage.captured(captured, point),
            point,
            context_length=settings.shape.context_length,
            training=settings.dictionaries,
            seed=seed,
        )
        with _whole(out / "dictionaries" / point, out) as folder:
            dictionary_stage.store_dictionary(dictionary, folder)

    if missing:
        if not all((captured / f"{point}.safetensors").is_file() for point in missing):
            record.content["stages"].pop("activations", None)
        record.stage("activations", capture)
        for point in tqdm(missing, desc="dictionaries", disable=not progress):
            record.stage(f"dictionary {point}", lambda point=point: train(point))
            gc.collect()
    # A gigabyte that nothing needs any more.
    shutil.rmtree(captured, ignore_errors=True)


def _card_stage(
    out: Path, split: Split, seed: int, record: Mapping[str, Any], progress: bool
) -> None:
    from tl_ext.testbed.card import measure, write_card

    write_card(measure(out, split, seed=seed, record=record, progress=progress), out)


@contextmanager
def _whole(target: Path, out: Path) -> Iterator[Path]:
    """A folder whose files take their places in `target` together when the block ends well."""
    with tempfile.TemporaryDirectory(prefix=".writing-", dir=out) as scratch:
        yield Path(scratch)
        target.mkdir(parents=True, exist_ok=True)
        for file in sorted(Path(scratch).iterdir()):
            file.chmod(0o644)
            file.replace(target / file.name)


@contextmanager
def _torch_threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _need_saelens() -> None:
    try:
        import sae_lens  # noqa: F401
    except ImportError as error:
        raise OutputError(
            "Building the testbed trains its dictionaries with SAELens, which cannot be imported "
            f"({error}). Install it: pip install 'tl-ext[sae]'. The shipped weights need no SAELens."
        ) from error


def _versions() -> dict[str, str]:
    """Installed versions of what decides the result."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
