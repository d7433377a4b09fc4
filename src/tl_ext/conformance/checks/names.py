"""Hook points by name: under all their names, under none, and in a cache."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import torch

from tl_ext.conformance.checking import Findings, check
from tl_ext.conformance.subject import adding

if TYPE_CHECKING:
    from tl_ext.conformance.subject import Subject

_MISTYPED = "blocks.0.hook_resid_prae"


@check("M12")
def other_names_hold_the_same(subject: Subject, found: Findings) -> None:
    """What a cache holds under each name of a hook point is what the hook point held."""
    with torch.no_grad():
        _, cache = subject.bridge.run_with_cache(subject.ids)
    for name, point in subject.bridge.hook_dict.items():
        if point.name in subject.cache:
            script = f"""\
            cache = bridge.run_with_cache(ids)[1]
            error = (cache[{name!r}] - cache[{point.name!r}]).abs().max()"""
            if name in cache:
                found.same(name, cache[name], subject.cache[point.name], script=script)
            else:
                found.holds(name, False, "is in no cache", script=script)


@check("M12")
def edits_under_other_names_are_the_same(subject: Subject, found: Findings) -> None:
    """Noise added under each name of a hook point of the residual stream gives the same logits."""
    for name, point in subject.bridge.hook_dict.items():
        of_stream = point.name in subject.cache and "hook_resid" in name
        if of_stream and name != point.name:
            noise = adding(subject.noise(subject.cache[point.name]))
            truth = subject.run([(point.name, noise)])
            script = f"""\
            noise = torch.randn(bridge.run_with_cache(ids)[1][{point.name!r}].shape)
            seen = [bridge.run_with_hooks(ids, fwd_hooks=[(name, lambda value, hook: value + noise)])
                    for name in ({name!r}, {point.name!r})]
            error = (seen[0] - seen[1]).abs().max()"""
            found.same(name, subject.run([(name, noise)]), truth, script=script)


@check("M13")
def mistyped_names_are_refused(subject: Subject, found: Findings) -> None:
    """A name that no hook point has raises an error, alone and beside names that some have."""
    right = "blocks.0.hook_in"
    for names in ([_MISTYPED], [right, _MISTYPED]):
        hooks = [(name, adding(torch.zeros(()))) for name in names]
        found.holds(
            f"run_with_hooks of {names}",
            _raises(partial(subject.run, hooks)),
            f"ignores {_MISTYPED!r} without a word",
            script=f"""\
            error, hooks = 1.0, [(name, lambda value, hook: value) for name in {names}]
            try:
                bridge.run_with_hooks(ids, fwd_hooks=hooks)
            except Exception:
                error = 0.0""",
        )
        found.holds(
            f"names_filter={names}",
            _raises(partial(subject.bridge.run_with_cache, subject.ids, names_filter=names)),
            f"ignores {_MISTYPED!r} without a word",
            script=f"""\
            error = 1.0
            try:
                bridge.run_with_cache(ids, names_filter={names})
            except Exception:
                error = 0.0""",
        )


@check("M14")
def a_cache_stays_as_it_is(subject: Subject, found: Findings) -> None:
    """What a cache holds is what hook points held, also after the model has run on other tokens."""
    with torch.no_grad():
        _, cache = subject.bridge.run_with_cache(subject.ids)
        subject.bridge.run_with_cache(subject.other_ids)
    for name, truth in subject.cache.items():
        if name in cache:
            script = f"""\
            cache = bridge.run_with_cache(ids)[1]
            before = cache[{name!r}].clone()
            bridge.run_with_cache(torch.where(ids > 3, ids - 1, ids + 1))
            error = (cache[{name!r}] - before).abs().max()"""
            found.same(f"{name} after another run", cache[name], truth, script=script)


def _raises(call: Callable[[], object]) -> bool:
    try:
        call()
    except Exception:
        return True
    return False


@check("M14")
def a_cache_holds_what_was_asked_for(subject: Subject, found: Findings) -> None:
    """With names_filter a cache holds those names alone, with the content that they have without it."""
    wanted = [f"blocks.{layer}.hook_out" for layer in range(subject.bridge.cfg.n_layers)]
    wanted = [name for name in wanted if name in subject.cache]
    for asked in (wanted, wanted[:1]):
        with torch.no_grad():
            _, cache = subject.bridge.run_with_cache(subject.ids, names_filter=asked)
        held = sorted(dict(cache.items()))
        points = {id(subject.bridge.hook_dict.get(name)) for name in held}
        asked_for = {id(subject.bridge.hook_dict[name]) for name in asked}
        told = f"holds {held}; {asked} was asked for"
        found.holds(f"names_filter={asked}", points == asked_for, told)
        for name in asked:
            if name in cache:
                found.same(f"{name} with names_filter", cache[name], subject.cache[name])
