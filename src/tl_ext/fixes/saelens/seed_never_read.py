"""SAELens: `seed` of a training run is never read.

`LanguageModelSAERunnerConfig(seed=42)` and `MultiSAETrainingRunnerConfig(seed=42)` are saved with the
dictionary and change nothing: the weights begin, and activations are shuffled, as torch's generators
happen to stand.

Under the fix a runner is made, and run, with torch's generators seeded by `cfg.seed`; after each they are
put back as they were. The same configuration, model, data and device then give the same dictionary, up
to what the device itself leaves open. A run that resumes shuffles from the seed again, and is not the
run that was never interrupted, since the buffer is not saved. `CacheActivationsRunnerConfig.seed` is
read upstream.

It is not recommended to everybody, because the default is 42: somebody who runs one configuration
several times, or sets torch's seed before each, to see how dictionaries differ would get the same one
every time.
Source: `sae_lens/llm_sae_training_runner.py` and `sae_lens/multi_sae_training_runner.py`, `__init__` and
`run`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from tl_ext.fixes.probing import Finding, State
from tl_ext.fixes.saelens.planted import PlantedModel, rows, training, training_several

SLUG = "seed-never-read"


def wrap_init(init: Callable[..., None]) -> Callable[..., None]:
    """The replacement for a runner's `__init__`.

    Args:
        init: What is there now.

    Returns:
        The same under the seed of the configuration it is given.
    """

    @wraps(init)
    def seeded(self: Any, cfg: Any, *args: Any, **options: Any) -> None:
        _under(cfg.seed, lambda: init(self, cfg, *args, **options))

    return seeded


def wrap_run(run: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The replacement for a runner's `run`.

    Args:
        run: What is there now.

    Returns:
        The same under the seed of the runner's configuration.
    """

    @wraps(run)
    def seeded(self: Any) -> Any:
        return _under(self.cfg.seed, lambda: run(self))

    return seeded


def _under(seed: int, what: Callable[[], Any]) -> Any:
    """Do something with torch's generators seeded, and put them back."""
    import torch

    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        return what()


def probe() -> Finding:
    """Make runners of one seed while torch's generator stands elsewhere.

    Returns:
        PRESENT where their dictionaries begin with other weights, ABSENT where they begin alike.
    """
    import torch

    apart = []
    for kind, runner in (("one dictionary", training), ("several", training_several)):
        first, again = (
            _weights(runner(PlantedModel(), rows(), seed=7)) for _ in map(torch.manual_seed, (0, 1))
        )
        apart += [kind] * (not torch.equal(first, again))
    if apart:
        what = " and of ".join(apart)
        return Finding(State.PRESENT, f"two runners of {what} with seed 7 begin apart")
    return Finding(State.ABSENT, "two runners with one seed begin with the same weights")


def _weights(runner: Any) -> Any:
    """Decoder directions that a runner begins with."""
    import torch

    found = runner.saes.values() if hasattr(runner, "saes") else (runner.sae,)
    return torch.cat([dictionary.W_dec.detach() for dictionary in found])
