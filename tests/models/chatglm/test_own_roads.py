"""Everything of ours on a tiny ChatGLM: the two tokens before a text enter no statistic and no edit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.interventions.toy import toy_dictionary
from tests.models.chatglm.checkpoints import original_config, original_weights, write_checkpoint
from tests.models.chatglm.tiny_tokenizer import write_sentencepiece
from torch import Tensor

import tl_ext
from tl_ext.activations.capture import run
from tl_ext.dictionaries.sparse import ReLU
from tl_ext.upstream import prefix_ids

TEXTS = ["The cat sat on the mat.", "你好世界", "hello", "She said that the weather was happy"]
OTHERS = ["Le chat est sur la table", "12 euros"]
SIZES: dict[str, Any] = {"padded_vocab_size": 448, "hidden_size": 24, "num_layers": 3}
POINT = "blocks.1.hook_resid_pre"


def write(folder: Path, *, loud: tuple[int, ...] = ()) -> Path:
    """A tiny checkpoint with its tokenizer; tokens in `loud` have embeddings that swamp any mean."""
    weights = original_weights(original_config(**SIZES))
    weights["transformer.embedding.word_embeddings.weight"][list(loud)] = 1e4
    return write_sentencepiece(write_checkpoint(folder, weights=weights, **SIZES))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return tl_ext.load_model(write(tmp_path_factory.mktemp("chatglm")), device="cpu")


@pytest.fixture(scope="module")
def loud(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The same model but for the embeddings of the prefix."""
    folder = write(tmp_path_factory.mktemp("loud"), loud=tuple(prefix_ids(model.tokenizer)))
    return tl_ext.load_model(folder, device="cpu")


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def logits(model: Any, tokens: Any) -> Tensor:
    found: Tensor = model(tokens.ids, **tokens.forward_arguments())
    return found


def test_words_are_found_behind_the_prefix(model: Any) -> None:
    tokens = tl_ext.batch(model, TEXTS[:2], padding_side="left")
    spans = [
        tl_ext.word_spans(model.tokenizer, TEXTS[0], "cat"),
        tl_ext.word_spans(model.tokenizer, TEXTS[1], "世界"),
    ]
    cells = tokens.cells(spans)
    assert not (cells & ~tokens.content).any()
    for row, word in enumerate(("cat", "世界")):
        assert model.tokenizer.decode(tokens.ids[row][cells[row]]).strip() == word


def test_statistics_do_not_hear_the_prefix(model: Any, loud: Any) -> None:
    """Where attention has not spread it yet; after that all of them do, and should."""
    point = "blocks.0.hook_resid_pre"
    tokens = tl_ext.batch(loud, TEXTS)
    assert float(run(loud, tokens, point)[point].abs().max()) == 1e4
    dictionary = toy_dictionary(hook_in=point, hook_out=point)
    for measure in (
        lambda m: tl_ext.capture(m, TEXTS, point).activations[point],
        lambda m: tl_ext.diff_of_means(m, point, TEXTS, OTHERS).direction,
        lambda m: torch.tensor(tl_ext.hook_point_norm(m, point, TEXTS)),
        lambda m: tl_ext.background_statistics(m, dictionary, TEXTS)["toy"].firing_rate,
        lambda m: torch.tensor(tl_ext.evaluate_dictionary(m, dictionary, TEXTS).content.fvu),
        lambda m: torch.tensor(tl_ext.evaluate_dictionary(m, dictionary, TEXTS).content.l0),
    ):
        torch.testing.assert_close(measure(loud), measure(model))
    quality = tl_ext.evaluate_dictionary(loud, dictionary, TEXTS)
    assert quality.content.n_tokens + 2 * len(TEXTS) == quality.all_tokens.n_tokens
    captured = tl_ext.capture(loud, TEXTS, point)
    assert len(captured.token) == quality.content.n_tokens
    assert int(captured.token.min()) == 0


def test_a_word_s_latents_do_not_hear_it_either(model: Any, loud: Any) -> None:
    point = "blocks.0.hook_resid_pre"
    dictionary = toy_dictionary(hook_in=point, hook_out=point)
    examples = [tl_ext.Example(TEXTS[0], "The"), tl_ext.Example(TEXTS[2], "hello")]
    quiet, heard = (tl_ext.word_latents(m, dictionary, examples)["toy"] for m in (model, loud))
    torch.testing.assert_close(heard, quiet)


def test_an_edit_of_the_content_leaves_the_prefix_as_it_was(model: Any) -> None:
    tokens = tl_ext.batch(model, TEXTS)
    push = tl_ext.Add(POINT, torch.full((24,), 3.0))
    before = run(model, tokens, "blocks.2.hook_resid_pre")["blocks.2.hook_resid_pre"]
    with tl_ext.applied(model, push, tokens.content):
        after = run(model, tokens, "blocks.2.hook_resid_pre")["blocks.2.hook_resid_pre"]
    moved = (after != before).any(-1)
    assert torch.equal(moved & tokens.mask, tokens.content)


@pytest.mark.parametrize("positions", ["all", "prompt", "generated"])
def test_steering_spares_the_prefix_with_and_without_the_cache(model: Any, positions: Any) -> None:
    vector = tl_ext.tensor_vector(torch.arange(24.0) - 12, POINT)
    given: dict[str, Any] = {"max_new_tokens": 5, "temperature": 0, "positions": positions}
    found = tl_ext.steer(model, TEXTS, vector.at(1.0), **given)
    again = tl_ext.steer(model, TEXTS, vector.at(1.0), use_cache=False, batch_size=1, **given)
    assert found.texts == again.texts
    assert torch.equal(found.ids, again.ids)
    plain = tl_ext.steer(model, TEXTS, **given)
    assert plain.texts != found.texts
    for row, text in enumerate(TEXTS):
        want = model.generate(
            text, max_new_tokens=5, do_sample=False, verbose=False, return_type="tokens"
        )
        prompt = model.to_tokens(text).shape[1]
        kept = plain.new_ids[row][plain.new_mask[row]].tolist()
        assert want[0, prompt : prompt + len(kept)].tolist() == kept


def test_a_perfect_reconstruction_recovers_all_of_the_cross_entropy(model: Any) -> None:
    dictionary = toy_dictionary(
        W_enc=torch.cat((torch.eye(24), -torch.eye(24)), dim=1),
        W_dec=torch.cat((torch.eye(24), -torch.eye(24))),
        b_dec=torch.zeros(24),
        activation=ReLU(torch.zeros(48)),
    )
    quality = tl_ext.evaluate_dictionary(model, dictionary, TEXTS)
    for measures in (quality.content, quality.all_tokens):
        assert measures.ce_recovered == pytest.approx(1.0, abs=1e-4)
        assert measures.fvu == pytest.approx(0.0, abs=1e-6)
