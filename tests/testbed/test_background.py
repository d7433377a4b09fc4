from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from tests.tiny import CONTEXT, tiny_hf_model, tiny_tokenizer
from tokenizers import processors
from transformers import PreTrainedTokenizerFast

from tl_ext.errors import InputError
from tl_ext.models.loading import load_model
from tl_ext.testbed.background import _nucleus, sample_background
from tl_ext.testbed.build import BuildSettings
from tl_ext.testbed.corpus import Split
from tl_ext.testbed.language_model import new_model
from tl_ext.testbed.tokenizer import END_OF_TEXT, learn_tokenizer
from tl_ext.upstream import prefix_ids

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


@pytest.fixture(scope="module")
def model(split: Split, tiny: BuildSettings) -> TransformerBridge:
    tokenizer: PreTrainedTokenizerFast = learn_tokenizer(
        split.train, context_length=48, vocabulary_size=400
    )
    torch.manual_seed(0)
    return load_model(new_model(tokenizer, tiny.shape).eval(), tokenizer=tokenizer)


def test_texts_come_by_seed_and_a_longer_list_begins_the_same(model: TransformerBridge) -> None:
    few = sample_background(model, 5, seed=3, max_tokens=6, batch_size=8)
    more = sample_background(model, 12, seed=3, max_tokens=6, batch_size=8)
    assert more[:5] == few and len(more) == 12
    assert sample_background(model, 5, seed=4, max_tokens=6, batch_size=8) != few
    assert all(text.strip() and END_OF_TEXT not in text for text in more)


@pytest.mark.parametrize(("prefix", "begin"), [([], [2]), ([1, 3], [1, 3])])
def test_a_text_begins_where_the_model_reads_one_to_begin(
    prefix: list[int], begin: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A prefix of several tokens as it stands, without EOS before or after it; EOS where there is none."""
    tokenizer = tiny_tokenizer(one_special_token=False)
    if prefix:
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single="<pad> <x> $A", special_tokens=[("<pad>", 1), ("<x>", 3)]
        )
    model = load_model(tiny_hf_model("llama"), tokenizer=tokenizer)
    assert prefix_ids(model.tokenizer) == prefix
    read: list[list[list[int]]] = []
    forward = model.original_model.forward
    monkeypatch.setattr(
        model.original_model,
        "forward",
        lambda ids, **options: read.append(ids.tolist()) or forward(ids, **options),
    )
    assert len(sample_background(model, 2, max_tokens=3, batch_size=2)) == 2
    assert read[0] == [begin, begin]
    assert all(len(row) == 1 for row in read[1])
    with pytest.raises(InputError, match=f"at most {CONTEXT - len(begin)}"):
        sample_background(model, 2, max_tokens=CONTEXT - len(begin) + 1)


def test_the_global_generator_is_left_alone(model: TransformerBridge) -> None:
    before = torch.get_rng_state()
    sample_background(model, 1, max_tokens=2, batch_size=2)
    assert torch.equal(before, torch.get_rng_state())


def test_the_nucleus_is_the_likeliest_tokens_that_reach_top_p() -> None:
    probabilities = torch.tensor([[0.1, 0.5, 0.3, 0.1]])
    assert torch.equal(_nucleus(probabilities, 0.7), torch.tensor([[0.0, 0.5, 0.3, 0.0]]))
    assert _nucleus(probabilities, 1.0).count_nonzero() == 4
    assert _nucleus(probabilities, 1e-9).count_nonzero() == 1


@pytest.mark.parametrize(
    "options",
    [{"count": 0}, {"max_tokens": 48}, {"max_tokens": 0}, {"temperature": 0.0}, {"top_p": 1.5}],
)
def test_impossible_requests_are_refused(
    model: TransformerBridge, options: dict[str, float]
) -> None:
    with pytest.raises(InputError, match="expected"):
        sample_background(model, **options)  # type: ignore[arg-type]


def test_a_model_that_writes_nothing_is_given_up() -> None:
    from tests.tiny import make_tiny_model

    model = make_tiny_model("gpt2")
    with torch.no_grad():
        # The end-of-text token is by far the likeliest everywhere.
        head = model.original_model.get_output_embeddings()
        head.weight.zero_()
        head.weight[2] = 1e3 * torch.sign(model.original_model.transformer.ln_f.bias)
        model.original_model.transformer.ln_f.weight.zero_()
    with pytest.raises(InputError, match="does not write"):
        sample_background(model, 2, seed=0, max_tokens=4, batch_size=4)
