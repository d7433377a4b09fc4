"""Runs of SAELens whose activations say where they come from, made in milliseconds.

For probes and tests: what a store or a runner did with a token can be read off what it yields.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType, SimpleNamespace
from typing import Any

HOOK_POINT = "blocks.0.hook_resid_pre"
WIDTH = 2
"""How many coordinates an activation has: the token's id, and to how many tokens it could attend."""

SIZES: Mapping[str, int] = MappingProxyType(
    {
        "context_size": 4,
        "n_batches_in_buffer": 4,
        "store_batch_size_prompts": 1,
        "train_batch_size_tokens": 4,
    }
)
"""Of a store of four tokens a row, one row at a time."""


class PlantedModel:
    """What SAELens asks of a model, without weights.

    An activation is `[id of its token, tokens it could attend to]`, at every hook point.
    """

    def __init__(self, *, dtype: Any = None, tokenizer: Any = None) -> None:
        """Make one.

        Args:
            dtype: What it computes in; None for float32.
            tokenizer: What it offers as its tokenizer.
        """
        import torch

        self.dtype = dtype or torch.float32
        self.tokenizer = tokenizer
        self.cfg = SimpleNamespace(device=torch.device("cpu"))

    def forward(self, tokens: Any, attention_mask: Any = None) -> Any:
        """Activations of tokens.

        Args:
            tokens: Ids, [batch pos].
            attention_mask: 1 for what is attended to, [batch pos]; None for all.

        Returns:
            [batch pos WIDTH].
        """
        import torch

        attended = torch.ones_like(tokens) if attention_mask is None else attention_mask
        return torch.stack([tokens, attended.cumsum(1)], dim=-1).to(self.dtype)

    def run_with_cache(
        self,
        tokens: Any,
        *,
        names_filter: Sequence[str],
        stop_at_layer: int | None = None,
        prepend_bos: bool = False,
        **options: Any,
    ) -> tuple[None, dict[str, Any]]:
        """Activations as a cache, under every name that is asked for."""
        activations = self.forward(tokens, **options)
        return None, dict.fromkeys(names_filter, activations)


def rows(n: int = 64, *, length: int = 4) -> Any:
    """Tokenised rows as a data set of Hugging Face's; row `n` holds `length` times the id `n`."""
    from datasets import Dataset

    return Dataset.from_dict({"input_ids": [[number] * length for number in range(n)]})


def store(model: Any, dataset: Any, **changes: Any) -> Any:
    """A store of four tokens a row, one row at a time.

    Args:
        model: Whose activations it yields.
        dataset: Its rows or texts.
        changes: Other arguments of `ActivationsStore`.
    """
    import torch
    from sae_lens.training.activations_store import ActivationsStore

    return ActivationsStore(
        **{
            "model": model,
            "dataset": dataset,
            "streaming": False,
            "hook_name": HOOK_POINT,
            "hook_head_index": None,
            "d_in": WIDTH,
            "total_training_tokens": 4,
            "prepend_bos": False,
            "normalize_activations": "none",
            "device": torch.device("cpu"),
            "dtype": "float32",
            **SIZES,
        }
        | changes
    )


def several_hooks(model: Any, dataset: Any, **changes: Any) -> Any:
    """The same for two hook points at once.

    Args:
        model: Whose activations it yields.
        dataset: Its rows or texts.
        changes: Other arguments of `ActivationsStore.from_config_multi_hook`.
    """
    from sae_lens.training.activations_store import ActivationsStore

    names = [HOOK_POINT, "blocks.1.hook_resid_pre"]
    settings: dict[str, Any] = {
        "hook_names": names,
        "hook_d_ins": dict.fromkeys(names, WIDTH),
        "streaming": False,
        **SIZES,
    }
    return ActivationsStore.from_config_multi_hook(model, dataset=dataset, **settings | changes)


RUN: Mapping[str, Any] = {
    **SIZES,
    "hook_name": HOOK_POINT,
    "training_tokens": 16,
    "checkpoint_path": None,
    "output_path": None,
}
"""A run of four steps that writes nothing."""


def training(model: Any, dataset: Any, **changes: Any) -> Any:
    """A runner of one dictionary.

    Args:
        model: Whose activations it learns.
        dataset: Its rows or texts.
        changes: Other settings of `LanguageModelSAERunnerConfig`.
    """
    from sae_lens import (
        LanguageModelSAERunnerConfig,
        LanguageModelSAETrainingRunner,
        LoggingConfig,
        StandardTrainingSAEConfig,
    )

    settings = {
        **RUN,
        "sae": StandardTrainingSAEConfig(d_in=WIDTH, d_sae=4),
        "logger": LoggingConfig(log_to_wandb=False),
        "verbose": False,
    }
    config = LanguageModelSAERunnerConfig(**settings | changes)
    return LanguageModelSAETrainingRunner(config, override_dataset=dataset, override_model=model)


def training_several(model: Any, dataset: Any, **changes: Any) -> Any:
    """A runner of two dictionaries, at one hook point each.

    Args:
        model: Whose activations they learn.
        dataset: Its rows or texts.
        changes: Other settings of `MultiSAETrainingRunnerConfig`.
    """
    from sae_lens import LoggingConfig, StandardTrainingSAEConfig
    from sae_lens.multi_sae_training_runner import (
        MultiSAETrainingRunner,
        MultiSAETrainingRunnerConfig,
    )

    hooks = {"first": HOOK_POINT, "second": "blocks.1.hook_resid_pre"}
    settings = {
        **RUN,
        "saes": {name: StandardTrainingSAEConfig(d_in=WIDTH, d_sae=4) for name in hooks},
        "hook_names": hooks,
        "logger": LoggingConfig(log_to_wandb=False),
    }
    settings.pop("hook_name")
    config = MultiSAETrainingRunnerConfig(**settings | changes)
    return MultiSAETrainingRunner(config, override_dataset=dataset, override_model=model)
