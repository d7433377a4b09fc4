"""An interrupted run of SAELens leaves a checkpoint that loads and that training goes on from."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tl_ext import fixes
from tl_ext.fixes.saelens.interrupted_training_loses_weights import SLUG
from tl_ext.fixes.saelens.planted import PlantedModel, rows, training, training_several

pytestmark = pytest.mark.saelens

IN_A_CHECKPOINT = {
    "sae_weights.safetensors",
    "cfg.json",
    "sparsity.safetensors",
    "trainer_state.pt",
    "activation_scaler.json",
    "activations_store_state.safetensors",
    "runner_cfg.json",
}


@pytest.fixture(autouse=True)
def _signals_as_they_were() -> Iterator[None]:
    numbers = (signal.SIGINT, signal.SIGTERM)
    handlers = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, handlers, strict=True):
        signal.signal(number, handler)


class Signalling(PlantedModel):
    """A model that lets its own process be signalled when it has computed often enough."""

    def __init__(self, number: int, *, after: int) -> None:
        super().__init__()
        self.number, self.left = number, after

    def forward(self, tokens: Any, attention_mask: Any = None) -> Any:
        self.left -= 1
        if not self.left:
            os.kill(os.getpid(), self.number)
        return super().forward(tokens, attention_mask)


def checkpoint(folder: Path) -> Path:
    (found,) = [path.parent for path in folder.rglob("sae_weights.safetensors")]
    return found


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_was_learnt_is_on_disk_and_training_goes_on(tmp_path: Path, number: int) -> None:
    from sae_lens import TrainingSAE
    from sae_lens.training._interruption import InterruptedException

    runner = training(Signalling(number, after=6), rows(), checkpoint_path=str(tmp_path))
    begin = runner.sae.W_dec.detach().clone()
    with fixes.applied(SLUG), pytest.raises(InterruptedException):
        runner.run()
    folder = checkpoint(tmp_path)
    assert {path.name for path in folder.iterdir()} == IN_A_CHECKPOINT
    saved = TrainingSAE.load_from_disk(folder)
    torch.testing.assert_close(saved.W_dec, runner.sae.W_dec, atol=0, rtol=0)
    assert not torch.equal(saved.W_dec, begin), "some steps were taken"
    assert saved.cfg.metadata.hook_name == runner.cfg.hook_name
    assert 0 < int(folder.name) < runner.cfg.training_tokens

    class Watched(PlantedModel):
        def __init__(self) -> None:
            super().__init__()
            self.seen: list[int] = []

        def forward(self, tokens: Any, attention_mask: Any = None) -> Any:
            self.seen.append(int(tokens.min()))
            return super().forward(tokens, attention_mask)

    model = Watched()
    later = training(
        model, rows(), resume_from_checkpoint=str(folder), output_path=str(tmp_path / "out")
    )
    later.run()
    assert min(model.seen) == 6, "the rows before the signal are not read again"
    assert (tmp_path / "out" / "sae_weights.safetensors").exists()


def test_a_prefetched_run_is_saved_and_ends(tmp_path: Path) -> None:
    from sae_lens.training import sae_trainer
    from sae_lens.training._interruption import InterruptedException

    runner = training(
        PlantedModel(), rows(), checkpoint_path=str(tmp_path), prefetch_llm_batches=True
    )
    step = sae_trainer.SAETrainer._train_step

    def signalled(self: Any, *args: Any, **options: Any) -> Any:
        if self.n_training_steps == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, *args, **options)

    with pytest.MonkeyPatch.context() as patch, fixes.applied(SLUG):
        patch.setattr(sae_trainer.SAETrainer, "_train_step", signalled)
        with pytest.raises(InterruptedException):
            runner.run()
    assert checkpoint(tmp_path).name == "12"


def test_where_nothing_is_to_be_written_nothing_is(tmp_path: Path) -> None:
    from sae_lens.training._interruption import InterruptedException

    runner = training(Signalling(signal.SIGTERM, after=6), rows(), checkpoint_path=None)
    with pytest.MonkeyPatch.context() as patch, fixes.applied(SLUG):
        patch.chdir(tmp_path)
        with pytest.raises(InterruptedException):
            runner.run()
    assert list(tmp_path.iterdir()) == []


def test_an_error_is_no_interruption(tmp_path: Path) -> None:
    class Broken(PlantedModel):
        def forward(self, tokens: Any, attention_mask: Any = None) -> Any:
            raise RuntimeError("out of memory")

    runner = training(Broken(), rows(), checkpoint_path=str(tmp_path))
    with fixes.applied(SLUG), pytest.raises(RuntimeError, match="out of memory"):
        runner.run()
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_ends_is_as_it_was(tmp_path: Path) -> None:
    def trained(folder: Path) -> Any:
        torch.manual_seed(0)
        return training(PlantedModel(), rows(), checkpoint_path=str(folder), n_checkpoints=1).run()

    before = trained(tmp_path / "before")
    with fixes.applied(SLUG):
        after = trained(tmp_path / "after")
    assert torch.equal(before.W_dec, after.W_dec)
    assert checkpoint(tmp_path / "before").name == checkpoint(tmp_path / "after").name


def test_the_runner_of_several_saves_by_itself(tmp_path: Path) -> None:
    from sae_lens.training._interruption import InterruptedException

    runner = training_several(
        Signalling(signal.SIGTERM, after=6), rows(), checkpoint_path=str(tmp_path)
    )
    with fixes.applied(SLUG), pytest.raises(InterruptedException):
        runner.run()
    assert len(list(tmp_path.rglob("sae_weights.safetensors"))) == 2
