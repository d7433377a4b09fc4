"""TransformerLens: inside a hook `hook.name` is the bridge's name, not the one it was put on under.

A hook on `blocks.1.hook_resid_post` is told that it stands at `blocks.1.hook_out`, in compatibility mode
too, so code of HookedTransformer's days that keeps activations by `hook.name` finds nothing under the
names it asked for. Upstream means to tell the other name in compatibility mode, but compares the point's
own name with itself; `add_hook` does not try.

Under the fix `hook.name` is the name that was asked for; of a filter, the bridge's name where the filter
chooses that one, else the first it chooses. The function is called once, as before: an edit must not
happen twice. A hook asked for under the bridge's own name is not touched. What the function gets for the
other names is a stand-in of the hook point that reads and writes everything through, and is not the same
object as the one in `hook_dict`.

It is not recommended to everybody: code that has got used to the bridge, asks under the old names and
keeps by the new ones, would find nothing then. The hooks of `get_caching_hooks` keep their names, which
upstream says.
Source: `add_hook_to_point` in `run_with_hooks` and `hooks`, and `add_hook`, in
`transformer_lens/model_bridge/bridge.py`, on 4.x in `bridge_core.py`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any

from tl_ext.fixes.probing import Finding, State
from tl_ext.fixes.tiny import gpt2_bridge

SLUG = "hook-name-is-not-the-one-asked-for"


def wrap_hooks(original: Callable[..., Any]) -> Callable[..., Any]:
    """The replacement for `run_with_hooks` and `hooks`.

    Args:
        original: What is there now.

    Returns:
        The same, whose hooks are told the names they were given.
    """
    signature = inspect.signature(original)

    @wraps(original)
    def under_the_names_given(self: Any, *args: Any, **options: Any) -> Any:
        given = signature.bind(self, *args, **options)
        for field in ("fwd_hooks", "bwd_hooks"):
            hooks = given.arguments.get(field)
            if hooks:
                points = self.hook_dict
                given.arguments[field] = [
                    (name, _told(points, name, function)) for name, function in hooks
                ]
        return original(*given.args, **given.kwargs)

    return under_the_names_given


def wrap_add_hook(original: Callable[..., Any]) -> Callable[..., Any]:
    """The replacement for `add_hook`, which `add_perma_hook` calls.

    Args:
        original: What is there now.

    Returns:
        The same, whose hooks are told the names they were given.
    """

    @wraps(original)
    def under_the_name_given(self: Any, name: Any, hook_fn: Any, *args: Any, **options: Any) -> Any:
        return original(self, name, _told(self.hook_dict, name, hook_fn), *args, **options)

    return under_the_name_given


def wrap_add_hook_of_a_point(original: Callable[..., Any]) -> Callable[..., Any]:
    """The replacement for `HookPoint.add_hook`: its handle shows the function that was given.

    Args:
        original: What is there now.
    """

    @wraps(original)
    def with_the_function_given(self: Any, hook: Any, *args: Any, **options: Any) -> Any:
        handle = original(self, hook, *args, **options)
        if isinstance(hook, _Told):
            for one in (*self.fwd_hooks, *self.bwd_hooks):
                if one.user_hook is hook:
                    one.user_hook = hook.function
        return handle

    return with_the_function_given


def _told(points: dict[str, Any], name: Any, function: Any) -> Any:
    """The function as it is where it is told the right name anyway, else one that is told another."""
    # Those of get_caching_hooks write under the point's own name, and the others they know.
    if "alias_names" in getattr(function, "keywords", ()):
        return function
    # As keys: a filter may choose hundreds, and each is looked for among them.
    chosen = dict.fromkeys([name] if isinstance(name, str) else filter(name, points))
    names: dict[int, str] = {}
    for one in chosen:
        point = points.get(one)
        if getattr(point, "name", None) not in chosen:
            names.setdefault(id(point), one)
    return _Told(function, names) if names else function


class _Told:
    """A hook function that is told another name than the hook point's own.

    Attributes:
        function: The function.
        names: The names to tell, by the id of the hook point.
    """

    def __init__(self, function: Any, names: dict[int, str]) -> None:
        self.function = function
        self.names = names

    def __call__(self, activation: Any, *hook: Any, **hook_by_name: Any) -> Any:
        # Upstream gives the hook point by name, under remove_batch_dim by place.
        return self.function(
            activation,
            *map(self._named, hook),
            **{word: self._named(point) for word, point in hook_by_name.items()},
        )

    def _named(self, point: Any) -> Any:
        name = self.names.get(id(point))
        return point if name is None else _Named(point, name)


class _Named:
    """A hook point under another name; all else is the hook point's own."""

    __slots__ = ("_point", "name")

    def __init__(self, point: Any, name: str) -> None:
        object.__setattr__(self, "_point", point)
        object.__setattr__(self, "name", name)

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return type(self._point)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._point, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._point, name, value)


def probe() -> Finding:
    """Ask for the hook point after a block under TransformerLens' name.

    Returns:
        PRESENT where a hook is told another name, ABSENT where each is told that one.
    """
    import torch

    bridge = gpt2_bridge()
    name, told = "blocks.0.hook_resid_post", []

    def listen(activation: Any, hook: Any) -> None:
        told.append(hook.name)

    bridge.enable_compatibility_mode(disable_warnings=True, no_processing=True)
    ids = torch.tensor([[3, 1]])
    bridge.run_with_hooks(ids, fwd_hooks=[(name, listen)])
    bridge.run_with_hooks(ids, fwd_hooks=[(lambda one: one == name, listen)])
    bridge.add_hook(name, listen)
    bridge(ids)
    wrong = sorted({one for one in told if one != name})
    if wrong:
        return Finding(State.PRESENT, f"a hook asked for at {name} is told {', '.join(wrong)}")
    if len(told) != 3:
        return Finding(State.UNKNOWN, f"three hooks were called {len(told)} times")
    return Finding(State.ABSENT, f"a hook asked for at {name} is told so")
