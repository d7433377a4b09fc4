"""SAELens: a training run that is interrupted loses its weights.

On SIGTERM or Ctrl-C the runner of one dictionary writes where it was in the data set and its settings
into a folder that nobody has made: the run ends in "No such file or directory" in place of the
interruption, and neither weights nor the optimizer's state are on disk. Clusters that pre-empt jobs send
SIGTERM.

Under the fix the trainer saves a checkpoint first, as the runner of several dictionaries does and as
`n_checkpoints` asks for: weights, settings, optimizer, and the place in the data set. What interrupted
the run is then raised as it was, and `resume_from_checkpoint` goes on from there. With
`checkpoint_path=None` nothing is written, as documented. A second signal during the saving ends it.
Source: `sae_lens/llm_sae_training_runner.py`, `run_trainer_with_interruption_handling`.
"""

from __future__ import annotations

import io
import signal
import tempfile
from collections.abc import Callable
from contextlib import redirect_stderr
from functools import partial, wraps
from pathlib import Path
from typing import Any

from tl_ext.fixes.probing import Finding, State
from tl_ext.fixes.saelens.planted import PlantedModel, rows, training
from tl_ext.fixes.saelens.views import View

SLUG = "interrupted-training-loses-weights"


def wrap(run: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """The replacement for `run_trainer_with_interruption_handling`.

    Args:
        run: What is there now: runs a trainer for a runner.

    Returns:
        The same with a trainer that saves itself before an interruption leaves it.
    """

    @wraps(run)
    def saving(runner: Any, trainer: Any) -> Any:
        return run(runner, View(trainer, fit=partial(_fit, trainer)))

    return saving


def _fit(trainer: Any) -> Any:
    """Train; an interruption leaves a checkpoint."""
    from sae_lens.training._interruption import InterruptedException

    try:
        return trainer.fit()
    except (KeyboardInterrupt, InterruptedException):
        if trainer.cfg.checkpoint_path is not None:
            # The name that upstream looks for.
            trainer.save_checkpoint(checkpoint_name=str(trainer.n_training_samples))
        raise


class _Interrupted(PlantedModel):
    """A model whose run is interrupted while it computes, as a signal would do it."""

    left = 6

    def forward(self, tokens: Any, attention_mask: Any = None) -> Any:
        from sae_lens.training._interruption import interrupt_callback

        self.left -= 1
        if not self.left:
            interrupt_callback(signal.SIGTERM, None)
        return super().forward(tokens, attention_mask)


def probe() -> Finding:
    """Interrupt a run after its first steps and look for its weights.

    Returns:
        PRESENT where there are none on disk, ABSENT where they are and load.
    """
    from sae_lens import TrainingSAE
    from sae_lens.training._interruption import InterruptedException

    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with tempfile.TemporaryDirectory() as folder, redirect_stderr(io.StringIO()):
        runner = training(_Interrupted(), rows(), checkpoint_path=folder)
        error: Exception | None = None
        try:
            runner.run()
        except Exception as raised:
            error = raised
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        if error is None:
            return Finding(State.UNKNOWN, "the run was not interrupted")
        saved = [path.parent for path in Path(folder).rglob("sae_weights.safetensors")]
        if isinstance(error, InterruptedException) and saved:
            TrainingSAE.load_from_disk(saved[0])
            return Finding(State.ABSENT, f"the weights after {saved[0].name} tokens are saved")
    return Finding(State.PRESENT, f"no weights are saved; the run ends in {type(error).__name__}")
