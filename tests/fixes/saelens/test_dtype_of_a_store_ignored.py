"""What a store of SAELens yields has the dtype that was asked for, and the values it had."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.both_families import identity_sae, width_at
from tests.fixes.saelens.caching import caching
from tests.tiny import tiny_model

from tl_ext import fixes
from tl_ext.fixes.saelens.dtype_of_a_store_ignored import SLUG
from tl_ext.fixes.saelens.planted import (
    HOOK_POINT,
    PlantedModel,
    rows,
    several_hooks,
    store,
    training,
    training_several,
)

pytestmark = pytest.mark.saelens

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}


@pytest.mark.parametrize("asked", DTYPES)
@pytest.mark.parametrize("computed", DTYPES)
def test_values_are_those_of_the_model_rounded_as_asked(asked: str, computed: str) -> None:
    model = PlantedModel(dtype=DTYPES[computed])
    ids = torch.tensor([[3, 1, 300, 2]])
    expected = model.forward(ids).to(DTYPES[asked])
    with fixes.applied(SLUG):
        one = store(model, rows(), dtype=asked).get_activations(ids)
        several = several_hooks(model, rows(), dtype=asked).get_multi_hook_activations(ids)
    for found in (one, *several.values()):
        assert found.dtype is DTYPES[asked]
        assert torch.equal(found, expected)


def test_float32_of_a_model_of_float32_is_bitwise_what_it_was() -> None:
    model, ids = tiny_model("gpt2"), torch.tensor([[5, 6, 7, 8], [9, 10, 11, 12]])

    def found() -> list[torch.Tensor]:
        one = store(model, rows(), d_in=24).get_activations(ids)
        heads = store(
            model, rows(), d_in=8, hook_name="blocks.1.attn.hook_q", hook_head_index=1
        ).get_activations(ids)
        several = several_hooks(model, rows()).get_multi_hook_activations(ids)
        return [one, heads, *several.values()]

    before = found()
    with fixes.applied(SLUG):
        after = found()
    assert len(before) == 4
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


def test_a_dictionary_of_float32_learns_from_narrow_activations() -> None:
    with fixes.applied(SLUG):
        one = training(PlantedModel(), rows(), dtype="bfloat16")
        assert next(one.activations_store).dtype is torch.bfloat16
        several = training_several(PlantedModel(dtype=torch.bfloat16), rows())
        dictionaries = [one.run(), *several.run().values()]
    for dictionary in dictionaries:
        assert dictionary.W_dec.dtype is torch.float32
        assert dictionary.W_dec.isfinite().all()


def test_a_store_made_for_a_dictionary_has_its_dtype() -> None:
    from sae_lens.training.activations_store import ActivationsStore

    model = tiny_model("gpt2")
    sae = identity_sae(HOOK_POINT, width_at(model, HOOK_POINT)).to(torch.bfloat16)
    sae.cfg.metadata.prepend_bos = False
    with fixes.applied(SLUG):
        found = ActivationsStore.from_sae(
            model, sae, rows(), context_size=4, train_batch_size_tokens=8
        )
        assert next(found).dtype is torch.bfloat16


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_activations_are_cached_and_read_back_as_asked(dtype: str, tmp_path: Path) -> None:
    from sae_lens.training.activations_store import ActivationsStore

    model = PlantedModel()

    def cached(folder: Path) -> Any:
        runner = caching(
            model,
            rows(),
            folder,
            training_tokens=64,
            context_size=4,
            dtype=dtype,
            buffer_size_gb=1e-7 * DTYPES[dtype].itemsize,
        )
        dataset = runner.run()
        batch, ids = ActivationsStore.from_config(model, runner.cfg).get_raw_llm_batch()
        return dataset.with_format("torch")[HOOK_POINT][:], batch, ids

    before = cached(tmp_path / "before")
    with fixes.applied(SLUG):
        after = cached(tmp_path / "after")
    assert after[1].dtype is DTYPES[dtype]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
