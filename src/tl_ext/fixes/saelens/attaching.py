"""What the fixes of attached dictionaries share: what a dictionary stands in for, and putting it back.

SAELens attaches a dictionary by putting a wrapper in the place of a hook point, and detaches it by putting
a new hook point there. The fixes remember which hook point it was.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

_KEY = "_tl_ext_attachment"


@dataclass
class Attachment:
    """Where a wrapper of SAELens' stands in a model.

    Attributes:
        reads: The hook point the dictionary reads, by the model's own name.
        writes: The hook point it stands at; `reads` again for an SAE.
        covered: The hook point in whose place it stands.
        source: The hook point at `reads`; where a dictionary stands there, the one that it covers.
        capture: For a transcoder, the hook point at which its input is captured, and the handle of the
            hook that does so.
    """

    reads: str
    writes: str
    covered: Any
    source: Any
    capture: tuple[Any, Any] | None = None

    @property
    def is_transcoder(self) -> bool:
        """Whether it stands at another hook point than the one it reads."""
        return self.reads != self.writes

    def stop_capturing(self) -> None:
        """Take the capturing hook, and no other, from the hook point it is at."""
        if self.capture is not None:
            point, handle = self.capture
            handle.hook.remove()
            point.fwd_hooks = [one for one in point.fwd_hooks if one is not handle]
            self.capture = None


def attachment(wrapper: Any) -> Attachment | None:
    """What is remembered of a wrapper; None where it was attached before the fix was applied."""
    found: Attachment | None = getattr(wrapper, "__dict__", {}).get(_KEY)
    return found


def standing(model: Any, name: str) -> Any:
    """What stands at a name of the model's: a hook point, a wrapper, or None."""
    from sae_lens.analysis.hooked_sae_transformer import get_deep_attr

    try:
        return get_deep_attr(model, name)
    except (AttributeError, IndexError):
        return None


def place(model: Any, name: str, what: Any) -> None:
    """Put a hook point, or a wrapper with its hook points, at a name of the model's."""
    from sae_lens.analysis.hooked_sae_transformer import set_deep_attr
    from transformer_lens.hook_points import HookPoint

    called = getattr(what, "name", None)
    set_deep_attr(model, name, what)
    if isinstance(what, HookPoint):
        # A bridge's component has named it anew, by the last part alone.
        what.name = called
    registry = vars(model).get("_hook_registry")
    if registry is None:
        return
    registry[name] = what
    if attachment(what) is not None:
        for last, point in what.named_children():
            point.name = f"{name}.{last}"
            registry[point.name] = point


def remembering(add_sae: Callable[..., Any]) -> Callable[..., Any]:
    """`add_sae` of either class, with an
    [`Attachment`][tl_ext.fixes.saelens.attaching.Attachment] on the wrapper.

    Args:
        add_sae: What is there now.
    """

    @wraps(add_sae)
    def add(self: Any, sae: Any, *args: Any, **options: Any) -> Any:
        key = sae.cfg.metadata.hook_name
        resolve = getattr(self, "_resolve_hook_name", str)
        reads, writes = resolve(key), resolve(sae.cfg.metadata.hook_name_out or key)
        source, covered = _beneath(self, reads), _beneath(self, writes)
        hooks = list(source.fwd_hooks) if source is not None else []
        before = list(self._acts_to_saes.values())
        result = add_sae(self, sae, *args, **options)
        wrapper = self._acts_to_saes.get(key)
        if wrapper in (None, *before) or attachment(wrapper) is not None:
            return result
        for former in before:
            known = attachment(former)
            if known is not None and known.writes == writes and former not in _attached(self):
                known.stop_capturing()
        if source is not None and covered is not None:
            new = next((hook for hook in source.fwd_hooks if hook not in hooks), None)
            capture = None if new is None or reads == writes else (source, new)
            wrapper.__dict__[_KEY] = Attachment(reads, writes, covered, source, capture)
        return result

    return add


def _attached(model: Any) -> list[Any]:
    return list(model._acts_to_saes.values())


def _beneath(model: Any, name: str) -> Any:
    """The hook point at a name of the model's, also where a wrapper stands for it."""
    from transformer_lens.hook_points import HookPoint

    there = standing(model, name)
    known = attachment(there)
    if known is not None:
        return known.covered
    return there if isinstance(there, HookPoint) else None


def putting_back(reset_sae: Callable[..., Any]) -> Callable[..., Any]:
    """`_reset_sae` of either class, that takes away what attaching had put there, and no more.

    The hook point that a dictionary stood in for is put back, of the hooks at the hook point that a
    transcoder reads only the capturing one is removed, and a dictionary that is attached again has the
    hooks it had.

    Args:
        reset_sae: What is there now.
    """

    @wraps(reset_sae)
    def put_back(self: Any, act_name: str, prev_wrapper: Any = None) -> Any:
        known = attachment(self._acts_to_saes.get(act_name))
        if known is None:
            return reset_sae(self, act_name, prev_wrapper)
        known.stop_capturing()
        # Upstream clears the hook point that a transcoder reads: let it find no hooks there.
        kept, known.source.fwd_hooks = known.source.fwd_hooks, []
        try:
            result = reset_sae(self, act_name)
        finally:
            known.source.fwd_hooks = kept
        if attachment(standing(self, known.writes)) is None:
            place(self, known.writes, known.covered)
        if prev_wrapper is not None:
            _attach_again(self, prev_wrapper)
        return result

    return put_back


def _attach_again(model: Any, former: Any) -> None:
    """Attach a dictionary as it was attached, with the hooks on it."""
    from transformer_lens.hook_points import HookPoint

    taken = inspect.signature(model.add_sae).parameters
    settings = {name: value for name, value in vars(former).items() if name in taken}
    if hasattr(type(model), "setup"):
        # A HookedSAETransformer looks names up in what this makes.
        model.setup()
    before = _attached(model)
    model.add_sae(former.sae, **settings)
    for again in _attached(model):
        known = attachment(again)
        if again in before or known is None:
            continue
        for name, point in list(former.named_children()):
            if isinstance(point, HookPoint):
                setattr(again, name, point)
        place(model, known.writes, again)
