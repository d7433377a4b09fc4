"""The whole study on tiny models of the families that adapters bring.

ChatGLM has a prefix of two tokens and no BOS, Qwen2 has neither prefix nor BOS, and both pad with a
token that is not EOS: what a study must keep apart is kept apart for them too.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tests.dictionaries.saved import config_of, save
from tests.models.chatglm.checkpoints import write_checkpoint
from tests.models.chatglm.tiny_tokenizer import write_sentencepiece
from tests.models.qwen2 import checkpoints as qwen2
from torch import Tensor

from tl_ext.concepts import emotions, word_spans
from tl_ext.dictionaries.sparse import SparseDictionary
from tl_ext.interventions.edits import Add
from tl_ext.models.hook_points import hooked
from tl_ext.models.tokens import batch
from tl_ext.steering.generation import steer
from tl_ext.study.analyses import background as background_analysis
from tl_ext.study.run import StudyResult, run_study
from tl_ext.study.session import Session, open_session
from tl_ext.upstream import prefix_ids

LANGUAGES = {"chatglm": ("en", "fr", "zh"), "qwen2": ("en", "zh")}
PREFIXES = {"chatglm": ["[gMASK]", "sop"], "qwen2": []}
WIDTHS = {"chatglm": 32, "qwen2": 24}
CONTEXT = 192  # Chinese is nearly a token a byte to tokenizers as small as these
POINT = "blocks.1.hook_resid_pre"
WORDS = 16  # matched ones in each language: enough for a test to decide


def write(family: str, folder: Path) -> None:
    """A checkpoint as the family publishes them, of two layers."""
    if family == "qwen2":
        qwen2.write(
            folder, "Qwen2ForCausalLM", num_hidden_layers=2, max_position_embeddings=CONTEXT
        )
        return
    write_sentencepiece(write_checkpoint(folder, padded_vocab_size=448, seq_length=CONTEXT))


@pytest.fixture(scope="module", params=list(LANGUAGES))
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def session(family: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    folder = tmp_path_factory.mktemp(family)
    write(family, folder / "model")
    points = ["blocks.0.hook_resid_pre", POINT, "blocks.1.hook_mlp_out", "blocks.1.attn.hook_z"]
    for point in points:
        width = WIDTHS[family]
        config = config_of("topk", d_in=width, d_sae=32, metadata={"hook_name": point})
        save(folder / "dictionaries" / point, config)
    languages = LANGUAGES[family]
    concepts = emotions.concepts(["happy", "sad"], languages)
    yield open_session(
        model=folder / "model",
        dictionaries=folder / "dictionaries",
        concepts=concepts,
        background=[one.text for concept in concepts for one in concept.controls[:4]],
        matched=[one for language in languages for one in emotions.matched([language])[:WORDS]],
        progress=False,
    )


@pytest.fixture(scope="module")
def result(session: Session, tmp_path_factory: pytest.TempPathFactory) -> StudyResult:
    return run_study(session, tmp_path_factory.mktemp("study"))


@pytest.mark.slow
def test_every_analysis_runs_and_the_page_is_written(
    family: str, result: StudyResult, session: Session
) -> None:
    assert result.failed == {}
    assert result.page.is_file() and "This part did not run" not in result.page.read_text("utf-8")
    assert session.plan.languages == LANGUAGES[family]
    read = result.tables["concept_activations"]
    assert set(read["dictionary"]) == set(session.dictionaries)
    assert set(read["language"]) == set(LANGUAGES[family])
    assert (read["texts"] >= 30).all()
    assert len(result.tables["steering_verdicts"]) and len(result.tables["crosslingual_verdicts"])


def test_the_prefix_is_the_families_own(family: str, session: Session) -> None:
    tokenizer = session.model.tokenizer
    assert tokenizer.convert_ids_to_tokens(prefix_ids(tokenizer)) == PREFIXES[family]
    assert tokenizer.bos_token is None
    assert tokenizer.pad_token_id != tokenizer.eos_token_id


def content_rows(session: Session, texts: list[str]) -> Tensor:
    """Activations of each text read alone, less the prefix and the first position."""
    prefix, tokenizer = prefix_ids(session.model.tokenizer), session.model.tokenizer
    rows: list[Tensor] = []
    for text in texts:
        ids = prefix + tokenizer(text, add_special_tokens=False)["input_ids"]
        ids = ids[: session.plan.max_tokens]
        skipped = max(len(prefix), 1)
        functions = {POINT: lambda one: rows.append(one[0, skipped:])}  # noqa: B023
        with torch.no_grad(), hooked(session.model, functions):
            session.model(torch.tensor([ids]))
    return torch.cat(rows)


def test_prefix_padding_and_first_position_enter_no_statistic(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the dictionaries were given, row by row, against each text read alone."""
    seen: list[Tensor] = []
    encode = SparseDictionary.encode

    def recorded(self: SparseDictionary, activations: Tensor, *rest: object) -> Tensor:
        if self.hook_in == POINT:
            seen.append(activations.reshape(-1, activations.shape[-1]))
        return encode(self, activations, *rest)

    monkeypatch.setattr(SparseDictionary, "encode", recorded)
    background_analysis.collect(session, {})
    expected, given = content_rows(session, list(session.background)), torch.cat(seen)
    assert len(given) == len(expected)
    distance = torch.cdist(given.double(), expected.double())
    assert distance.min(0).values.max() < 1e-4 and distance.min(1).values.max() < 1e-4
    assert distance.median() > 1  # rows differ by far more than rounding


def test_words_lie_where_they_stand(session: Session) -> None:
    """Of every example the cells of its word, decoded, hold the word and little else."""
    tokenizer = session.model.tokenizer
    for concept in session.concepts:
        for one in concept.examples[:12]:
            tokens = batch(session.model, [one.text, "a"], padding_side="left")
            spans = word_spans(tokenizer, one.text, one.word)
            held = tokenizer.decode(tokens.ids[0][tokens.cells([spans, []])[0]].tolist())
            assert one.word in held, (one, held)
            assert len(held.strip()) <= len(one.word) * len(spans) + 2 * len(spans), (one, held)


def test_steering_spares_the_prefix_and_padding(session: Session) -> None:
    prompts = ["So", *(one.examples[0].text for one in session.concepts)]
    width = session.dictionaries[POINT].d_in
    push = Add(POINT, 5 * torch.randn(width, generator=torch.Generator().manual_seed(1)))
    reads: dict[str, Tensor] = {}
    for name, edits in (("plain", ()), ("steered", push)):
        seen: list[Tensor] = []
        with hooked(session.model, {"blocks.1.ln1.hook_in": seen.append}):
            steer(session.model, prompts, edits, max_new_tokens=2, log_probs="steered")
        reads[name] = seen[0].clone()
    tokens = batch(session.model, prompts, padding_side="left")
    changed = (reads["steered"] - reads["plain"]).abs().amax(-1) > 1e-4
    assert not bool(tokens.mask.all())  # there is padding to spare
    # Prompts are read in an order of their own.
    assert sorted(changed.tolist()) == sorted(tokens.content.tolist())
