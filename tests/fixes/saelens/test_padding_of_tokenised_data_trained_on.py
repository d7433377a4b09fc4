"""Padded tokens are neither trained on nor attended to; all others give what they gave alone."""

from __future__ import annotations

import random
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.fixes.saelens.caching import caching
from tests.tiny import WIDTH, tiny_model

from tl_ext import fixes
from tl_ext.fixes.saelens.padding_of_tokenised_data_trained_on import MASK, NO_TOKEN, SLUG
from tl_ext.fixes.saelens.planted import (
    PlantedModel,
    rows,
    several_hooks,
    store,
    training,
    training_several,
)

pytestmark = pytest.mark.saelens

PAD, LENGTH = 2, 8


def padded(side: str, *, n: int = 60, seed: int = 0) -> tuple[Any, list[list[int]]]:
    """Rows of 1 to 8 real tokens, padded with an id that also stands inside texts, and the texts."""
    from datasets import Dataset

    draw = random.Random(seed)
    texts = [
        [draw.choice([PAD, *range(10, 50)]) for _ in range(draw.randint(1, LENGTH))]
        for _ in range(n)
    ]
    ids, masks = [], []
    for text in texts:
        gap = LENGTH - len(text)
        left = {"left": gap, "right": 0, "both": gap // 2}[side]
        ids.append([PAD] * left + text + [PAD] * (gap - left))
        masks.append([0] * left + [1] * len(text) + [0] * (gap - left))
    return Dataset.from_dict({"input_ids": ids, MASK: masks}), texts


def told(texts: list[list[int]]) -> torch.Tensor:
    """What a planted model says of texts alone: ids, and to how many tokens each attends."""
    return torch.tensor(
        [[float(id), float(place + 1)] for text in texts for place, id in enumerate(text)]
    )


@pytest.mark.parametrize("side", ["left", "right", "both"])
@pytest.mark.parametrize("streamed", [False, True])
def test_what_is_yielded_is_what_texts_alone_give(side: str, streamed: bool) -> None:
    dataset, texts = padded(side)
    if streamed:
        dataset = dataset.to_iterable_dataset()
    sizes = {"context_size": LENGTH, "store_batch_size_prompts": 5}
    with fixes.applied(SLUG):
        one = store(PlantedModel(), dataset, **sizes)
        several = several_hooks(PlantedModel(), dataset, **sizes)
        for n in range(0, len(texts), 5):
            expected = told(texts[n : n + 5])
            assert torch.equal(one.get_filtered_llm_batch(), expected)
            for found in several._get_filtered_multi_hook_llm_batch().values():
                assert torch.equal(found, expected)
        assert one.n_dataset_processed == several.n_dataset_processed == len(texts) - 1


@pytest.mark.parametrize("family", ["gpt2", "llama", "qwen2"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_of_a_real_model_too(family: str, side: str) -> None:
    """Learned positions and rotary ones; texts run alone through the same model are the truth."""
    hook = "blocks.2.hook_resid_pre"
    dataset, texts = padded(side, n=6)
    model = tiny_model(family)
    sizes = {"context_size": LENGTH, "store_batch_size_prompts": 6}
    with fixes.applied(SLUG):
        found = store(model, dataset, hook_name=hook, d_in=WIDTH, **sizes).get_filtered_llm_batch()
    alone = [
        model.run_with_cache(torch.tensor([text]), names_filter=[hook])[1][hook][0]
        for text in texts
    ]
    torch.testing.assert_close(found, torch.cat(alone).detach(), atol=1e-5, rtol=1e-5)


def test_special_tokens_and_slices_beside_it() -> None:
    dataset, _ = padded("right", n=4)
    settings = {
        "context_size": LENGTH,
        "store_batch_size_prompts": 4,
        "seqpos_slice": (1, 6),
        "exclude_special_tokens": torch.tensor([PAD]),
    }
    kept = [
        [float(id), place + 1.0]
        for ids, mask in zip(dataset["input_ids"], dataset[MASK], strict=True)
        for place, (id, real) in enumerate(zip(ids, mask, strict=True))
        if real and id != PAD and 1 <= place < 6
    ]
    with fixes.applied(SLUG):
        one = store(PlantedModel(), dataset, **settings).get_filtered_llm_batch()
        several = several_hooks(PlantedModel(), dataset, **settings)
        others = several._get_filtered_multi_hook_llm_batch().values()
    assert all(torch.equal(found, torch.tensor(kept)) for found in (one, *others))


def test_tokens_are_given_out_as_they_are_in_the_data() -> None:
    dataset, _ = padded("left")
    ids = torch.tensor(dataset["input_ids"])
    with fixes.applied(SLUG):
        given = store(PlantedModel(), dataset, context_size=LENGTH).get_batch_tokens(60)
    assert torch.equal(given, ids)
    assert dataset.column_names == ["input_ids", MASK]


def test_rows_without_padding_are_bitwise_what_they_were() -> None:
    from datasets import Dataset

    plain = rows()
    whole = Dataset.from_dict({"input_ids": plain["input_ids"], MASK: [[1] * 4] * 64})
    texts = Dataset.from_dict({"text": ["w5 w6 w7 w8 w9"] * 20, MASK: [[0] * 5] * 20})
    for model, dataset in ((PlantedModel(), plain), (PlantedModel(), whole), (tiny_model(), texts)):
        found = []
        for applied in ((), (SLUG,)):
            torch.manual_seed(0)
            with fixes.applied(*applied):
                d_in = 2 if isinstance(model, PlantedModel) else WIDTH
                found.append(list(islice(store(model, dataset, d_in=d_in), 6)))
        assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_training_sees_real_tokens_alone(tmp_path: Path) -> None:
    """What reaches the dictionaries in a run, and after it is taken up again."""
    from sae_lens.training.sae_trainer import SAETrainer

    dataset, texts = padded("left")
    real, seen = {tuple(row) for row in told(texts).tolist()}, []
    step = SAETrainer._train_step

    def watched(self: Any, sae: Any, sae_in: torch.Tensor) -> Any:
        seen.extend(map(tuple, sae_in.tolist()))
        return step(self, sae, sae_in)

    sizes = {"context_size": LENGTH, "training_tokens": 80}
    with pytest.MonkeyPatch.context() as patch, fixes.applied(SLUG):
        patch.setattr(SAETrainer, "_train_step", watched)
        training(
            PlantedModel(), dataset, checkpoint_path=str(tmp_path), n_checkpoints=1, **sizes
        ).run()
        (weights,) = tmp_path.rglob("sae_weights.safetensors")
        training(PlantedModel(), dataset, resume_from_checkpoint=str(weights.parent), **sizes).run()
        training_several(PlantedModel(), dataset, prefetch_llm_batches=True, **sizes).run()
    assert len(seen) > 250
    assert set(seen) <= real


def test_a_cache_marks_padding_and_training_from_it_leaves_it_out(tmp_path: Path) -> None:
    dataset, texts = padded("right", n=8)
    model = PlantedModel()
    sizes = {"training_tokens": 8 * LENGTH, "context_size": LENGTH, "buffer_size_gb": 1.3e-7}
    with fixes.applied(SLUG):
        made = caching(model, dataset, tmp_path, **sizes).run()
        cached = store(
            model,
            None,
            cached_activations_path=str(tmp_path),
            context_size=LENGTH,
            store_batch_size_prompts=8,
        )
        assert torch.equal(cached.get_filtered_llm_batch(), told(texts))
    dataset = dataset.with_format(None)  # a store leaves it restricted to its ids
    expected = [
        [id if real else NO_TOKEN for id, real in zip(ids, mask, strict=True)]
        for ids, mask in zip(dataset["input_ids"], dataset[MASK], strict=True)
    ]
    assert made["token_ids"][:] == expected


def test_a_model_that_takes_no_mask_is_given_none() -> None:
    """Its padding on the right, which nothing attends to, is left out all the same."""

    class Maskless:
        """As the wrapper of `AutoModelForCausalLM`."""

        planted, tokenizer, cfg = PlantedModel(), None, PlantedModel().cfg

        def forward(self, tokens: Any, **_: Any) -> Any:
            return self.planted.forward(tokens)

        def run_with_cache(self, tokens: Any, **options: Any) -> Any:
            assert MASK not in options
            return self.planted.run_with_cache(tokens, **options)

    dataset, texts = padded("right", n=4)
    sizes = {"context_size": LENGTH, "store_batch_size_prompts": 4}
    with fixes.applied(SLUG):
        found = store(Maskless(), dataset, **sizes).get_filtered_llm_batch()
    assert torch.equal(found, told(texts))


def test_beside_the_packing_of_texts() -> None:
    """Both fixes have to do with what a store reads; neither is in the other's way, in any order."""
    other = "documents-not-separated-without-bos"
    dataset, texts = padded("left", n=10)
    for slugs in ((SLUG, other), (other, SLUG)):
        with fixes.applied(*slugs):
            one = store(PlantedModel(), dataset, context_size=LENGTH, store_batch_size_prompts=10)
            assert torch.equal(one.get_filtered_llm_batch(), told(texts))
            assert fixes.probe(other).state is fixes.State.ABSENT
            assert fixes.probe(SLUG).state is fixes.State.ABSENT
