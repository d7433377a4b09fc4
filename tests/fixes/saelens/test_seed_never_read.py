"""A run of SAELens follows its seed, and leaves torch's generator as it found it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tl_ext import fixes
from tl_ext.fixes.saelens.planted import PlantedModel, rows, training, training_several
from tl_ext.fixes.saelens.seed_never_read import SLUG

pytestmark = pytest.mark.saelens

RUNNERS = {"one": training, "several": training_several}


def trained(make: Callable[..., Any], **settings: Any) -> torch.Tensor:
    """All decoder directions after a run of sixteen steps."""
    runner = make(PlantedModel(), rows(), training_tokens=64, **settings)
    torch.rand(3)  # what a user draws between making and running
    done = runner.run()
    found = done.values() if isinstance(done, dict) else [done]
    return torch.cat([dictionary.W_dec.detach() for dictionary in found])


@pytest.mark.parametrize("kind", RUNNERS)
def test_one_seed_one_dictionary(kind: str) -> None:
    make = RUNNERS[kind]
    with fixes.applied(SLUG):
        torch.manual_seed(0)
        first = trained(make, seed=7)
        torch.manual_seed(1)
        again = trained(make, seed=7)
        other = trained(make, seed=8)
        prefetched = trained(make, seed=7, prefetch_llm_batches=2)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(first, prefetched)
    if kind == "several":
        assert not torch.equal(first[:4], first[4:]), "two dictionaries of one run differ"


@pytest.mark.parametrize("kind", RUNNERS)
def test_torchs_generator_is_left_where_it_was(kind: str) -> None:
    with fixes.applied(SLUG):
        torch.manual_seed(0)
        runner = RUNNERS[kind](PlantedModel(), rows())
        runner.run()
        found = torch.rand(4)
    torch.manual_seed(0)
    assert torch.equal(found, torch.rand(4))


def test_an_error_leaves_it_too() -> None:
    class Broken(PlantedModel):
        def forward(self, tokens: Any, attention_mask: Any = None) -> Any:
            raise RuntimeError("broken")

    with fixes.applied(SLUG):
        runner = training(Broken(), rows())
        torch.manual_seed(0)
        with pytest.raises(RuntimeError, match="broken"):
            runner.run()
        found = torch.rand(4)
    torch.manual_seed(0)
    assert torch.equal(found, torch.rand(4))


def test_a_resumed_run_follows_its_seed(tmp_path: Path) -> None:
    with fixes.applied(SLUG):
        training(
            PlantedModel(), rows(), seed=7, checkpoint_path=str(tmp_path), n_checkpoints=1
        ).run()
        (weights,) = tmp_path.rglob("sae_weights.safetensors")
        settings = {"seed": 7, "resume_from_checkpoint": str(weights.parent)}
        assert torch.equal(trained(training, **settings), trained(training, **settings))


def test_it_is_applied_by_who_asks_for_it() -> None:
    """Runs of the default seed would all be the same run."""
    assert not fixes.specs()[SLUG].recommended
