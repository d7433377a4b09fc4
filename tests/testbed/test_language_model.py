from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from tl_ext.testbed.build import BuildSettings
from tl_ext.testbed.corpus import Document, Split, documents
from tl_ext.testbed.language_model import (
    ModelTraining,
    TrainedModel,
    documents_apart,
    held_out_loss,
    learning_rate_share,
    new_model,
    packed_rows,
    store_model,
    train_model,
)
from tl_ext.testbed.tokenizer import learn_tokenizer


@pytest.fixture(scope="module")
def tokenizer(split: Split) -> PreTrainedTokenizerFast:
    return learn_tokenizer(split.train, context_length=48, vocabulary_size=400)


def train(tokenizer: PreTrainedTokenizerFast, split: Split, tiny: BuildSettings) -> TrainedModel:
    return train_model(
        tokenizer,
        split.train,
        split.held_out,
        shape=tiny.shape,
        training=tiny.model,
        seed=1,
        progress=False,
    )


@pytest.fixture(scope="module")
def trained(tokenizer: PreTrainedTokenizerFast, split: Split, tiny: BuildSettings) -> TrainedModel:
    return train(tokenizer, split, tiny)


def test_every_document_is_whole_in_one_row_behind_an_end_of_text_token(
    tokenizer: PreTrainedTokenizerFast, split: Split
) -> None:
    texts = documents(split.train, seed=0)
    rows = packed_rows(tokenizer, texts, 48)
    assert rows.shape[1] == 49
    end = tokenizer.eos_token_id
    assert (rows[:, 0] == end).all() and (rows[:, -1] == end).all()
    found: list[list[int]] = []
    for token in rows.flatten().tolist():
        if token == end:
            found.append([])
        else:
            found[-1].append(token)
    wanted = [tokenizer(text.text)["input_ids"][:47] for text in texts]
    assert sorted(filter(None, found)) == sorted(wanted)


def test_documents_side_by_side_are_read_as_if_alone(
    tokenizer: PreTrainedTokenizerFast, split: Split, tiny: BuildSettings
) -> None:
    torch.manual_seed(0)
    model = new_model(tokenizer, tiny.shape).eval()
    end = tokenizer.eos_token_id
    row = packed_rows(tokenizer, documents(split.train, seed=0), 48)[:1, :-1]
    positions, mask = documents_apart(row, end)
    together = model(row, attention_mask=mask, position_ids=positions).logits[0]
    begins = [*(row[0] == end).nonzero()[:, 0].tolist(), row.shape[1]]
    for start, stop in pairwise(begins):
        alone = model(row[:, start:stop]).logits[0]
        assert torch.allclose(together[start:stop], alone, atol=1e-5)
        assert positions[0, start:stop].tolist() == list(range(stop - start))


def test_free_cells_do_not_count(tokenizer: PreTrainedTokenizerFast, tiny: BuildSettings) -> None:
    torch.manual_seed(0)
    model = new_model(tokenizer, tiny.shape).eval()
    narrow = packed_rows(tokenizer, [Document("english", "The red cat sleeps.")], 30)
    wide = packed_rows(tokenizer, [Document("english", "The red cat sleeps.")], 48)
    assert held_out_loss(model, narrow) == pytest.approx(held_out_loss(model, wide), abs=1e-5)


def test_training_learns_and_keeps_the_best(trained: TrainedModel, tiny: BuildSettings) -> None:
    assert list(trained.held_out_losses) == [4, 8]
    assert trained.held_out_losses[8] < 6.0  # log(400) is 5.99
    assert 0 < trained.tokens_seen < 8 * 4 * 48
    assert not trained.model.training


def test_training_is_determined_by_the_seed_and_leaves_the_global_one_alone(
    trained: TrainedModel, tokenizer: PreTrainedTokenizerFast, split: Split, tiny: BuildSettings
) -> None:
    before = torch.get_rng_state()
    again = train(tokenizer, split, tiny)
    assert torch.equal(before, torch.get_rng_state())
    for name, value in trained.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name]), name


def test_stored_as_float16_and_computed_as_float32(trained: TrainedModel, tmp_path: Path) -> None:
    store_model(trained.model, tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    assert {value.dtype for value in stored.values()} == {torch.float16}
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert loaded.dtype == torch.float32
    assert loaded.config.activation_function == "gelu_new"
    ids = torch.arange(20)[None]
    assert torch.allclose(loaded(ids).logits, trained.model(ids).logits, atol=2e-2)


def test_the_learning_rate_rises_and_falls() -> None:
    training = ModelTraining(steps=100, warm_up_steps=10, final_learning_rate_share=0.1)
    shares = [learning_rate_share(step, training) for step in range(101)]
    assert shares[0] == pytest.approx(0.1)
    assert max(shares) == shares[9] == 1.0
    assert shares[10:] == sorted(shares[10:], reverse=True)
    assert shares[-1] == pytest.approx(0.1)
