"""What is checked: a hooked model, the plain model it was made of, and tokens."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tl_ext import upstream
from tl_ext.conformance.checking import TOLERANCE, Capability
from tl_ext.conformance.texts import Kind, Reader, reader

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SPREAD = 0.2
"""How much normal noise every parameter of a random model gets: without it wrong wiring hides."""

_LEVEL = 9_137
"""A level of upstream's hooks that no context uses, so that ours alone are taken away."""

Hook = tuple[str, Callable[..., Any]]


@dataclass
class Subject:
    """A hooked model under check. It is shared by all checks of one example, and they leave it as it was.

    Attributes:
        bridge: The hooked model.
        reference: The plain model with the same weights, which no bridge has touched.
        ids: Tokens [batch, position], all of them real.
        capabilities: What it is claimed to do.
        seed: What noise is drawn from.
    """

    bridge: Any
    reference: PreTrainedModel
    ids: Tensor
    capabilities: frozenset[Capability]
    seed: int = 0
    _readers: dict[Kind, Reader] = field(default_factory=dict, repr=False)

    @property
    def dtype(self) -> torch.dtype:
        """The type the plain model computes in."""
        return next(self.reference.parameters()).dtype

    @property
    def tolerance(self) -> float:
        """The largest error that is rounding."""
        return TOLERANCE[self.dtype]

    @property
    def other_ids(self) -> Tensor:
        """Tokens [batch, position], each another than in `ids`: what is kept of a run shows in the next."""
        return torch.where(self.ids > 3, self.ids - 1, self.ids + 1)

    @cached_property
    def truth(self) -> Tensor:
        """The plain model's logits [batch, position, d_vocab]."""
        return self.plain(self.ids)

    @cached_property
    def logits(self) -> Tensor:
        """The hooked model's logits [batch, position, d_vocab], without any hook."""
        logits: Tensor = self.run()
        return logits

    @cached_property
    def points(self) -> dict[str, Any]:
        """The hook points that are switched on, by their own names, in the order they fire in."""
        order: dict[str, Any] = {}
        table = {id(point): (point.name, point) for point in self.bridge.hook_dict.values()}
        try:
            for name, point in table.values():

                def fired(*_: Any, name: str = name, point: Any = point, **__: Any) -> None:
                    order.setdefault(name, point)

                # As a hook of upstream's: some are left out of the way while they have none (Granite's).
                point.add_hook(fired, level=_LEVEL)
            self.run()
        finally:
            for _, point in table.values():
                point.remove_hooks("fwd", level=_LEVEL)
        return order

    @cached_property
    def cache(self) -> dict[str, Tensor]:
        """What every hook point held in one forward pass, by its own name."""
        return self.held(self.points)

    @cached_property
    def rows(self) -> tuple[Tensor, Tensor]:
        """Tokens of unequal length, two rows [position], none of them below 3."""
        ids = self.ids.clamp(min=3)
        return ids[0], ids[-1, ids.shape[1] // 2 :]

    def alone(self, rows: Iterable[Tensor]) -> list[Tensor]:
        """The plain model's logits [position, d_vocab] of each row by itself.

        Args:
            rows: Tokens [position].
        """
        return [self.plain(row[None])[0] for row in rows]

    def reader(self, kind: Kind) -> Reader:
        """A second bridge of the same weights, with a tokenizer of words; made once.

        Args:
            kind: Which tokenizer.
        """
        if kind not in self._readers:
            self._readers[kind] = reader(boot, self.reference, self.rows, kind)
        return self._readers[kind]

    def plain(self, ids: Tensor, **options: Any) -> Tensor:
        """The plain model's logits [batch, position, d_vocab].

        Args:
            ids: Tokens [batch, position].
            options: What its `forward` takes besides.
        """
        with torch.no_grad():
            logits: Tensor = self.reference(ids, use_cache=False, **options).logits
        return logits

    def run(self, hooks: Sequence[Hook] = (), *, ids: Tensor | None = None, **options: Any) -> Any:
        """The hooked model's logits [batch, position, d_vocab] under hooks.

        Args:
            hooks: Functions of (activation, hook) by name.
            ids: Tokens [batch, position]; None means those of the example.
            options: What its `run_with_hooks` takes besides.
        """
        ids = self.ids if ids is None else ids
        with torch.no_grad():
            return self.bridge.run_with_hooks(ids, fwd_hooks=list(hooks), **options)

    def held(
        self, names: Iterable[str], hooks: Sequence[Hook] = (), *, ids: Tensor | None = None
    ) -> dict[str, Tensor]:
        """What hook points hold in one forward pass.

        Args:
            names: The hook points.
            hooks: Functions that are there before.
            ids: Tokens [batch, position]; None means those of the example.
        """
        found: dict[str, Tensor] = {}

        def keep(activation: Any, hook: Any, name: str) -> None:
            if torch.is_tensor(activation):
                found[name] = activation.detach().clone()

        # A name of its own for each: `hook.name` is not always the one that was asked for.
        reading = [(name, _bound(keep, name)) for name in names]
        self.run([*hooks, *reading], ids=ids)
        return found

    def noise(self, like: Tensor) -> Tensor:
        """Noise of the size and type of an activation, the same for the same shape.

        Added, it shows where an activation goes; a factor would not, through a norm.

        Args:
            like: An activation.
        """
        generator = torch.Generator().manual_seed(self.seed)
        scale = like.detach().float().std(unbiased=False).clamp(min=0.1)
        drawn = torch.randn(like.shape, generator=generator) * scale
        return drawn.to(like.dtype)


def adding(noise: Tensor) -> Callable[[Tensor, Any], Tensor]:
    """A hook that adds the same to whatever it is given.

    Args:
        noise: What to add, of the activation's shape.
    """

    def add(activation: Tensor, hook: Any) -> Tensor:
        return activation + noise

    return add


def _bound(function: Callable[..., None], name: str) -> Callable[[Any, Any], None]:
    def bound(activation: Any, hook: Any) -> None:
        function(activation, hook, name)

    return bound


def boot(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase | None = None,
    *,
    architecture: str | None = None,
) -> Any:
    """A bridge of a plain model, in the model's own type; the model is the bridge's from then on.

    Args:
        model: The plain model, in memory.
        tokenizer: What to boot with; None for a stand-in.
        architecture: What its config calls it; None means its class's name.
    """
    from transformer_lens.model_bridge import TransformerBridge

    model.config.architectures = [architecture or type(model).__name__]
    return TransformerBridge.boot_transformers(
        "conformance",
        hf_model=model,
        tokenizer=upstream.stand_in_tokenizer() if tokenizer is None else tokenizer,
        device="cpu",
        dtype=model.dtype,
    )


def of_model(
    model: PreTrainedModel,
    ids: Tensor,
    capabilities: Iterable[Capability],
    *,
    seed: int = 0,
    architecture: str | None = None,
) -> Subject:
    """Make a subject of a plain model.

    Args:
        model: The plain model. It becomes the bridge's; the reference is a copy made before.
        ids: Tokens [batch, position].
        capabilities: What it is claimed to do.
        seed: What noise is drawn from.
        architecture: What its config calls it; None means its class's name.
    """
    reference = copy.deepcopy(model).eval()
    bridge = boot(model.eval(), architecture=architecture)
    return Subject(bridge, reference, ids, frozenset(capabilities), seed)
