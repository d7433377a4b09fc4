"""Caches of activations, written by SAELens' runner for a model made by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tl_ext.fixes.saelens.planted import HOOK_POINT, WIDTH


def caching(model: Any, dataset: Any, folder: Path, **changes: Any) -> Any:
    """A runner that writes the activations of a planted model into a folder.

    Args:
        model: Whose activations it writes; upstream would load one by name.
        dataset: Its rows.
        folder: Where to.
        changes: Other settings of `CacheActivationsRunnerConfig`.
    """
    from sae_lens import CacheActivationsRunner, CacheActivationsRunnerConfig

    settings: dict[str, Any] = {
        "dataset_path": "unused",
        "model_name": "planted",
        "model_batch_size": 2,
        "hook_name": HOOK_POINT,
        "d_in": WIDTH,
        "new_cached_activations_path": str(folder),
        "shuffle": False,
        "device": "cpu",
    }
    config = CacheActivationsRunnerConfig(**settings | changes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sae_lens.cache_activations_runner.load_model", lambda *_, **__: model)
        return CacheActivationsRunner(config, override_dataset=dataset)
