"""Examples that checks are asked with: a config, weights and tokens, drawn by Hypothesis."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from tl_ext.conformance import subject as subjects
from tl_ext.conformance.spec import ConformanceSpec
from tl_ext.models.activation import activate
from tl_ext.upstream import own_architectures

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy
    from transformers import PretrainedConfig


@dataclass(frozen=True)
class Example:
    """A tiny model, and tokens.

    Attributes:
        config: The config.
        seed: What weights and noise are drawn from.
        ids: Tokens, row by row, as many in each.
    """

    config: PretrainedConfig
    seed: int
    ids: tuple[tuple[int, ...], ...]

    @property
    def settings(self) -> dict[str, Any]:
        """What the config says that is not its class's default."""
        usual = type(self.config)().to_dict()
        derived = ("transformers_version", "model_type", "architectures", "_attn_implementation")
        return {
            name: value
            for name, value in self.config.to_dict().items()
            if name not in derived and (name not in usual or usual[name] != value)
        }

    def __str__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.settings.items())
        return f"{type(self.config).__name__}({shown}), seed {self.seed}, tokens {list(self.ids)}"


def examples(spec: ConformanceSpec) -> SearchStrategy[Example]:
    """Examples of an architecture, small ones first.

    Args:
        spec: The architecture.
    """
    from hypothesis import strategies as st

    @st.composite
    def drawn(draw: Callable[[Any], Any]) -> Example:
        config = spec.draw_config(draw)
        words = config.get_text_config().vocab_size
        rows, length = draw(st.integers(1, 2)), draw(st.integers(4, 7))
        token = st.integers(3, words - 1)
        # Of tokens that are all the same every query sees the same, whatever its pattern.
        row = st.lists(token, min_size=length, max_size=length, unique=True).map(tuple)
        ids = draw(st.lists(row, min_size=rows, max_size=rows))
        return Example(config, draw(st.integers(0, 3)), tuple(ids))

    return drawn()


def first(strategy: SearchStrategy[Example], count: int) -> list[Example]:
    """The same few examples at each call: the smallest, and others drawn without chance.

    Args:
        strategy: What to draw from.
        count: How many.
    """
    from hypothesis import HealthCheck, Phase, given, settings

    found: list[Example] = []

    @settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(example: Example) -> None:
        found.append(example)

    collect()
    return found


def subject_of(spec: ConformanceSpec, example: Example) -> subjects.Subject:
    """Build the model of an example; for an architecture that a plugin brings, `activate` is called before.

    Args:
        spec: The architecture.
        example: The example.
    """
    if spec.name not in own_architectures():
        # A plugin's, or ours: it boots once its adapter is registered.
        activate(quiet=True)
    state = torch.random.get_rng_state()
    try:
        torch.manual_seed(example.seed)
        model = spec.build(example.config).eval()
        # The same draws as a script makes, from torch's own generator.
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += subjects.SPREAD * torch.randn_like(parameter)
    finally:
        torch.random.set_rng_state(state)
    return subjects.of_model(
        model,
        torch.tensor(example.ids),
        spec.capabilities,
        seed=example.seed,
        architecture=spec.name,
    )
