"""What is checked: a dictionary, the hooked model it stands in, and tokens."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, is_dataclass, replace
from functools import cached_property
from inspect import getattr_static
from typing import Any

import torch
from torch import Tensor

from tl_ext.conformance.checking import TOLERANCE, DictionaryCapability
from tl_ext.conformance.dictionaries.keeping import kept
from tl_ext.conformance.subject import Hook
from tl_ext.dictionaries.dictionary import Dictionary
from tl_ext.errors import HookPointError, InputError, nearest

Rows = Callable[[Tensor], Tensor]
"""From what is read `[... d_in]` to what is put in place `[... d_out]`."""

Attach = Callable[[bool], AbstractContextManager[Any]]
"""Attaches the dictionary for as long as a context lasts, with its error term or without."""


@dataclass(frozen=True)
class Place:
    """Where something is put into the model by hand.

    Attributes:
        reads: The hook point that is read.
        writes: The hook point that is changed.
        rows: What is put there.
    """

    reads: str
    writes: str
    rows: Rows


@dataclass
class DictionarySubject:
    """A dictionary under check. It is shared by all checks, and they leave it and its model as they were.

    Attributes:
        sae: SAELens' object; None where there is none.
        reference: The same weights in an object that no model has touched, heads side by side.
        ours: The same dictionary as this package computes it.
        bridge: The hooked model.
        ids: Tokens [batch, position], all of them real.
        capabilities: What is claimed.
        seed: What noise and companions are drawn from.
    """

    sae: Any
    reference: Any
    ours: Dictionary
    bridge: Any
    ids: Tensor
    capabilities: frozenset[DictionaryCapability]
    seed: int = 0

    @property
    def dtype(self) -> torch.dtype:
        """The type the dictionary computes in."""
        return self.ours.directions.dtype

    @property
    def tolerance(self) -> float:
        """The largest error that is rounding."""
        return TOLERANCE[self.dtype]

    @property
    def told(self) -> str:
        """What it is called in a report."""
        kind = type(self.ours if self.sae is None else self.sae).__name__
        where = (
            self.hook_in if self.hook_in == self.hook_out else f"{self.hook_in} to {self.hook_out}"
        )
        return f"{kind} at {where}"

    @property
    def hook_in(self) -> str:
        """The hook point it reads, by the bridge's own name."""
        return self.ours.hook_in

    @property
    def hook_out(self) -> str:
        """The hook point it writes, by the bridge's own name."""
        return self.ours.hook_out

    @cached_property
    def x(self) -> Tensor:
        """What it reads in the model [batch, position, d_in]."""
        return self.held([self.hook_in])[self.hook_in]

    @cached_property
    def y(self) -> Tensor:
        """What is there where it writes [batch, position, d_out]."""
        return self.held([self.hook_out])[self.hook_out]

    @cached_property
    def logits(self) -> Tensor:
        """The model's logits without the dictionary [batch, position, d_vocab]."""
        return self.run()

    @property
    def ways(self) -> Mapping[str, Attach]:
        """How it can be put into the model, by whose way it is."""
        from tl_ext.interventions.applied import applied
        from tl_ext.interventions.edits import Splice

        ways: dict[str, Attach] = {
            "tl_ext": lambda error: applied(self.bridge, Splice(self.ours, keep_error=error))
        }
        if "attaches" in self.capabilities:
            ways["SAELens"] = lambda error: self.bridge.saes([self.sae], use_error_term=error)
        return ways

    @torch.no_grad()
    def reconstruct(self, x: Tensor) -> Tensor:
        """What the dictionary makes of rows when it is called by itself, heads side by side.

        Args:
            x: Rows [... d_in].
        """
        made: Tensor = self.ours.reconstruct(x) if self.sae is None else self.reference(x)
        return made

    @property
    def place(self) -> Place:
        """The dictionary, for a splice by hand."""
        return Place(self.hook_in, self.hook_out, self.reconstruct)

    def run(self, hooks: Sequence[Hook] = ()) -> Tensor:
        """The model's logits under hooks.

        Args:
            hooks: Functions of (activation, hook) by name.
        """
        with torch.no_grad():
            logits: Tensor = self.bridge.run_with_hooks(self.ids, fwd_hooks=list(hooks))
        return logits

    def held(self, names: Sequence[str]) -> dict[str, Tensor]:
        """What hook points hold in one forward pass, heads side by side.

        Args:
            names: The hook points.
        """
        found: dict[str, Tensor] = {}

        def keeping(name: str) -> Callable[[Tensor, Any], None]:
            def keep(activation: Tensor, hook: Any) -> None:
                found[name] = flat(activation).detach().clone()

            return keep

        self.run([(name, keeping(name)) for name in names])
        return found

    def by_hand(self, *places: Place, edits: Sequence[Hook] = ()) -> Tensor:
        """Logits with reconstructions put in place by plain hooks.

        Args:
            places: What is put where, in the order of what reads first.
            edits: Hooks that come before.
        """
        seen: dict[int, Tensor] = {}
        hooks: list[Hook] = list(edits)
        for number, place in enumerate(places):

            def read(activation: Tensor, hook: Any, number: int = number) -> None:
                seen[number] = flat(activation)

            def write(
                activation: Tensor, hook: Any, number: int = number, place: Place = place
            ) -> Tensor:
                made = place.rows(seen.pop(number))
                return made.reshape(activation.shape).to(activation.dtype)

            hooks += [(place.reads, read), (place.writes, write)]
        return self.run(hooks)

    def noise(self, like: Tensor) -> Tensor:
        """Noise of the size of an activation, the same for the same shape.

        Args:
            like: An activation.
        """
        generator = torch.Generator().manual_seed(self.seed)
        scale = like.detach().float().std(unbiased=False).clamp(min=0.1)
        return (torch.randn(like.shape, generator=generator) * scale).to(like.dtype)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Whatever is done to model and dictionary is taken back at the end."""
        with kept(self.bridge, *([] if self.sae is None else [self.sae])):
            yield


def flat(activation: Tensor) -> Tensor:
    """An activation with its heads side by side.

    Args:
        activation: `[batch position d]`, or `[batch position head d_head]`.
    """
    return activation.flatten(2)


def own_name(bridge: Any, name: str) -> str:
    """A hook point's own name, whichever it is given by.

    Args:
        bridge: The hooked model.
        name: Any name of it.

    Raises:
        HookPointError: The model has no such hook point.
    """
    points = table(bridge)
    if name not in points:
        raise HookPointError(f"The model has no hook point {name!r}.{nearest(name, points)}")
    return str(points[name].name)


def table(bridge: Any) -> dict[str, Any]:
    """The hook points by all their names, as TransformerBridge has them: SAELens' class may leave some out.

    Args:
        bridge: The hooked model, with nothing attached.
    """
    from transformer_lens.model_bridge import TransformerBridge

    hook_dict: Any = getattr_static(TransformerBridge, "hook_dict")
    points: dict[str, Any] = hook_dict.fget(bridge)
    return points


def of_dictionary(
    dictionary: Any,
    model: Any,
    tokens: Tensor | Sequence[Sequence[int]],
    *,
    seed: int = 0,
) -> DictionarySubject:
    """Make a subject of a dictionary and a model.

    Args:
        dictionary: SAELens' object, or a dictionary of this package.
        model: The hooked model, with nothing attached: SAETransformerBridge for all checks, any
            TransformerBridge for those of this package's own splices.
        tokens: Tokens [batch, position], all of them real.
        seed: What noise is drawn from.

    Raises:
        HookPointError: The model has no such hook point.
        InputError: The model is no bridge, or has something attached.
    """
    if not hasattr(model, "original_model"):
        raise InputError(
            f"A TransformerBridge is expected, not {type(model).__name__}: boot it with load_model or "
            "SAETransformerBridge.boot_transformers."
        )
    if getattr(model, "acts_to_saes", None):
        raise InputError(
            f"The model has dictionaries attached at {', '.join(model.acts_to_saes)}. Take them back "
            "with reset_saes(), and what is left of them by booting the model anew."
        )
    sae, reference, ours = None, None, dictionary
    if isinstance(dictionary, torch.nn.Module):
        from tl_ext.dictionaries.saelens import from_saelens

        sae, reference, ours = dictionary, _again(dictionary), from_saelens(dictionary)
    ours = _at(ours, own_name(model, ours.hook_in), own_name(model, ours.hook_out))
    ids = torch.as_tensor(tokens)
    claimed = _claims(sae, model, ids)
    return DictionarySubject(sae, reference, ours, model, ids, claimed, seed)


def _at(dictionary: Any, hook_in: str, hook_out: str) -> Any:
    """The same dictionary, its hook points under other names."""
    if is_dataclass(dictionary):
        return replace(dictionary, hook_in=hook_in, hook_out=hook_out)  # type: ignore[type-var]
    twin = copy.copy(dictionary)
    twin.hook_in, twin.hook_out = hook_in, hook_out
    return twin


def _again(sae: Any) -> Any:
    """The same dictionary in another object, which shares nothing with it."""
    again = type(sae)(copy.deepcopy(sae.cfg))
    again.load_state_dict(sae.state_dict())
    again.turn_off_forward_pass_hook_z_reshaping()
    return again.to(sae.W_dec.dtype).eval()


def _claims(sae: Any, model: Any, ids: Tensor) -> frozenset[DictionaryCapability]:
    claimed: set[DictionaryCapability] = set()
    if sae is not None:
        claimed.add("saelens")
        if hasattr(model, "saes"):
            claimed.add("attaches")
        if sae.cfg.normalize_activations in ("layer_norm", "constant_norm_rescale"):
            claimed.add("scales-by-input")
        try:
            _again(sae).fold_W_dec_norm()
            claimed.add("folds-norms")
        except NotImplementedError:
            pass
    if texts(model, ids) is not None:
        claimed.add("texts")
    return frozenset(claimed)


def texts(model: Any, ids: Tensor) -> list[str] | None:
    """The texts of tokens; None where the model's tokenizer makes other tokens of them.

    Args:
        model: The hooked model.
        ids: Tokens [batch, position].
    """
    tokenizer = model.tokenizer
    found = [tokenizer.decode(row) for row in ids.tolist()]
    back = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in found]
    return found if back == ids.tolist() else None
