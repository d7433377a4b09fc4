"""The default sizes of SAELens make a run; sizes that made one make the same."""

from __future__ import annotations

from itertools import islice
from typing import Any

import pytest
import torch

from tl_ext import fixes
from tl_ext.fixes.saelens.default_sizes_refused import SLUG
from tl_ext.fixes.saelens.planted import (
    PlantedModel,
    rows,
    several_hooks,
    store,
    training,
    training_several,
)

pytestmark = pytest.mark.saelens

DEFAULTS = ("context_size", "n_batches_in_buffer", "store_batch_size_prompts")


def batches(n: int, **sizes: int) -> list[torch.Tensor]:
    torch.manual_seed(0)
    one = store(PlantedModel(), rows(), **sizes).get_data_loader()
    torch.manual_seed(0)
    several = several_hooks(PlantedModel(), rows(), **sizes).get_multi_hook_data_loader()
    found = [*islice(one, n)]
    return found + [value for batch in islice(several, n) for value in batch.values()]


def test_the_defaults_train() -> None:
    """All three sizes, and the training batch of 4096, are upstream's own here."""
    from sae_lens import LanguageModelSAERunnerConfig

    fields = LanguageModelSAERunnerConfig.__dataclass_fields__
    sizes = {name: fields[name].default for name in (*DEFAULTS, "train_batch_size_tokens")}
    data = rows(700, length=sizes["context_size"])
    for make in (training, training_several):
        runner = make(PlantedModel(), data, training_tokens=8192, **sizes)
        with pytest.raises(ValueError, match="Buffer size"):
            runner.run()
        with fixes.applied(SLUG):
            runner = make(PlantedModel(), data, training_tokens=8192, **sizes)
            runner.run()


def test_the_buffer_is_filled_as_documented() -> None:
    """Of 2 batches of 8 rows, half is served before the next row is read."""
    model = Counting()
    sizes = {"n_batches_in_buffer": 2, "store_batch_size_prompts": 8, "train_batch_size_tokens": 16}
    with fixes.applied(SLUG):
        loader = store(model, rows(), **sizes).get_data_loader()
        assert [(next(loader).shape[0], model.rows)[1] for _ in range(4)] == [16, 16, 24, 24]


def test_sizes_that_made_a_run_make_the_same() -> None:
    for sizes in (
        {"n_batches_in_buffer": 4, "train_batch_size_tokens": 16},
        {"n_batches_in_buffer": 8, "train_batch_size_tokens": 4, "store_batch_size_prompts": 3},
    ):
        before = batches(5, **sizes)
        with fixes.applied(SLUG):
            after = batches(5, **sizes)
        assert len(before) == 15
        assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


def test_a_buffer_too_small_as_documented_is_refused() -> None:
    sizes = {"n_batches_in_buffer": 2, "store_batch_size_prompts": 2, "train_batch_size_tokens": 17}
    with fixes.applied(SLUG), pytest.raises(ValueError, match="Buffer size"):
        batches(1, **sizes)


class Counting(PlantedModel):
    """A model that counts the rows it was given."""

    rows = 0

    def forward(self, tokens: Any, attention_mask: Any = None) -> Any:
        self.rows += tokens.shape[0]
        return super().forward(tokens, attention_mask)
