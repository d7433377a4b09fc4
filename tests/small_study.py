"""A checkpoint and dictionaries small enough for a whole study in seconds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tests.dictionaries.saved import config_of, save
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from tl_ext.concepts import Concept, emotions

WIDTH, LAYERS, LATENTS = 16, 3, 40


def _tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE where " happy" is one token and " heureux" is several, as for GPT-2."""
    english = [
        one.text for concept in emotions.concepts(languages=("en",)) for one in concept.examples
    ]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        english,
        trainers.BpeTrainer(
            vocab_size=500,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            special_tokens=["<|endoftext|>"],
            show_progress=False,
        ),
    )
    end = "<|endoftext|>"
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=end, eos_token=end, pad_token=end
    )


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random GPT-2 with its tokenizer, as a folder."""
    folder = tmp_path_factory.mktemp("checkpoint")
    tokenizer = _tokenizer()
    state = torch.random.get_rng_state()
    torch.manual_seed(0)
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=len(tokenizer),
            n_embd=WIDTH,
            n_layer=LAYERS,
            n_head=2,
            n_positions=96,
            bos_token_id=0,
            eos_token_id=0,
        )
    )
    for parameter in model.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    torch.random.set_rng_state(state)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def dictionaries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random dictionaries at every resid_pre, every hook_z and one mlp_out."""
    folder = tmp_path_factory.mktemp("dictionaries")
    points = [f"blocks.{layer}.hook_resid_pre" for layer in range(LAYERS)]
    points += [f"blocks.{layer}.attn.hook_z" for layer in range(LAYERS)]
    points.append("blocks.1.hook_mlp_out")
    for point in points:
        save(
            folder / point,
            config_of("topk", d_in=WIDTH, d_sae=LATENTS, metadata={"hook_name": point}),
        )
    return folder


def few_matched() -> list[Concept]:
    """Enough matched words for a test to decide, and no more."""
    return [*emotions.matched(["en"])[:20], *emotions.matched(["fr"])[:20]]


@pytest.fixture(scope="session")
def background() -> tuple[str, ...]:
    """Forty sentences."""
    return tuple(
        one.text
        for concept in emotions.concepts(languages=("en", "fr"))
        for one in concept.controls[:7]
    )


@pytest.fixture(scope="session", autouse=True)
def small_steering() -> Iterator[None]:
    """Fewer random directions, strengths and tokens: what is tested does not depend on how many."""
    from tl_ext.study.analyses import steering

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steering, "DIRECTIONS", 2)
        patch.setattr(steering, "STRENGTHS", (1.0, 4.0))
        patch.setattr(steering, "NEW_TOKENS", 3)
        yield
