"""TransformerLens: a hook point that does not exist is ignored, the model runs without the hook.

On 3.9 `run_with_hooks` and `hooks` leave out a hook whose name no hook point has, and `run_with_cache`
leaves out an activation, so that an edit with a slip in its name looks like an edit without effect. 4.x
refuses such a name in hooks, and a `names_filter` of which nothing is left; in a list with one name that
exists, the others are still ignored.

The fix refuses each name that `model.hook_dict` does not list, with the KeyError that 4.x raises, and
tells the nearest names. Every name that worked goes on working: both spellings, in and out of
compatibility mode, in blocks beyond `stop_at_layer`, and hook points that are switched off, which
upstream refuses or warns of by itself. A filter that is a function cannot be judged; where it chooses no
hook point at all there is a warning. `add_hook` always refused an unknown name.
Source: `run_with_hooks`, `hooks`, `run_with_cache` and `get_caching_hooks` in
`transformer_lens/model_bridge/bridge.py`, on 4.x in `bridge_core.py`.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any

from tl_ext.errors import nearest
from tl_ext.fixes.probing import Finding, State
from tl_ext.fixes.tiny import gpt2_bridge

SLUG = "mistyped-hook-names-ignored"


def wrap_hooks(original: Callable[..., Any]) -> Callable[..., Any]:
    """The replacement for `run_with_hooks` and `hooks`.

    Args:
        original: What is there now.

    Returns:
        The same, that refuses hooks at names that do not exist.
    """
    signature = inspect.signature(original)

    @wraps(original)
    def with_names_that_exist(self: Any, *args: Any, **options: Any) -> Any:
        given = signature.bind(self, *args, **options)
        for field in ("fwd_hooks", "bwd_hooks"):
            hooks = list(given.arguments.get(field) or ())
            if hooks:
                given.arguments[field] = hooks
                _check(self, [name for name, _ in hooks])
        return original(*given.args, **given.kwargs)

    return with_names_that_exist


def wrap_names_filter(original: Callable[..., Any]) -> Callable[..., Any]:
    """The replacement for `run_with_cache` and `get_caching_hooks`.

    Args:
        original: What is there now.

    Returns:
        The same, that refuses a `names_filter` with names that do not exist.
    """
    signature = inspect.signature(original)

    @wraps(original)
    def with_names_that_exist(self: Any, *args: Any, **options: Any) -> Any:
        wanted = signature.bind(self, *args, **options).arguments.get("names_filter")
        if isinstance(wanted, list):
            _check(self, wanted)
        elif wanted is not None:
            _check(self, [wanted])
        return original(self, *args, **options)

    return with_names_that_exist


def _check(bridge: Any, wanted: Iterable[Any]) -> None:
    """Raise KeyError for names that the bridge has not; warn of functions that choose none.

    Raises:
        KeyError: With the nearest names there are.
    """
    known = bridge.hook_dict
    for name in wanted:
        if isinstance(name, str) and name not in known:
            raise KeyError(
                f"Hook name {name!r} does not exist on this model.{nearest(name, known)} "
                "model.hook_dict lists them all."
            )
        if callable(name) and not any(map(name, known)):
            warnings.warn(
                f"The filter {getattr(name, '__qualname__', type(name).__name__)} chooses none of "
                f"this model's {len(known)} hook names; model.hook_dict lists them all.",
                stacklevel=3,
            )


def probe() -> Finding:
    """Ask for a hook point that does not exist, alone and beside one that does.

    Returns:
        PRESENT where a call goes on without it, ABSENT where each refuses.
    """
    import torch

    bridge = gpt2_bridge()
    ids, name = torch.tensor([[3, 1]]), "blocks.0.hook_resid_pots"
    hook = (name, lambda activation, hook: None)

    def entered() -> None:
        with bridge.hooks(fwd_hooks=[hook]):
            pass

    calls: dict[str, Callable[[], Any]] = {
        "run_with_hooks": lambda: bridge.run_with_hooks(ids, fwd_hooks=[hook]),
        "hooks": entered,
        "run_with_cache": lambda: bridge.run_with_cache(ids, names_filter=name),
        "run_with_cache with a list": lambda: bridge.run_with_cache(
            ids, names_filter=[name, "blocks.0.hook_out"]
        ),
    }
    ignored = [what for what, call in calls.items() if not _refuses(call)]
    if ignored:
        return Finding(State.PRESENT, f"{name} is ignored by {', '.join(ignored)}")
    return Finding(State.ABSENT, f"{name} is refused")


def _refuses(call: Callable[[], Any]) -> bool:
    try:
        call()
    except KeyError:
        return True
    return False
